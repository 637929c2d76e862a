"""The robot's camera: lens, noise, rolling brightness; and the truth about what it sees."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.lens import Lens
from lotus2_ros.geometry.projection import ray_map
from lotus2_ros.simulation.scene import Scene
from lotus2_ros.types import Float32Array, UInt8Array

Float64Array = NDArray[np.float64]

_BANDS = 1.3
"""Waves of brightness from the top of the image to its bottom."""

_BEAT_HZ = 1.7
"""Waves a second that pass a row: mains light against the frame rate."""

_BEND = np.float32(0.2)
"""Second difference of inverse depth, as a share of the first plus noise, from which on no normal
is given."""


class SimulatedCamera:
    """Makes images of a scene.

    Args:
        scene: to look into.
        intrinsics: of the images; square pixels, the principal point in the middle.
        distortion: k1 of plumb_bob.
        noise: standard deviation, as a share of white.
        brightness_wave: amplitude, as a share.
        shadows: draw the sun's shadows.

    Attributes:
        intrinsics: K, of the raw and of the rectified image.
        lens: its distortion.
    """

    def __init__(
        self,
        scene: Scene,
        intrinsics: Intrinsics,
        *,
        distortion: float = 0.0,
        noise: float = 0.0,
        brightness_wave: float = 0.0,
        shadows: bool = True,
    ) -> None:
        self.intrinsics = intrinsics
        self.lens = lens_of(distortion)
        self._scene = scene
        self._noise = noise
        self._wave = brightness_wave
        self._shadows = shadows
        self._wide = intrinsics
        self._map: tuple[Float32Array, Float32Array] | None = None
        if not self.lens.is_pinhole:
            self._prepare()

    def image(self, pose: Float64Array, time: float, rng: np.random.Generator) -> UInt8Array:
        """An image.

        Args:
            pose: (4, 4), optical frame to the world.
            time: decides where the bands of brightness are [s].
            rng: decides the noise.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        picture = self._scene.picture(pose, self._wide, shadows=self._shadows)
        if self._map is not None:
            picture = np.asarray(
                cv2.remap(picture, *self._map, interpolation=cv2.INTER_LINEAR), dtype=np.uint8
            )
        if not self._wave and not self._noise:
            return picture
        values = picture.astype(np.float32)
        if self._wave:
            values *= brightness(len(values), time, self._wave)[:, None, None]
        if self._noise:
            values += np.float32(255 * self._noise) * rng.standard_normal(
                values.shape, dtype=np.float32
            )
        return np.asarray(values.round().clip(0, 255), dtype=np.uint8)

    def depth(self, pose: Float64Array) -> Float32Array:
        """True Z-depth of the rectified image, (H, W) float32 [m], infinite in the sky."""
        return self._scene.depth(pose, self.intrinsics)

    def raw_depth(self, pose: Float64Array) -> Float32Array:
        """True Z-depth of the image as the lens distorts it; infinite in the sky, (H, W) [m]."""
        depth = self._scene.depth(pose, self._wide)
        if self._map is None:
            return depth
        # The nearest pixel: a mean of two surfaces would be neither.
        distorted = cv2.remap(
            depth,
            *self._map,
            interpolation=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=float('inf'),
        )
        return np.asarray(distorted, dtype=np.float32)

    def _prepare(self) -> None:
        """A wider pinhole picture that holds all that the lens sees, and where each pixel is."""
        camera = self.intrinsics
        rays = self.lens.rays(camera)
        reach = np.nanmax(np.abs(rays.reshape(-1, 2)), axis=0)
        width, height = (2 * math.ceil(r * camera.fx + 1) for r in reach.tolist())
        centre = (0.5 * (width - 1), 0.5 * (height - 1))
        self._wide = Intrinsics(camera.fx, camera.fx, *centre, width, height)
        # NaN, where no ray leads, would be anywhere: far outside is black.
        place = np.nan_to_num(rays, nan=-1e6) * camera.fx + centre
        self._map = (
            np.ascontiguousarray(place[..., 0], dtype=np.float32),
            np.ascontiguousarray(place[..., 1], dtype=np.float32),
        )


def lens_of(k1: float) -> Lens:
    """plumb_bob with a k2 that keeps the field from folding and a little decentring."""
    if k1 == 0.0:
        return Lens()
    return Lens('plumb_bob', (k1, 0.5 * k1**2, 0.002 * k1, -0.001 * k1, 0.0))


def brightness(rows: int, time: float, amplitude: float) -> Float32Array:
    """Gain of each row, (rows,) float32, at a time [s]."""
    phase = 2 * np.pi * (_BANDS * np.arange(rows) / rows + _BEAT_HZ * time)
    return np.asarray(1 + amplitude * np.sin(phase), dtype=np.float32)


def true_normals(depth: Float32Array, camera: Intrinsics) -> Float32Array:
    """Normals of exact depth: on a plane inverse depth is affine in the pixel, w = a X + b Y + c.

    Args:
        depth: (H, W) float32 [m], exact; infinite in the sky.
        camera: of that image.

    Returns:
        (H, W, 3) float32 unit vectors facing the camera, optical frame; NaN in the sky, at the
        border and where the surface bends or ends from one pixel to the next.
    """
    with np.errstate(divide='ignore'):
        w = np.reciprocal(depth)
    normals = np.full((*depth.shape, 3), np.nan, dtype=np.float32)
    middle = w[1:-1, 1:-1]
    left, right, above, below = w[1:-1, :-2], w[1:-1, 2:], w[:-2, 1:-1], w[2:, 1:-1]
    across, down = 0.5 * (right - left), 0.5 * (below - above)
    rays = ray_map(camera)[1:-1, 1:-1]
    a, b = across * np.float32(camera.fx), down * np.float32(camera.fy)
    c = middle - a * rays[..., 0] - b * rays[..., 1]
    found = -np.stack([a, b, c], axis=-1)
    length = np.linalg.norm(found, axis=-1, keepdims=True)
    bend = np.maximum(np.abs(left + right - 2 * middle), np.abs(above + below - 2 * middle))
    noise = np.float32(1e-5) * middle
    smooth = bend <= _BEND * np.maximum(np.abs(across), np.abs(down)) + noise
    smooth &= np.minimum.reduce([left, right, above, below, middle]) > 0
    normals[1:-1, 1:-1][smooth] = (found / np.maximum(length, 1e-12))[smooth]
    return normals
