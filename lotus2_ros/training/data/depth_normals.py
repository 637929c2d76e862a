"""Normals of a depth image: planes fitted in small windows, on one side of each edge.

A plane n . P = 1 seen through a pinhole has 1 / z = n . (u, v, 1) with u = (x - cx) / fx and
v = (y - cy) / fy: its inverse depth is affine in the pixel. So a fit of inverse depth over a window
of pixels is linear, and gives the plane's normal (pointing away from the camera) at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.projection import ray_map
from lotus2_ros.types import BoolArray, Float32Array

_Float64Array = NDArray[np.float64]

_LEAST_FILLED = 0.6
"""Share of a window that must be known."""

_CLEARLY_BETTER = 0.25
"""A window beside the pixel is preferred to the one around it if its squared error is this much
smaller: a curved surface is best described by the window around the pixel."""

_EXACT = 1e-5
"""Relative error [1] of a fit below which no better one is looked for: rounding, not an edge."""


@dataclass(frozen=True)
class _Planes:
    """Fits of w = mean + across x + down y over the window around each pixel, all (H, W).

    Attributes:
        middle: fitted inverse depth at the window's centre [1/m].
        across: its slope along a row [1/m per px].
        down: its slope along a column [1/m per px].
        error: mean squared residual relative to the inverse depth; inf where there is no fit.
    """

    middle: _Float64Array
    across: _Float64Array
    down: _Float64Array
    error: _Float64Array


def normals_from_depth(
    depth: Float32Array,
    valid: BoolArray,
    intrinsics: Intrinsics,
    *,
    radius: int = 2,
    tolerance: float = 0.02,
) -> tuple[Float32Array, BoolArray]:
    """Normals in the training convention (outward: a wall that faces the camera is (0, 0, 1)).

    Each pixel takes the plane of the window around it or, if that one fits clearly better, of one
    of the eight windows that have the pixel on their border: beside an edge, the window that lies
    on the pixel's side.

    Args:
        depth: (H, W) Z-depth [m].
        valid: (H, W) where the depth is known, finite and positive.
        intrinsics: of the depth image.
        radius: windows have 2 radius + 1 pixels a side.
        tolerance: largest relative depth error (root mean square) of a plane that is believed.

    Returns:
        (H, W, 3) float32 unit normals, (0, 0, 1) where there is none; (H, W) where there is one.

    Raises:
        ValueError: depth, mask and intrinsics differ in size.
    """
    if not depth.shape == valid.shape == (intrinsics.height, intrinsics.width):
        msg = (
            f'depth {depth.shape}, mask {valid.shape} and the intrinsics of a picture of '
            f'{(intrinsics.height, intrinsics.width)} px differ in size'
        )
        raise ValueError(msg)
    inverse = np.zeros(depth.shape, np.float64)
    np.divide(1, depth, out=inverse, where=valid, dtype=np.float64)
    planes = _fitted(inverse, valid, radius)
    middle, across, down, error = _best_sided(planes, radius)
    surface = valid & (error <= tolerance**2) & (middle > 0)

    rays = ray_map(intrinsics)
    normals = np.empty((*depth.shape, 3), np.float64)
    normals[..., 0] = across * intrinsics.fx
    normals[..., 1] = down * intrinsics.fy
    normals[..., 2] = middle - normals[..., 0] * rays[..., 0] - normals[..., 1] * rays[..., 1]
    normals[~surface] = (0, 0, 1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return normals.astype(np.float32), surface


def _fitted(inverse: _Float64Array, valid: BoolArray, radius: int) -> _Planes:
    """Least-squares planes over the known pixels of each window, by the normal equations."""
    offsets = np.arange(-radius, radius + 1, dtype=np.float64)
    powers = [offsets**power for power in range(3)]
    known = valid.astype(np.float64)

    def moment(values: _Float64Array, across: int, down: int) -> _Float64Array:
        """Sum of values x^across y^down over each window; nothing lies outside the image."""
        sums = cv2.sepFilter2D(
            values, cv2.CV_64F, powers[across], powers[down], borderType=cv2.BORDER_CONSTANT
        )
        return np.asarray(sums, np.float64)

    n, x, y = moment(known, 0, 0), moment(known, 1, 0), moment(known, 0, 1)
    xx, xy, yy = moment(known, 2, 0), moment(known, 1, 1), moment(known, 0, 2)
    # Relative to the centre's value: large, nearly equal numbers would cancel badly.
    w, wx, wy = moment(inverse, 0, 0), moment(inverse, 1, 0), moment(inverse, 0, 1)
    ww = moment(inverse * inverse, 0, 0)

    filled = valid & (n >= _LEAST_FILLED * len(offsets) ** 2)
    n = np.where(filled, n, 1)
    x, y, w = x / n, y / n, w / n
    cxx, cxy, cyy = xx / n - x * x, xy / n - x * y, yy / n - y * y
    cwx, cwy = wx / n - w * x, wy / n - w * y
    determinant = cxx * cyy - cxy * cxy
    filled &= determinant > 0
    determinant = np.where(filled, determinant, 1)
    across = (cwx * cyy - cwy * cxy) / determinant
    down = (cwy * cxx - cwx * cxy) / determinant
    squared = np.maximum(ww / n - w * w - across * cwx - down * cwy, 0)
    relative = squared / np.where(filled, w * w, 1)
    return _Planes(
        middle=w - across * x - down * y,
        across=across,
        down=down,
        error=np.where(filled, relative, np.inf),
    )


def _best_sided(
    planes: _Planes, radius: int
) -> tuple[_Float64Array, _Float64Array, _Float64Array, _Float64Array]:
    """For each pixel: inverse depth at the pixel, slopes, and error of the plane it takes."""
    middle, across = planes.middle.copy(), planes.across.copy()
    down, error = planes.down.copy(), planes.error.copy()
    # What another window's error has to beat; falls with each better one found.
    bar = np.where(error > _EXACT**2, error * _CLEARLY_BETTER, 0)
    bar[np.isinf(error)] = np.inf
    steps = (-radius, 0, radius)
    for step_y, step_x in ((y, x) for y in steps for x in steps if x or y):
        here, there = _overlap(error.shape, step_y, step_x)
        better = planes.error[there] < bar[here]
        for values, others in (
            (across, planes.across),
            (down, planes.down),
            (error, planes.error),
            (bar, planes.error),
        ):
            values[here][better] = others[there][better]
        at_pixel = (
            planes.middle[there] - planes.across[there] * step_x - planes.down[there] * step_y
        )
        middle[here][better] = at_pixel[better]
    return middle, across, down, error


def _overlap(
    shape: tuple[int, ...], step_y: int, step_x: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of the pixels that have a pixel a step away, and of those pixels."""

    def along(length: int, step: int) -> tuple[slice, slice]:
        low, high = max(0, -step), length - max(0, step)
        return slice(low, max(low, high)), slice(low + step, max(low, high) + step)

    (rows, other_rows), (columns, other_columns) = (
        along(shape[0], step_y),
        along(shape[1], step_x),
    )
    return (rows, columns), (other_rows, other_columns)
