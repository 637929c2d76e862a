"""A straight line through points of which a good part may be wrong.

Least median of squares over lines through two points (Rousseeuw 1984), which stands half of the
points being wrong, then iteratively reweighted least squares with Tukey's weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.scale.quantile import quantiles, robust_sigma
from lotus2_ros.types import BoolArray

Float64Array = NDArray[np.float64]

_JUDGES = 256
"""Points that choose among the hypotheses."""

_HYPOTHESES = 96
_ITERATIONS = 20
_SETTLED = 1e-6
"""Relative change of the solution with which the iteration ends."""

_SINGULAR = 1e-13
"""Determinant of the normal equations, relative to the product of their diagonal."""

_TUKEY = 4.685
"""Tukey's constant: 95% efficiency for normal errors (Huber and Ronchetti 2009)."""

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


def fit_line(
    x: Float64Array,
    y: Float64Array,
    sigma: Float64Array,
    rng: np.random.Generator,
    start: tuple[float, float] | None = None,
) -> Line | None:
    """Fit y = slope x + offset.

    Args:
        x: (N,) finite.
        y: (N,) finite.
        sigma: (N,) standard deviations of y, above 0.
        rng: of the hypotheses.
        start: slope and offset of a line nearby, which spares the search; None searches.

    Returns:
        The line; None if x hardly varies among the points that agree.
    """
    if len(x) < 3:
        return None
    low, middle, high = quantiles(x, 0.02, 0.5, 0.98)
    spread = high - low
    if spread <= 1e-6 * max(1.0, float(np.abs(x).max())):
        return None
    # Centred and of unit size: x may have any offset, which would cost digits.
    u = (x - middle) / spread
    if start is None:
        begin = _best_hypothesis(u, y, sigma, rng)
    else:
        begin = start[0] * spread, start[1] + start[0] * middle
    if begin is None:
        return None
    refined = _refined(u, y, sigma, begin)
    if refined is None:
        return None
    (slope, level), information, scale = refined
    inlier = np.abs(y - slope * u - level) < _INLIER * scale * sigma
    # slope = slope' / spread, offset = level - slope middle.
    change = np.array([[1.0 / spread, 0.0], [-middle / spread, 1.0]])
    counted = min(1.0, _INDEPENDENT / len(x)) / scale**2
    covariance = change @ np.linalg.inv(counted * information) @ change.T
    return Line(
        slope / spread,
        level - slope / spread * middle,
        np.asarray(covariance, dtype=np.float64),
        np.asarray(inlier, dtype=np.bool_),
        scale,
    )


def _best_hypothesis(
    x: Float64Array, y: Float64Array, sigma: Float64Array, rng: np.random.Generator
) -> tuple[float, float] | None:
    """The line through two points with the least median error in units of sigma."""
    half = len(x) // 2
    order = np.argpartition(x, half)
    # One of the lower and one of the upper half: close pairs give wild slopes.
    low = order[rng.integers(0, half, _HYPOTHESES)]
    high = order[rng.integers(half, len(order), _HYPOTHESES)]
    apart = x[high] - x[low]
    valid = apart > 1e-9
    if not valid.any():
        return None
    low, high, apart = low[valid], high[valid], apart[valid]
    slope = (y[high] - y[low]) / apart
    level = y[high] - slope * x[high]
    judges = rng.integers(0, len(y), _JUDGES) if len(y) > _JUDGES else np.arange(len(y))
    # In units of sigma, and in single precision: this only chooses.
    unit = 1.0 / sigma[judges]
    lines = np.column_stack([slope, level, np.full_like(slope, -1.0)]).astype(np.float32)
    error = np.abs(
        lines @ (np.stack([x[judges], np.ones_like(unit), y[judges]]) * unit).astype(np.float32)
    )
    middle = len(judges) // 2
    error.partition(middle, axis=1)
    best = int(error[:, middle].argmin())
    return float(slope[best]), float(level[best])


def _refined(
    x: Float64Array, y: Float64Array, sigma: Float64Array, start: tuple[float, float]
) -> tuple[tuple[float, float], Float64Array, float] | None:
    """Reweighted least squares: solution, normal equations (2, 2), scale of the residuals."""
    slope, level = start
    unit = 1.0 / sigma
    table = np.stack([x * unit, unit, y * unit])  # (3, N): one product gives all sums
    scale, information = 1.0, np.eye(2)
    for _ in range(_ITERATIONS):
        residual = np.abs(np.array([-slope, -level, 1.0]) @ table)
        scale = max(1.0, robust_sigma(residual))
        residual *= 1.0 / (_TUKEY * scale)
        np.minimum(residual, 1.0, out=residual)
        weights = (1.0 - residual * residual) ** 2
        sums = (table[:2] * weights) @ table.T  # (2, 3)
        information = sums[:, :2]
        (sxx, sx, sxy), (_, s, sy) = sums.tolist()
        determinant = s * sxx - sx * sx
        if not determinant > _SINGULAR * s * sxx:
            return None
        new_slope = (s * sxy - sx * sy) / determinant
        new_level = (sxx * sy - sx * sxy) / determinant
        change = max(abs(new_slope - slope), abs(new_level - level))
        slope, level = new_slope, new_level
        if change <= _SETTLED * max(abs(slope), abs(level)):
            break
    return (slope, level), information, scale
