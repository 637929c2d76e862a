"""Predicted disparity at points between pixels, with its slope and its distance from edges."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.scale.quantile import quantiles
from lotus2_ros.types import BoolArray, Float32Array

Float64Array = NDArray[np.float64]

_SPAN_SAMPLES = 5000
"""Pixels that stand for the image where its range of disparity is asked for."""


class DisparitySamples(NamedTuple):
    """Disparity at N points.

    Attributes:
        value: (N,) bilinear between the four pixels around; NaN if one of them is.
        gradient: (N, 2) change along column and row [1/px], as a central difference.
        smooth: (N,) bool, False on an edge, on its rim, at the border or where a value is missing.
    """

    value: Float64Array
    gradient: Float64Array
    smooth: BoolArray


def sample_disparity(
    disparity: Float32Array,
    pixels: Float64Array,
    *,
    reach: float,
    jump: float = 0.03,
    span: float | None = None,
) -> DisparitySamples:
    """Sample a disparity image where it is smooth over the reach of a misplacement.

    A place is on an edge if the disparity at a distance of `reach` to both sides of it, along the
    rows or the columns, differs from a straight line through it by more than `jump` times the range
    of disparity in the image. A slanted plane is a straight line in disparity and is no edge.

    Args:
        disparity: (H, W) predicted.
        pixels: (N, 2) finite (column, row), inside the image.
        reach: how far a point may be from where it belongs [px].
        jump: share of the range of disparity (5th to 95th percentile).
        span: that range, where it is known already; None finds it.
    """
    height, width = disparity.shape
    step = max(1, round(reach))
    # Slope and bend at the nearest pixel: they are differences over several pixels anyway.
    column = np.rint(pixels[:, 0]).astype(np.intp)
    row = np.rint(pixels[:, 1]).astype(np.intp)
    inside = (column >= step) & (column < width - step) & (row >= step) & (row < height - step)
    if not inside.any():
        nothing = np.full((len(pixels), 3), np.nan)
        return DisparitySamples(nothing[:, 0], nothing[:, 1:], inside)
    column, row = np.where(inside, column, step), np.where(inside, row, step)
    centre = 2.0 * disparity[row, column]
    right, left = disparity[row, column + step], disparity[row, column - step]
    below, above = disparity[row + step, column], disparity[row - step, column]
    gradient = np.column_stack([right - left, below - above]).astype(np.float64) / (2.0 * step)
    bend = np.maximum(np.abs(right + left - centre), np.abs(below + above - centre))
    if span is None:
        span = disparity_span(disparity)
    # NaN compares false: no value, no smooth place.
    smooth = inside & (bend < jump * span)
    value = bilinear(disparity, pixels)
    return DisparitySamples(value, gradient, smooth & np.isfinite(value))


def disparity_span(disparity: Float32Array) -> float:
    """Between the 5th and the 95th percentile of the finite disparity; 0 if there is none."""
    flat = disparity.reshape(-1)[:: max(1, disparity.size // _SPAN_SAMPLES)]
    finite = flat[np.isfinite(flat)]
    if finite.size == 0:
        return 0.0
    low, high = quantiles(finite, 0.05, 0.95)
    return high - low


def bilinear(image: Float32Array, pixels: Float64Array) -> Float64Array:
    """(N,) float64: the image at (column, row); NaN outside the centres of its border pixels."""
    height, width = image.shape
    result = np.full(len(pixels), np.nan)
    if height < 2 or width < 2:
        return result
    # Column by column: NumPy's reductions over an axis of length 2 are many times slower.
    column, row = pixels[:, 0], pixels[:, 1]
    inside = (column >= 0.0) & (column <= width - 1) & (row >= 0.0) & (row <= height - 1)
    column, row = column[inside], row[inside]
    left = np.minimum(column.astype(np.intp), width - 2)
    top = np.minimum(row.astype(np.intp), height - 2)
    x, y = column - left, row - top
    result[inside] = (
        image[top, left] * ((1.0 - x) * (1.0 - y))
        + image[top, left + 1] * (x * (1.0 - y))
        + image[top + 1, left] * ((1.0 - x) * y)
        + image[top + 1, left + 1] * (x * y)
    )
    return result
