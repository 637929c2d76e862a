"""Undistortion of raw camera images."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lotus2_ros.errors import CameraInfoError
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.types import BoolArray, Float32Array, UInt8Array

_COEFFICIENTS = {
    'plumb_bob': (4, 5),
    'rational_polynomial': (8, 12, 14),
    'equidistant': (4,),
}
"""Distortion model of CameraInfo to the numbers of coefficients that OpenCV takes for it."""

_ALIASES = {'fisheye': 'equidistant'}


class Rectifier:
    """Turns raw images into what a pinhole camera would have seen.

    The maps are made once; `apply` costs one cv2.remap. What lies outside the raw image is black.

    Attributes:
        identity: True if there is nothing to do; `apply` then returns its argument.
        intrinsics: camera of the rectified image.
    """

    identity: bool
    intrinsics: Intrinsics

    def __init__(
        self,
        K: Sequence[float],  # noqa: N803 - the names of CameraInfo
        D: Sequence[float],  # noqa: N803
        model: str,
        R: Sequence[float],  # noqa: N803
        P: Sequence[float],  # noqa: N803
        size: tuple[int, int],
    ) -> None:
        """Prepare the maps.

        Args:
            K: 9 numbers: camera matrix of the raw image, as it is (after binning and region of
                interest, see `effective_intrinsics`).
            D: distortion coefficients; empty or all zero is a camera without distortion.
            model: plumb_bob, rational_polynomial or equidistant; may be empty if D is.
            R: 9 numbers: rectifying rotation; all zero counts as identity.
            P: 12 numbers: projection of the rectified image; all zero means [K | 0].
            size: (width, height) of the raw and of the rectified image [px].

        Raises:
            CameraInfoError: the distortion model is not supported, or its numbers are not usable.
        """
        width, height = size
        camera = _matrix('K', K, 3, 3)
        raw = Intrinsics(camera[0, 0], camera[1, 1], camera[0, 2], camera[1, 2], width, height)
        rotation = _matrix('R', R, 3, 3) if any(R) else np.eye(3)
        projection = _matrix('P', P, 3, 4)[:, :3] if any(P) else raw.matrix
        self.intrinsics = Intrinsics(
            projection[0, 0], projection[1, 1], projection[0, 2], projection[1, 2], width, height
        )
        distortion = _distortion(model, D)
        self.identity = (
            not distortion.any()
            and np.allclose(rotation, np.eye(3), rtol=0.0, atol=1e-9)
            and np.allclose(self.intrinsics.matrix, raw.matrix, rtol=0.0, atol=1e-6)
        )
        self._maps: tuple[NDArray[np.int16], NDArray[np.uint16]] | None = None
        self._valid: BoolArray | None = None
        if self.identity:
            return
        make_maps = (
            cv2.fisheye.initUndistortRectifyMap
            if _ALIASES.get(model, model) == 'equidistant'
            else cv2.initUndistortRectifyMap
        )
        map_x, map_y = make_maps(
            raw.matrix, distortion, rotation, self.intrinsics.matrix, (width, height), cv2.CV_32FC1
        )
        self._valid = (map_x >= -0.5) & (map_x <= width - 0.5)
        self._valid &= (map_y >= -0.5) & (map_y <= height - 0.5)
        self._maps = cv2.convertMaps(map_x, map_y, cv2.CV_16SC2)  # type: ignore[assignment]

    @property
    def valid(self) -> BoolArray | None:
        """(H, W) bool, True where the rectified image has content; None if it has everywhere."""
        return self._valid

    def apply(self, image: UInt8Array) -> UInt8Array:
        """Rectify an image.

        Args:
            image: (H, W) or (H, W, C) uint8, raw, of the size given at construction.

        Returns:
            An array of the same shape; the argument itself if `identity`.

        Raises:
            CameraInfoError: the image has another size.
        """
        if image.shape[:2] != (self.intrinsics.height, self.intrinsics.width):
            msg = (
                f'the image is {image.shape[1]}x{image.shape[0]} px but the calibration is for '
                f'{self.intrinsics.width}x{self.intrinsics.height} px'
            )
            raise CameraInfoError(msg)
        if self._maps is None:
            return image
        rectified = cv2.remap(image, *self._maps, interpolation=cv2.INTER_LINEAR)
        return np.asarray(rectified, dtype=np.uint8)

    def apply_to_depth(self, depth: Float32Array) -> Float32Array:
        """Rectify a depth image of the same view: the nearest pixel, never a mean of two surfaces.

        Args:
            depth: (h, w) float32 [m], raw, of any size.

        Returns:
            (H, W) float32, NaN outside the raw image; the argument itself if `identity`.
        """
        if self._maps is None:
            return depth
        size = (self.intrinsics.width, self.intrinsics.height)
        if depth.shape[::-1] != size:
            resized = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST)
            depth = np.asarray(resized, dtype=np.float32)
        rectified = cv2.remap(
            depth,
            *self._maps,
            interpolation=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=float('nan'),
        )
        return np.asarray(rectified, dtype=np.float32)


def _matrix(name: str, values: Sequence[float], rows: int, columns: int) -> NDArray[np.float64]:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.size != rows * columns or not np.isfinite(matrix).all():
        msg = f'{name} must be {rows * columns} finite numbers, not {list(values)}'
        raise CameraInfoError(msg)
    return matrix.reshape(rows, columns)


def _distortion(model: str, values: Sequence[float]) -> NDArray[np.float64]:
    coefficients = np.asarray(values, dtype=np.float64)
    name = _ALIASES.get(model, model)
    if name not in _COEFFICIENTS:
        if not coefficients.any():
            return np.zeros(4)
        msg = f'distortion model {model!r} is not supported; known: {", ".join(_COEFFICIENTS)}'
        raise CameraInfoError(msg)
    if coefficients.size == 0:
        return np.zeros(4)
    if coefficients.size not in _COEFFICIENTS[name] or not np.isfinite(coefficients).all():
        allowed = ' or '.join(str(count) for count in _COEFFICIENTS[name])
        msg = f'{name} takes {allowed} finite coefficients, not {list(values)}'
        raise CameraInfoError(msg)
    return coefficients
