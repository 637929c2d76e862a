"""Which beams of a scan a camera can see at all."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.mounting import Mounting
from lotus2_ros.geometry.scan import ScanLayout


@lru_cache(maxsize=8)
def layout_of_view(
    intrinsics: Intrinsics,
    mounting: Mounting,
    *,
    increment: float,
    range_min: float,
    range_max: float,
    low: float,
    high: float,
) -> ScanLayout:
    """Beams for all directions that the image covers between range_min and range_max.

    A beam is a whole multiple of the increment away from x, so beams keep their directions where
    the view changes. A view with a vertical line of sight in it takes all directions.

    Args:
        intrinsics: of the depth image.
        mounting: of its camera; its base frame is the scan's.
        increment: from each beam to the next, above 0 [rad].
        range_min: nearest range [m].
        range_max: farthest range [m].
        low: lower end of the band of heights [m].
        high: upper end of the band [m].

    Raises:
        ValueError: ranges or band are not in order.
    """
    transform = mounting.optical_to_base
    rays = _border(intrinsics) @ transform[:3, :3].T
    angles = np.unwrap(np.arctan2(rays[:, 1], rays[:, 0]))
    angles -= 2.0 * math.pi * round(float(angles.mean()) / (2.0 * math.pi))
    if abs(angles[-1] - angles[0]) > math.pi:  # the border goes round the vertical
        beams = max(1, math.floor(2.0 * math.pi / increment))
        first = -math.floor(0.5 * beams) * increment
    else:
        seen = _from_origin(angles, transform[:2, 3], max(range_min, 0.1), range_max)
        lowest, highest = math.floor(seen.min() / increment), math.ceil(seen.max() / increment)
        beams = min(highest - lowest + 1, max(1, math.floor(2.0 * math.pi / increment)))
        first = lowest * increment
    return ScanLayout(first, increment, beams, range_min, range_max, low, high)


def _border(intrinsics: Intrinsics) -> NDArray[np.float64]:
    """(N, 3) rays of the pixels along the border, once round."""
    columns = (np.arange(intrinsics.width) - intrinsics.cx) / intrinsics.fx
    rows = (np.arange(intrinsics.height) - intrinsics.cy) / intrinsics.fy
    top = np.column_stack([columns, np.full_like(columns, rows[0])])
    right = np.column_stack([np.full_like(rows, columns[-1]), rows])
    bottom, left = top[::-1] * [1, 0] + [0, rows[-1]], right[::-1] * [0, 1] + [columns[0], 0]
    border = np.concatenate([top, right, bottom, left])
    return np.column_stack([border, np.ones(len(border))])


def _from_origin(
    angles: NDArray[np.float64], camera: NDArray[np.float64], near: float, far: float
) -> NDArray[np.float64]:
    """Directions from the origin to the points at both distances from the camera [rad]."""
    seen = []
    for distance in (near, far):
        x = camera[0] + distance * np.cos(angles)
        y = camera[1] + distance * np.sin(angles)
        turn = np.arctan2(y, x) - angles
        # The same turn of the circle as the angle itself: within half a turn of it.
        seen.append(angles + np.mod(turn + math.pi, 2.0 * math.pi) - math.pi)
    return np.concatenate(seen)
