"""Points that another sensor sees past an edge, but the camera does not."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.types import BoolArray

Float64Array = NDArray[np.float64]

_CELL_SPACINGS = 1.5
"""Side of a grid cell in mean point spacings. Lines of a lidar lie two to four mean spacings apart
in the image; with the neighbouring cell the search reaches over one such gap."""

_SMALLEST_CELL = 4.0
_LARGEST_CELL = 32.0


def occluded_points(
    pixels: Float64Array,
    depth: Float64Array,
    size: tuple[int, int],
    *,
    margin: float = 0.1,
    cell: float | None = None,
) -> BoolArray:
    """Points behind a nearer surface of the same cloud, seen by a displaced sensor only.

    A grid holds the least depth of each cell. A point is occluded if a surface nearer by the margin
    lies in the neighbouring cells on both sides of it, left and right or above and below. A slanted
    surface, such as a floor, is nearer on one side only, however steep it is in the image, and
    stays.

    Args:
        pixels: (N, 2) finite, inside the image [px].
        depth: (N,) along the optical axis, above 0 [m].
        size: (width, height) of the image [px].
        margin: an occluder is nearer by more than this share.
        cell: side of a grid cell [px]; None takes it from the density of the points.

    Returns:
        (N,) bool, True where occluded.
    """
    if len(pixels) == 0:
        return np.zeros(0, dtype=np.bool_)
    if cell is None:
        # Column by column: NumPy's reductions over an axis of length 2 are many times slower.
        wide, high = (max(float(np.ptp(values)), 1.0) for values in (pixels[:, 0], pixels[:, 1]))
        spacing = math.sqrt(wide * high / len(pixels))
        cell = float(np.clip(_CELL_SPACINGS * spacing, _SMALLEST_CELL, _LARGEST_CELL))
    columns = int(size[0] // cell) + 1
    rows = int(size[1] // cell) + 1
    column = np.clip(((pixels[:, 0] + 0.5) // cell).astype(np.intp), 0, columns - 1)
    row = np.clip(((pixels[:, 1] + 0.5) // cell).astype(np.intp), 0, rows - 1)
    # One cell of padding spares the border cases; nothing is there, so it is infinitely far.
    nearest = np.full((rows + 2, columns + 2), np.inf)
    np.minimum.at(nearest, (row + 1, column + 1), depth)
    limit = depth / (1.0 + margin)
    left, right = _sides(nearest, row + 1, column + 1, limit, axis=1)
    above, below = _sides(nearest, row + 1, column + 1, limit, axis=0)
    return np.asarray((left & right) | (above & below), dtype=np.bool_)


def _sides(
    nearest: Float64Array,
    row: NDArray[np.intp],
    column: NDArray[np.intp],
    limit: Float64Array,
    *,
    axis: int,
) -> tuple[BoolArray, BoolArray]:
    """Whether the neighbouring cells before and after, along an axis, hold something nearer."""
    step_row, step_column = (1, 0) if axis == 0 else (0, 1)
    before = nearest[row - step_row, column - step_column] < limit
    after = nearest[row + step_row, column + step_column] < limit
    return before, after
