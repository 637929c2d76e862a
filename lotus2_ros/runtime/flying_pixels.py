"""Flying pixels, looked for where the model's results are.

The same search as `geometry.edges.flying_pixels`, in parallel; without what unknown depth needs,
since what comes from the network is finite everywhere.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lotus2_ros.geometry.edges import (
    FLANK,
    MEDIAN_OF_SECOND_DIFFERENCE,
    NOISE_ROWS,
    RANGE_OF_NOISE,
    RUN_OUT,
    SPREAD_OF_NOISE,
    STEEPER_THAN_FLANK,
    STEEPER_THAN_NORMAL,
    TOLERANCE,
    WINDOW,
    slope_limits,
)
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.projection import ray_map
from lotus2_ros.types import EdgeSearch

_REACH = WINDOW + FLANK


def flying_pixels(disparity: Tensor, normals: Tensor | None, search: EdgeSearch) -> Tensor:
    """Mark the pixels of a ramp that joins a near surface to a far one.

    Args:
        disparity: (B, H, W) float32, finite.
        normals: (B, H, W, 3) float32 unit vectors of the same images, on the same device, or None.
        search: how.

    Returns:
        (B, H, W) bool, on that device; nothing is waited for.
    """
    height, width = disparity.shape[1:]
    camera = Intrinsics(search.fx, search.fy, search.cx, search.cy, width, height)
    # Proportional to 1 / z; at and behind infinity it is 0.
    inverse = (disparity + search.shift).clamp(min=0.0)
    highest = _pooled(inverse, WINDOW)
    lowest = -_pooled(-inverse, WINDOW)
    noise = _noise(inverse)
    ratio = (1.0 + RANGE_OF_NOISE * noise).clamp(min=search.ratio)
    kept = 1.0 - (SPREAD_OF_NOISE * noise).clamp(min=TOLERANCE)
    between = (highest / ratio > lowest) & (inverse < kept * highest) & (kept * inverse > lowest)
    steep = _steep(inverse, normals, camera, search.view_angle)
    grown = _pooled((between & steep).float(), RUN_OUT) > 0.0
    return between & grown & (inverse > 0.0)


def _pooled(image: Tensor, reach: int) -> Tensor:
    """The largest value within that many pixels along both sides."""
    return functional.max_pool2d(image[:, None], 2 * reach + 1, stride=1, padding=reach)[:, 0]


def _noise(inverse: Tensor) -> Tensor:
    """Relative standard deviation from pixel to pixel, (B, 1, 1); see `geometry.edges`."""
    rows = inverse[:, ::NOISE_ROWS]
    middle = rows[:, :, 1:-1]
    second = (rows[:, :, :-2] + rows[:, :, 2:] - 2.0 * middle).abs() / middle
    second = torch.where(second.isfinite(), second, torch.nan)
    median = second.flatten(1).nanquantile(0.5, dim=1).nan_to_num(0.0)
    return (median / MEDIAN_OF_SECOND_DIFFERENCE)[:, None, None]


def _steep(
    inverse: Tensor, normals: Tensor | None, camera: Intrinsics, view_angle: float
) -> Tensor:
    """Where the slope along the row or the column is that of no surface, (B, H, W)."""
    padded = functional.pad(inverse[:, None], (_REACH,) * 4, mode='replicate')[:, 0]
    limits, rays = _maps(camera, view_angle, inverse.device)
    steep = torch.zeros_like(inverse, dtype=torch.bool)
    for axis in (0, 1):

        def at(offset: int, axis: int = axis) -> Tensor:
            down, right = (0, offset) if axis == 0 else (offset, 0)
            return padded[
                :,
                _REACH + down : padded.shape[1] - _REACH + down,
                _REACH + right : padded.shape[2] - _REACH + right,
            ]

        back, ahead = inverse - at(-1), at(1) - inverse
        size = torch.where(back * ahead > 0.0, torch.minimum(back.abs(), ahead.abs()), 0.0)
        sign = ahead.sign()
        relative = size / inverse  # 0 / 0 compares false
        before, after = at(-WINDOW) - at(-_REACH), at(_REACH) - at(WINDOW)
        going_on = torch.maximum(before * sign, after * sign) / FLANK
        # Where size is 0, relative is, too.
        unlike = size > float(STEEPER_THAN_FLANK) * going_on
        if normals is not None:
            unlike |= _contradicted(relative, normals, rays, camera, view_angle, axis)
        steep |= (relative > limits[axis]) & unlike
    return steep


def _contradicted(
    relative: Tensor,
    normals: Tensor,
    rays: Tensor,
    camera: Intrinsics,
    view_angle: float,
    axis: int,
) -> Tensor:
    """Whether the normal there is seen well and belongs to a far smaller slope."""
    focal = (camera.fx, camera.fy)[axis]
    x, y, length = rays
    facing = (normals[..., 0] * x + normals[..., 1] * y + normals[..., 2]).abs()
    seen_well = facing > math.sin(math.radians(view_angle)) * length
    predicted = normals[..., axis].abs() / focal
    large: Tensor = seen_well & (relative * facing > float(STEEPER_THAN_NORMAL) * predicted)
    return large


@lru_cache(maxsize=8)
def _maps(camera: Intrinsics, view_angle: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """What stays as long as the camera does: limits of slopes (2, H, W), rays x, y, length."""
    rays = ray_map(camera)
    x, y = rays[..., 0], rays[..., 1]
    packed = np.stack([x, y, np.sqrt(x * x + y * y + np.float32(1.0))])
    limits = torch.from_numpy(slope_limits(camera, view_angle).copy())
    return limits.to(device), torch.from_numpy(packed).to(device)
