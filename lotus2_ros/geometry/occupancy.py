"""An independent check of a cloud: are obstacles in it, and is free space free of it?

Shares nothing with the code that makes the cloud but the camera's intrinsics, and takes no short
cut that the cloud might take too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]
Cells = NDArray[np.int64]

_BLOCK = 1 << 22
"""Distances computed at a time."""


class OccupancyCheck(NamedTuple):
    """How a cloud compares with the truth.

    Attributes:
        obstacles: true obstacle points that were asked for.
        found: those with a point of the cloud near enough.
        free_cells: cells seen free in truth.
        marked: those that hold a point of the cloud that belongs to no true obstacle.
        touched: those that hold any point of the cloud: `marked`, and points within the tolerance
            of an obstacle in a neighbouring cell.
    """

    obstacles: int
    found: int
    free_cells: int
    marked: int
    touched: int

    @property
    def found_share(self) -> float:
        """Share of true obstacles in the cloud; NaN without obstacles."""
        return self.found / self.obstacles if self.obstacles else float('nan')

    @property
    def marked_share(self) -> float:
        """Share of free cells marked; NaN without free cells."""
        return self.marked / self.free_cells if self.free_cells else float('nan')


def check(
    cloud: Float64Array,
    obstacles: Float64Array,
    free: Cells,
    *,
    camera: Float64Array,
    cell: float = 0.1,
    band: tuple[float, float] = (0.05, 2.0),
    nearest: float = 0.3,
    farthest: float = 5.0,
    tolerance: float = 0.10,
    relative_tolerance: float = 0.05,
) -> OccupancyCheck:
    """Compare a cloud with true obstacles and free cells, all in one level frame (z up).

    A true point is found if a point of the cloud lies within the larger of `tolerance` and
    `relative_tolerance` times its distance from the camera. A point of the cloud in the band
    belongs to an obstacle if one lies as near to it; if none does, it marks its cell.

    Args:
        cloud: (N, 3) points to check [m].
        obstacles: (M, 3) true surface points in the band, at all distances [m]; those between
            `nearest` and `farthest` from the camera are asked for.
        free: (K, 2) cells that are free in truth, see `free_cells`.
        camera: (3,) position of the camera [m].
        cell: side of a cell [m].
        band: heights that mark a cell [m].
        nearest: nearest obstacle asked for [m].
        farthest: farthest obstacle asked for [m].
        tolerance: in metres.
        relative_tolerance: as a share of the distance.
    """
    distance = np.linalg.norm(obstacles - camera, axis=1)
    allowed = np.maximum(tolerance, relative_tolerance * distance)
    asked = (distance >= nearest) & (distance <= farthest)
    found = _any_within(obstacles[asked], cloud, allowed[asked])
    in_band = cloud[(cloud[:, 2] >= band[0]) & (cloud[:, 2] <= band[1])]
    # The tolerance of the pair is the obstacle's, so that both questions are the same one.
    reach = np.maximum(tolerance, relative_tolerance * np.linalg.norm(in_band - camera, axis=1))
    belongs = _any_within(in_band, obstacles, reach)
    place = np.floor(in_band[:, :2] / cell).astype(np.int64)
    free_keys = np.unique(_keys(free))
    touched = np.isin(free_keys, _keys(place))
    marked = np.isin(free_keys, _keys(place[~belongs]))
    return OccupancyCheck(
        int(asked.sum()), int(found.sum()), len(free_keys), int(marked.sum()), int(touched.sum())
    )


def free_cells(
    surface: Float64Array,
    obstacles: Float64Array,
    *,
    camera: Float64Array,
    cell: float = 0.1,
    band: tuple[float, float] = (0.05, 2.0),
    nearest: float = 0.3,
    farthest: float = 5.0,
) -> Cells:
    """Cells that the camera looks through in the band, and that no obstacle stands in.

    Args:
        surface: (N, 3) where the rays end in truth, in the level frame [m]; far ends for sky.
        obstacles: (M, 3) true surface points in the band [m].
        camera: (3,) position of the camera [m].
        cell: side of a cell [m].
        band: heights that count [m].
        nearest: cells nearer to the camera in the plane are left out [m].
        farthest: and those farther [m].

    Returns:
        (K, 2) int64, distinct.
    """
    ray = surface - camera
    length = np.linalg.norm(ray, axis=1, keepdims=True)
    direction = ray / length
    seen: list[NDArray[np.int64]] = []
    for distance in np.arange(0.5 * nearest, 2.0 * farthest, 0.5 * cell):
        points = camera + distance * direction
        inside = (distance < length[:, 0]) & (points[:, 2] >= band[0]) & (points[:, 2] <= band[1])
        seen.append(np.unique(_keys(np.floor(points[inside, :2] / cell).astype(np.int64))))
    keys = np.unique(np.concatenate(seen))
    keys = keys[~np.isin(keys, _keys(np.floor(obstacles[:, :2] / cell).astype(np.int64)))]
    cells = np.stack([(keys >> 32) - 2**30, (keys & 0xFFFFFFFF) - 2**30], axis=1)
    away = np.linalg.norm((cells + 0.5) * cell - camera[:2], axis=1)
    return np.asarray(cells[(away >= nearest) & (away <= farthest)], dtype=np.int64)


def _keys(cells: Cells) -> NDArray[np.int64]:
    return np.asarray(((cells[:, 0] + 2**30) << 32) | (cells[:, 1] + 2**30), dtype=np.int64)


def _any_within(
    points: Float64Array, others: Float64Array, radius: Float64Array
) -> NDArray[np.bool_]:
    """Whether any of the others is within each point's radius, by all distances."""
    result = np.zeros(len(points), dtype=np.bool_)
    if len(others) == 0:
        return result
    rows = max(1, _BLOCK // len(others))
    for start in range(0, len(points), rows):
        block = points[start : start + rows]
        squared = (block**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2.0 * block @ others.T
        result[start : start + rows] = squared.min(axis=1) <= radius[start : start + rows] ** 2
    return result
