"""Predicted disparity at points between pixels, with its slope and its distance from edges."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.scale.quantile import quantiles
from lotus2_ros.types import BoolArray, Float32Array

Float64Array = NDArray[np.float64]

_SPAN_SAMPLES = 1500
"""Pixels that stand for the image where its range of disparity is asked for."""


class Places(NamedTuple):
    """Points in an image of a known size, and the pixels that tell what is there.

    Made by `places_at`, before there is an image.

    Attributes:
        size: (height, width) of the image.
        step: from a point's own pixel to those that tell slope and edges [px].
        inside: (N,) bool, where those are in the image.
        pixels: (5, N) in the flat image: a point's own pixel, the nearest one, and `step` right,
            left, below and above of it, or itself where they are not in the image.
        offset: (2, N) of the point from its pixel, along columns and rows [px]; NaN for a point
            beside the image.
    """

    size: tuple[int, int]
    step: int
    inside: BoolArray
    pixels: NDArray[np.intp]
    offset: Float64Array


class DisparitySamples(NamedTuple):
    """Disparity at N points.

    Attributes:
        value: (N,) of the nearest pixel, taken on with its gradient; NaN where one is missing.
        gradient: (2, N) change along column and row [1/px], as a central difference.
        smooth: (N,) bool, False on an edge, on its rim, at the border or where a value is missing.
    """

    value: Float64Array
    gradient: Float64Array
    smooth: BoolArray


def places_at(pixels: Float64Array, size: tuple[int, int], *, reach: float) -> Places:
    """Where to look for the disparity of points, see `sample_disparity`.

    Args:
        pixels: (N, 2) (column, row), maybe NaN or beside the image.
        size: (height, width) of the image.
        reach: how far a point may be from where it belongs [px].
    """
    height, width = size
    step = max(1, round(reach))
    nearest = np.rint(pixels.T)  # (2, N)
    offset = pixels.T - nearest
    column, row = nearest
    # NaN compares false.
    known = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    inside = (column >= step) & (column < width - step) & (row >= step) & (row < height - step)
    own = row * width + column
    if not known.all():
        own = np.where(known, own, 0.0)
        offset[:, ~known] = np.nan
    places = np.empty((5, len(pixels)), dtype=np.intp)
    places[:] = own
    sides = np.array([[step], [-step], [step * width], [-step * width]])
    np.add(places[1:], sides, out=places[1:], where=inside)
    return Places(size, step, inside, places, offset)


def sample_disparity(
    disparity: Float32Array, places: Places, *, jump: float = 0.03, span: float | None = None
) -> DisparitySamples:
    """Sample a disparity image where it is smooth over the reach of a misplacement.

    A place is on an edge if the disparity at a distance of `reach` to both sides of it, along the
    rows or the columns, differs from a straight line through it by more than `jump` times the range
    of disparity in the image. A slanted plane is a straight line in disparity and is no edge.

    Args:
        disparity: (H, W) predicted, of the size that the places were made for.
        places: where to sample it, with the reach.
        jump: share of the range of disparity (5th to 95th percentile).
        span: that range, where it is known already; None finds it.
    """
    found = disparity.reshape(-1).take(places.pixels).astype(np.float64)  # (5, N)
    own, one, other = found[0], found[1::2], found[2::2]
    gradient = (one - other) / (2.0 * places.step)
    bend = np.abs(one + other - 2.0 * own).max(axis=0)
    if span is None:
        span = disparity_span(disparity)
    value = own + (gradient * places.offset).sum(axis=0)
    # NaN compares false: no value, no smooth place.
    return DisparitySamples(value, gradient, places.inside & (bend < jump * span))


def disparity_span(disparity: Float32Array) -> float:
    """Between the 5th and the 95th percentile of the finite disparity; 0 if there is none."""
    flat = disparity.reshape(-1)[:: max(1, disparity.size // _SPAN_SAMPLES)]
    finite = flat[np.isfinite(flat)]
    if finite.size == 0:
        return 0.0
    low, high = quantiles(finite, 0.05, 0.95)
    return high - low
