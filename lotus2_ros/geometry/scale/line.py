"""A straight line through points of which a good part may be wrong.

Least median of squares over lines through two points (Rousseeuw 1984), which stands half of the
points being wrong, then iteratively reweighted least squares with Tukey's weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.scale.choice import draws
from lotus2_ros.geometry.scale.quantile import quantiles, robust_sigma
from lotus2_ros.geometry.scale.weights import tukey_weights
from lotus2_ros.types import BoolArray

Float64Array = NDArray[np.float64]

_JUDGES = 96
"""Points that choose among the hypotheses."""

_HYPOTHESES = 64
_MINUS_ONES = np.full(_HYPOTHESES, -1.0)
_APART = 1e-9
"""Least distance of two points that a line is laid through, in units of the spread."""

_ITERATIONS = 20
_SETTLED = 0.03
"""Change of the solution, in its own standard deviations, with which the iteration ends."""

_SINGULAR = 1e-13
"""Determinant of the normal equations, relative to the product of their diagonal."""

_INLIER = 3.0
_INDEPENDENT = 300
"""Points that count towards the covariance: neighbours err alike."""


class Line(NamedTuple):
    """The solution of `fit_line`: y = slope x + offset.

    Attributes:
        slope: of the line.
        offset: y at x = 0.
        covariance: (2, 2) of (slope, offset).
        inlier: (N,) bool, points within three standard deviations.
        scale: standard deviation of the residuals in units of sigma, 1 at least.
    """

    slope: float
    offset: float
    covariance: Float64Array
    inlier: BoolArray
    scale: float

    @property
    def log_covariance(self) -> Float64Array:
        """(2, 2) of (log slope, offset), for a slope above 0: d(log slope) = d(slope) / slope."""
        per = 1.0 / self.slope
        return np.asarray(self.covariance * [[per * per, per], [per, 1.0]], dtype=np.float64)


def fit_line(
    x: Float64Array,
    y: Float64Array,
    sigma: Float64Array,
    *,
    seed: int = 0,
    start: tuple[float, float] | None = None,
) -> Line | None:
    """Fit y = slope x + offset.

    Args:
        x: (N,) finite.
        y: (N,) finite.
        sigma: (N,) standard deviations of y, above 0.
        seed: of the hypotheses.
        start: slope and offset of a line nearby, which spares the search; None searches.

    Returns:
        The line; None if x hardly varies among the points that agree.
    """
    if len(x) < 3:
        return None
    low, middle, high = quantiles(x, 0.02, 0.5, 0.98)
    spread = high - low
    if spread <= 1e-6 * max(1.0, abs(low), abs(high)):
        return None
    # Centred and of unit size: x may have any offset, which would cost digits. In units of sigma.
    unit = 1.0 / sigma
    table = np.empty((3, len(x)))  # one product with it gives all sums
    table[0] = (x - middle) * (unit / spread)
    table[1] = unit
    table[2] = y * unit
    if start is None:
        begin = _best_hypothesis(x, table, seed)
    else:
        begin = start[0] * spread, start[1] + start[0] * middle
    refined = None if begin is None else _refined(table, begin)
    if refined is None:
        return None
    (slope, level), (sxx, sx, s), scale = refined
    inlier = _residuals(table, slope, level) < _INLIER * scale
    # slope = slope' / spread, offset = level - k slope', of the inverse of the normal equations.
    k = middle / spread
    counted = min(1.0, _INDEPENDENT / len(x)) / scale**2 * (s * sxx - sx * sx)
    slope_slope, slope_level, level_level = s / counted, -sx / counted, sxx / counted
    mixed = (slope_level - k * slope_slope) / spread
    covariance = np.array(
        [
            [slope_slope / spread**2, mixed],
            [mixed, level_level - k * (2.0 * slope_level - k * slope_slope)],
        ]
    )
    return Line(slope / spread, level - k * slope, covariance, inlier, scale)


def _best_hypothesis(x: Float64Array, table: Float64Array, seed: int) -> tuple[float, float] | None:
    """The line through two points with the least median error in units of sigma."""
    half = len(x) // 2
    order = np.argpartition(x, half)
    # One of the lower and one of the upper half: close pairs give wild slopes.
    places = (half * draws(2 * _HYPOTHESES, seed)).astype(np.intp)
    places[_HYPOTHESES:] += len(x) - half
    points = table.take(order.take(places), axis=1)
    points /= points[1]
    low, high = points[:, :_HYPOTHESES], points[:, _HYPOTHESES:]
    apart = high[0] - low[0]
    if not apart.max() > _APART:
        return None
    slope = (high[2] - low[2]) / np.maximum(apart, _APART)
    # In single precision: this only chooses.
    lines = np.array([slope, high[2] - slope * high[0], _MINUS_ONES], dtype=np.float32)
    judges = (len(x) * draws(_JUDGES, seed)).astype(np.intp)
    error = np.abs(lines.T @ table.take(judges, axis=1).astype(np.float32))
    error.sort(axis=1)  # for so few, quicker than a partition
    best = int(error[:, _JUDGES // 2].argmin())
    return float(lines[0, best]), float(lines[1, best])


def _refined(
    table: Float64Array, start: tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float, float], float] | None:
    """Reweighted least squares: solution, sums of the normal equations, scale of the residuals."""
    slope, level = start
    scale, sxx, sx, s = 1.0, 1.0, 0.0, 1.0
    counted = min(1.0, _INDEPENDENT / table.shape[1])
    for _ in range(_ITERATIONS):
        residual = _residuals(table, slope, level)
        scale = max(1.0, robust_sigma(residual))
        sums = (table[:2] * tukey_weights(residual, scale)) @ table.T  # (2, 3)
        (sxx, sx, sxy), (_, s, sy) = sums.tolist()
        determinant = s * sxx - sx * sx
        if not determinant > _SINGULAR * s * sxx:
            return None
        by_slope = (s * sxy - sx * sy) / determinant - slope
        by_level = (sxx * sy - sx * sxy) / determinant - level
        slope, level = slope + by_slope, level + by_level
        squared = sxx * by_slope**2 + 2.0 * sx * by_slope * by_level + s * by_level**2
        if counted * squared <= (_SETTLED * scale) ** 2:
            break
    return (slope, level), (sxx, sx, s), scale


def _residuals(table: Float64Array, slope: float, level: float) -> Float64Array:
    """(N,) sizes of the errors in units of sigma."""
    return np.abs(np.array([-slope, -level, 1.0]) @ table)
