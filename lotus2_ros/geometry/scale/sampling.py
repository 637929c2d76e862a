"""Predicted disparity at points between pixels, with its slope and its distance from edges."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.types import BoolArray, Float32Array

Float64Array = NDArray[np.float64]

_SPAN_SAMPLES = 20_000
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
    disparity: Float32Array, pixels: Float64Array, *, reach: float, jump: float = 0.03
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
    """
    reach = max(1.0, reach)
    value = bilinear(disparity, pixels)
    step_x, step_y = np.array([reach, 0.0]), np.array([0.0, reach])
    right, left = bilinear(disparity, pixels + step_x), bilinear(disparity, pixels - step_x)
    below, above = bilinear(disparity, pixels + step_y), bilinear(disparity, pixels - step_y)
    gradient = np.column_stack([right - left, below - above]) / (2.0 * reach)
    bend = np.maximum(np.abs(right + left - 2.0 * value), np.abs(below + above - 2.0 * value))
    # NaN compares false: no value, no smooth place.
    smooth = bend < jump * disparity_span(disparity)
    return DisparitySamples(value, gradient, smooth)


def disparity_span(disparity: Float32Array) -> float:
    """Between the 5th and the 95th percentile of the finite disparity; 0 if there is none."""
    flat = disparity.reshape(-1)[:: max(1, disparity.size // _SPAN_SAMPLES)]
    finite = flat[np.isfinite(flat)]
    if finite.size == 0:
        return 0.0
    low, high = np.percentile(finite, [5.0, 95.0])
    return float(high - low)


def bilinear(image: Float32Array, pixels: Float64Array) -> Float64Array:
    """(N,) float64: the image at (column, row); NaN outside the centres of its border pixels."""
    height, width = image.shape
    inside = (pixels >= 0.0).all(axis=1) & (pixels <= [width - 1, height - 1]).all(axis=1)
    result = np.full(len(pixels), np.nan)
    if height < 2 or width < 2:
        return result
    column, row = pixels[inside, 0], pixels[inside, 1]
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
