"""Flying pixels: depth interpolated across the edge of an object, where nothing is."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.projection import ray_map
from lotus2_ros.types import AnyArray, BoolArray, Float32Array

FLANK = 2
"""Length over which the slope beside the window is taken [px]."""

RUN_OUT = 2
"""How far beyond its steep part a ramp may run out [px]."""

RANGE_OF_NOISE = 9.0
"""Ratio 1 + this times the noise: the 81 pixels of a window range over 5 on average, seldom 8."""

SPREAD_OF_NOISE = 2.5
"""Tolerance in standard deviations of noise."""

NOISE_ROWS = 16
"""Every so many rows the noise is measured."""

STEEPER_THAN_FLANK = np.float32(2.0)
STEEPER_THAN_NORMAL = np.float32(3.0)
MEDIAN_OF_SECOND_DIFFERENCE = 0.6745 * math.sqrt(6.0)
"""Of the size of second differences of normal errors, in standard deviations of those."""

WINDOW = 4
"""Reach of the search; ramps up to about 1.5 times as wide are found whole [px]."""

TOLERANCE = 0.03
"""Relative deviation of 1 / z from a surface that still belongs to it."""


def edge_mask(depth: Float32Array, threshold: float) -> BoolArray:
    """Mark both pixels of every depth jump to a 4-neighbour.

    The jump between z1 and z2 is |z1 - z2| / min(z1, z2); it is relative, so that one threshold
    serves near and far. Neighbours without a depth:

    - +Inf (beyond range) is a jump: the outline of an object against the sky is where flying
      pixels are worst, and a wall that crosses max_range loses only its outermost pixel.
    - NaN (unknown) is no jump: nothing can be said, and marking it would eat away at every hole.

    A floor seen at a grazing angle jumps too in its last rows under the horizon (1 / n from the
    n-th row under it to the next); those rows are marked.

    Args:
        depth: (H, W) float32 [m].
        threshold: largest relative jump kept; 0 or less marks nothing.

    Returns:
        (H, W) bool, True at pixels to leave out.
    """
    mask = np.zeros(depth.shape, dtype=np.bool_)
    if threshold <= 0.0:
        return mask
    factor = np.float32(1.0 + threshold)
    # max > factor * min is the same comparison, and false by itself for NaN and for two Infs.
    upper, lower = depth[:-1], depth[1:]
    jump = np.maximum(upper, lower) > factor * np.minimum(upper, lower)
    mask[:-1] |= jump
    mask[1:] |= jump
    left, right = depth[:, :-1], depth[:, 1:]
    jump = np.maximum(left, right) > factor * np.minimum(left, right)
    mask[:, :-1] |= jump
    mask[:, 1:] |= jump
    return mask


class FlyingPixels(NamedTuple):
    """Pixels that lie between two surfaces, where nothing is.

    Attributes:
        mask: (H, W) bool, True at pixels to leave out.
        pixels: how many they are.
        share: their share of the pixels with a finite depth; 0 when there are none.
    """

    mask: BoolArray
    pixels: int
    share: float

    @classmethod
    def of(cls, mask: BoolArray, depth: Float32Array) -> FlyingPixels:
        """Count them.

        Args:
            mask: (H, W) bool.
            depth: (H, W) float32 that they were found in.
        """
        count = int(np.count_nonzero(mask))
        valid = int(np.count_nonzero(np.isfinite(depth)))
        return cls(mask, count, count / valid if valid else 0.0)


def flying_pixels(
    depth: Float32Array,
    normals: Float32Array | None,
    intrinsics: Intrinsics,
    *,
    ratio: float = 1.1,
    view_angle: float = 6.0,
    window: int = WINDOW,
    tolerance: float = TOLERANCE,
) -> FlyingPixels:
    """Mark the pixels of a ramp that joins a near surface to a far one.

    Predicted disparity does not step at an outline: it runs from one surface to the other over two
    to six pixels. Works in inverse depth w, in which every plane is an affine function of the
    pixel, however obliquely it is seen, and in which such a ramp is about symmetric. A pixel flies
    if all of this holds:

    1. In the window around it the largest w is more than `ratio` times the smallest.
    2. It is neither the near surface nor the far one: its w is more than `tolerance` away from
       both. The ridge of a thin pole is its own largest w and stays; so do both sides of a clean
       step, which has nothing in between.
    3. Along the row or the column, the surface that the slope of w would be is seen at less than
       `view_angle`, and it is no surface: the slope is more than twice that of its continuation on
       both sides of the window (a floor or a corridor's wall continues with the same slope), or,
       where normals are given, more than three times what a normal predicts that is itself seen
       at more than `view_angle`.

    Pixels near those of 3 need only 1 and 2: the slope is small where a ramp runs out. Neighbours
    without a depth are as in `edge_mask`: +Inf is a surface at w = 0, NaN says nothing.

    Predictions are smooth. Where the depth has noise from pixel to pixel, as a sensor's has, ratio
    and tolerance grow with it, so that noise is not taken for edges.

    Not found: a ramp that the image border cuts off, and the bottom of a smeared gap one or two
    pixels wide, which looks like a surface of its own.

    Args:
        depth: (H, W) float32 Z-depth [m], before range limits: where a limit has cut a ramp, less
            of its slope is left.
        normals: (H, W, 3) float32 unit vectors in the optical frame, or None. They should not have
            been derived from this depth: those agree with every ramp.
        intrinsics: camera of that image, of the same size.
        ratio: smallest relative jump between two surfaces, above 1.
        view_angle: between the line of sight and the surface, 0 is edge-on [deg].
        window: see `WINDOW`.
        tolerance: see `TOLERANCE`.

    Returns:
        Mask, number and share.

    Raises:
        ValueError: sizes differ, or a number is out of range.
    """
    _check_flying(depth, normals, intrinsics, ratio, view_angle, window)
    inverse, highest, lowest = _inverse_and_extremes(depth, window)
    # NaN and 0 / 0 compare false by themselves.
    noise = _noise(inverse)
    ratio = max(ratio, 1.0 + RANGE_OF_NOISE * noise)
    tolerance = max(tolerance, SPREAD_OF_NOISE * noise)
    between = np.float32(1.0 / ratio) * highest > lowest
    between &= inverse < np.float32(1.0 - tolerance) * highest
    between &= np.float32(1.0 - tolerance) * inverse > lowest
    candidates = np.flatnonzero(between)
    steep = _ramp(inverse, candidates, intrinsics, normals, view_angle, window)
    core = np.zeros(depth.shape, dtype=np.uint8)
    core.reshape(-1)[candidates[steep]] = 1
    grown = cv2.dilate(core, np.ones((2 * RUN_OUT + 1, 2 * RUN_OUT + 1), dtype=np.uint8))
    between &= grown.view(np.bool_)
    between &= inverse > 0.0  # beyond everything: nothing is there to be left out
    return FlyingPixels.of(between, depth)


def _check_flying(
    depth: Float32Array,
    normals: Float32Array | None,
    intrinsics: Intrinsics,
    ratio: float,
    view_angle: float,
    window: int,
) -> None:
    if depth.shape != (intrinsics.height, intrinsics.width):
        msg = (
            f'depth is {depth.shape[1]}x{depth.shape[0]} px but the intrinsics are for '
            f'{intrinsics.width}x{intrinsics.height} px'
        )
        raise ValueError(msg)
    if normals is not None and normals.shape != (*depth.shape, 3):
        msg = f'normals have shape {normals.shape} but the depth has {depth.shape}'
        raise ValueError(msg)
    if ratio <= 1.0 or not 0.0 < view_angle < 90.0 or window < 1:
        msg = (
            f'ratio {ratio} must be above 1, view_angle {view_angle} between 0 and 90 degrees, '
            f'window {window} at least 1'
        )
        raise ValueError(msg)


def _inverse_and_extremes(
    depth: Float32Array, window: int
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Inverse depth [1/m], and its largest and smallest value in the window; NaN is passed over."""
    with np.errstate(divide='ignore'):
        inverse = np.reciprocal(depth, dtype=np.float32)
    unknown = ~(depth > 0.0)
    kernel = np.ones((2 * window + 1, 2 * window + 1), dtype=np.uint8)
    if not unknown.any():
        return inverse, _float32(cv2.dilate(inverse, kernel)), _float32(cv2.erode(inverse, kernel))
    inverse[unknown] = 0.0
    highest = _float32(cv2.dilate(inverse, kernel))
    inverse[unknown] = np.finfo(np.float32).max
    lowest = _float32(cv2.erode(inverse, kernel))
    inverse[unknown] = np.nan
    return inverse, highest, lowest


def _noise(inverse: Float32Array) -> float:
    """Relative standard deviation from pixel to pixel, 0 for planes and smooth surfaces.

    From the median of second differences along rows: they vanish on planes, and have six times the
    variance of the pixels. A normal distribution's median deviation is 0.6745 of its standard one.
    """
    rows = inverse[::NOISE_ROWS]
    middle = rows[:, 1:-1]
    with np.errstate(divide='ignore', invalid='ignore'):
        second = np.abs(rows[:, :-2] + rows[:, 2:] - 2.0 * middle) / middle
    second = second[np.isfinite(second)]
    return float(np.median(second)) / MEDIAN_OF_SECOND_DIFFERENCE if second.size else 0.0


def _ramp(
    inverse: Float32Array,
    candidates: NDArray[np.intp],
    intrinsics: Intrinsics,
    normals: Float32Array | None,
    view_angle: float,
    window: int,
) -> BoolArray:
    """Which candidates (flat indices) lie on a slope that is no surface, see `flying_pixels`."""
    reach = window + FLANK
    padded = _float32(
        cv2.copyMakeBorder(inverse, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    ).reshape(-1)
    row, column = np.divmod(candidates, inverse.shape[1])
    stride = inverse.shape[1] + 2 * reach
    places = (row + reach) * stride + column + reach
    steep = np.zeros(candidates.shape, dtype=np.bool_)
    limit = slope_limits(intrinsics, view_angle)
    for axis, step in ((0, 1), (1, stride)):
        slope = _lesser_slope(padded, places, step)
        relative = np.abs(slope) / padded[places]
        grazing = relative > limit[axis].reshape(-1)[candidates]
        before = padded[places - window * step] - padded[places - reach * step]
        after = padded[places + reach * step] - padded[places + window * step]
        # Only a slope of the same sign is the same plane going on: a pole falls off on both sides.
        going_on = np.maximum(before * np.sign(slope), after * np.sign(slope)) / np.float32(FLANK)
        unlike = np.abs(slope) > STEEPER_THAN_FLANK * going_on
        if normals is not None:
            unlike |= _contradicted(relative, candidates, normals, intrinsics, view_angle, axis)
        steep |= grazing & unlike
    return steep


def _lesser_slope(padded: Float32Array, places: NDArray[np.intp], step: int) -> Float32Array:
    """The smaller one of the slopes to both neighbours, 0 where they differ in sign.

    On a ramp both are steep; beside a clean step one of them is the surface's own.
    """
    here = padded[places]
    back, ahead = here - padded[places - step], padded[places + step] - here
    lesser = np.minimum(np.abs(back), np.abs(ahead))
    return np.asarray(np.where(back * ahead > 0.0, np.copysign(lesser, ahead), 0.0))


def _contradicted(
    relative: Float32Array,
    candidates: NDArray[np.intp],
    normals: Float32Array,
    intrinsics: Intrinsics,
    view_angle: float,
    axis: int,
) -> BoolArray:
    """Whether the normal there is seen well and belongs to a far smaller slope.

    A plane n . P = c is w = (n . r) / c for rays r = (x, y, 1), so w changes by n_x / (fx n . r)
    of itself from one column to the next.
    """
    focal = (intrinsics.fx, intrinsics.fy)[axis]
    normal = normals.reshape(-1, 3)[candidates]
    ray = ray_map(intrinsics).reshape(-1, 2)[candidates]
    facing = np.abs(normal[:, 0] * ray[:, 0] + normal[:, 1] * ray[:, 1] + normal[:, 2])
    length = np.sqrt(ray[:, 0] ** 2 + ray[:, 1] ** 2 + np.float32(1.0))
    seen_well = facing > math.sin(math.radians(view_angle)) * length
    predicted = np.abs(normal[:, axis]) / np.float32(focal)
    return np.asarray(seen_well & (relative * facing > STEEPER_THAN_NORMAL * predicted))


@lru_cache(maxsize=8)
def slope_limits(intrinsics: Intrinsics, view_angle: float) -> Float32Array:
    """Relative change of 1 / z per pixel of a surface seen at view_angle [deg], read-only.

    Along rows and along columns, (2, H, W) float32.

    P = z r with r = (x, y, 1) moves by dP = z' r + (z / fx) e_x per column. The angle theta between
    dP and the ray follows from |dP x r| / |dP . r|, for small angles tan theta = (z / z') |e_x x r|
    / (fx |r|^2), and z' / z = -w' / w.
    """
    rays = ray_map(intrinsics)
    x_squared, y_squared = rays[..., 0] ** 2, rays[..., 1] ** 2
    length_squared = x_squared + y_squared + 1.0
    tangent = math.tan(math.radians(view_angle))
    limits = np.empty((2, *rays.shape[:2]), dtype=np.float32)
    limits[0] = np.sqrt(1.0 + y_squared) / (intrinsics.fx * tangent * length_squared)
    limits[1] = np.sqrt(1.0 + x_squared) / (intrinsics.fy * tangent * length_squared)
    limits.flags.writeable = False
    return limits


def _float32(image: AnyArray) -> Float32Array:
    return np.asarray(image, dtype=np.float32)
