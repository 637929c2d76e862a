"""A benchmark from another renderer: MuJoCo's pictures of places that training never built.

Geometry, materials, textures, light and rasteriser are MuJoCo's and this module's own; nothing is
shared with training's scenes. Depth and normals come from MuJoCo's rays through the pixel centres,
so they are exact; rasterised depth, which the pictures are drawn with, agrees but for edges.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from lotus2_ros.simulation.engine import NO_OPENGL, load_mujoco, place_camera, view
from lotus2_ros.simulation.errors import SimulationError
from lotus2_ros.simulation.model_writer import ModelWriter
from lotus2_ros.simulation.places import PLACES, Place
from lotus2_ros.training.evaluation.benchmark import Rules, Sample, Skipped
from lotus2_ros.training.evaluation.depth_alignment import DepthRange
from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.training.textures import HELD_OUT_PHOTOGRAPHS, load_photographs
from lotus2_ros.types import AnyArray, Float32Array, UInt8Array

SEED = 730_001
"""Scene i is drawn from (SEED, i)."""

SCENES = 120

_CAMERAS = 30
_NEAREST, _FARTHEST = 0.1, 20.0


@dataclass(frozen=True)
class Shot:
    """One rendered scene.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        depth: (H, W) Z-depth [m] by ray; infinite in the sky.
        normals: (H, W, 3) unit normals facing the camera, optical frame; 0 in the sky.
        raster_depth: (H, W) Z-depth [m] from the renderer's depth buffer.
        focal: focal length [px]; the optical axis goes through the middle of the picture.
    """

    image: UInt8Array
    depth: Float32Array
    normals: Float32Array
    raster_depth: Float32Array
    focal: float


@dataclass(frozen=True)
class MujocoScenes:
    """The rendered benchmark.

    Attributes:
        count: number of scenes.
        height: of a picture.
        width: of a picture.
    """

    count: int = SCENES
    height: int = 480
    width: int = 640
    name: str = 'mujoco'
    rules: Rules = field(default=Rules(DepthRange(_NEAREST, _FARTHEST), normals=True))

    @property
    def title(self) -> str:
        """Heading of its table."""
        return f'MuJoCo scenes, another renderer than training, {self.width}x{self.height}'

    def __len__(self) -> int:
        return self.count

    def samples(self, limit: int | None = None) -> Iterator[Sample | Skipped]:
        """Render the scenes one after the other.

        Raises:
            EvaluationError: MuJoCo, or OpenGL for it, is not there.
        """
        for index in range(self.count if limit is None else min(limit, self.count)):
            shot = render_scene(index, self.height, self.width)
            surface = np.isfinite(shot.depth)
            valid = surface & (shot.depth <= _FARTHEST) & (shot.depth >= _NEAREST)
            yield Sample(
                name=f'{PLACES[index % len(PLACES)].__name__}_{index:04d}',
                image=shot.image,
                depth=shot.depth,
                valid=valid,
                known=np.ones_like(valid),
                normals=shot.normals,
                surface=surface,
            )


def render_scene(index: int, height: int = 480, width: int = 640) -> Shot:
    """Build and render scene `index`; the same index gives the same scene.

    Raises:
        EvaluationError: MuJoCo, or OpenGL for it, is not there; or no camera finds a view.
    """
    try:
        mujoco = load_mujoco()
    except SimulationError as error:
        raise EvaluationError(str(error)) from error
    rng = np.random.default_rng((SEED, index))
    writer = ModelWriter(rng, _photographs())
    place = PLACES[index % len(PLACES)](writer)
    model = mujoco.MjModel.from_xml_string(writer.write(place.ambient, place.extent), writer.assets)
    data = mujoco.MjData(model)
    focal = _choose_camera(model, data, place, rng, height)
    depth, normals, _ = _trace(model, data, height, width, focal)
    try:
        with mujoco.Renderer(model, height, width) as renderer:
            renderer.update_scene(data, camera='camera')
            picture = renderer.render()
            renderer.enable_depth_rendering()
            raster = renderer.render().astype(np.float32)
    except Exception as error:  # OpenGL's loaders raise anything, AttributeError included
        raise EvaluationError(f'{NO_OPENGL}: {error}') from error
    return Shot(_photographed(picture, rng), depth, normals, raster, focal)


@functools.cache
def _photographs() -> list[UInt8Array]:
    try:
        return load_photographs(HELD_OUT_PHOTOGRAPHS)
    except (ImportError, FileNotFoundError) as error:
        msg = f'the mujoco benchmark needs photographs: pip install "lotus2_ros[train]" ({error})'
        raise EvaluationError(msg) from error


def _choose_camera(
    model: Any,
    data: Any,
    place: Place,
    rng: np.random.Generator,
    height: int,
) -> float:
    """Move the camera to where it sees several things, none too close; returns its focal length."""
    best: tuple[float, AnyArray, AnyArray, float] | None = None
    for _ in range(_CAMERAS):
        fovy = float(rng.uniform(38, 62))
        position, rotation = _pose(place, rng)
        place_camera(model, data, position, rotation, fovy)
        # A coarse look is enough to choose by.
        focal = 0.5 * 36 / np.tan(np.radians(fovy) / 2)
        depth, _, things = _trace(model, data, 36, 48, float(focal))
        seen = np.isfinite(depth) & (depth < _FARTHEST)
        if not seen.any():
            continue
        near, far = (float(q) for q in np.quantile(depth[seen], [0.02, 0.9]))
        shares = np.bincount(things[seen]) / depth.size
        spread = float(np.log(far / near))
        score = min(int((shares > 0.01).sum()), 14) / 14 + 0.4 * min(spread, 2.0)
        score -= 2.0 * float(shares.max() > 0.5) + 3.0 * float(near < 0.22 * place.distance**0.5)
        score -= 2.0 * float(seen.mean() < 0.5)
        if best is None or score > best[0]:
            best = (score, position, rotation, fovy)
    if best is None:
        raise EvaluationError(f'no camera sees anything in a {place}')
    place_camera(model, data, *best[1:])
    return float(0.5 * height / np.tan(np.radians(best[3]) / 2))


def _pose(place: Place, rng: np.random.Generator) -> tuple[AnyArray, AnyArray]:
    """A position, and the rotation whose columns are the camera's right, up and back."""
    position = np.array([*(rng.uniform(-r, r) for r in place.reach), rng.uniform(*place.heights)])
    target = np.array([*(rng.uniform(-0.6, 0.6, 2) * place.reach), rng.uniform(*place.target)])
    back = position - target
    back /= np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    roll = np.radians(rng.normal(0, 2.5))
    turned = np.stack(
        [np.cos(roll) * right + np.sin(roll) * up, np.cos(roll) * up - np.sin(roll) * right, back],
        axis=1,
    )
    return position, turned


def _trace(
    model: Any, data: Any, height: int, width: int, focal: float
) -> tuple[Float32Array, Float32Array, AnyArray]:
    """Depth, normals and numbers of the geoms at the pixel centres, by MuJoCo's own rays."""
    camera = data.camera('camera')
    rotation: AnyArray = camera.xmat.reshape(3, 3) * [1, -1, -1]  # columns: right, down, forward
    x = (np.arange(width) + 0.5 - width / 2) / focal
    y = (np.arange(height) + 0.5 - height / 2) / focal
    rays = np.stack([*np.meshgrid(x, y), np.ones((height, width))], -1)
    depth, normals, geoms = view(model, data, camera.xpos, rotation, rays)
    return depth, normals, geoms.clip(0)


def _photographed(picture: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """What a camera would make of it: lens blur, exposure, tone, noise, fading to the corners."""
    height, width = picture.shape[:2]
    linear = (picture.astype(np.float32) / 255) ** 2.2
    light: AnyArray = cv2.GaussianBlur(linear, (0, 0), float(rng.uniform(0.3, 0.8)))
    y, x = np.mgrid[0:height, 0:width]
    radius = np.hypot(x / width - 0.5, y / height - 0.5)[..., None]
    light *= 1 - rng.uniform(0, 0.5) * radius**2
    light *= rng.uniform(0.8, 1.35) * rng.uniform(0.93, 1.07, 3)
    light += rng.normal(size=light.shape) * np.sqrt(rng.uniform(1e-6, 2e-5) * (light + 0.02))
    return np.asarray((light.clip(0, 1) ** (1 / 2.2) * 255).round(), np.uint8)
