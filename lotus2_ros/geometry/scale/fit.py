"""Robust fit of scale and shift to the references of one frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.scale.estimate import NoScale, References, ScaleEstimate
from lotus2_ros.geometry.scale.line import fit_line
from lotus2_ros.geometry.scale.quantile import median

Float64Array = NDArray[np.float64]

FEWEST = 12
"""References below which nothing is fitted."""

_MOST = 1000

_LARGEST_RESIDUAL = 0.35
"""Median relative error of the inliers with which prediction and references show two scenes, unless
the references are no better themselves."""

_LARGEST_SCALE = 3.0
"""Residuals in units of sigma that the references' own errors explain."""

_LARGEST_LOG_SIGMA = 0.5
"""Standard deviation of log a with which the references say nothing of the scale."""


def fit_scale(
    references: References,
    *,
    source: str,
    seed: int = 0,
    start: tuple[float, float] | None = None,
) -> ScaleEstimate | NoScale:
    """Fit 1 / z = a d + b.

    Args:
        references: of one frame; entries that are not finite, not positive or without a positive
            sigma are left out.
        source: goes into the estimate.
        seed: of the choice among many references and of the hypotheses.
        start: (a, b) nearby, as from an earlier fit to much the same references; None searches.

    Returns:
        The estimate; or why there is none: 'too few samples', 'too little relief' (disparity or
        depth hardly varies), 'negative scale' (what is predicted near is far), 'references
        contradict prediction'.
    """
    rng = np.random.default_rng(seed)
    disparity, target, sigma = _usable(references, rng)
    if len(disparity) < FEWEST:
        return NoScale('too few samples')
    line = fit_line(disparity, target, sigma, rng, start)
    if line is None:
        return NoScale('too little relief')
    a, b = line.slope, line.offset
    if a <= 0.0:
        return NoScale('negative scale')
    inlier = line.inlier
    error = np.abs(target[inlier] - a * disparity[inlier] - b)
    residual = median(error / target[inlier]) if inlier.any() else np.inf
    if residual > _LARGEST_RESIDUAL and line.scale > _LARGEST_SCALE:
        return NoScale('references contradict prediction')
    # d(log a) = d(a) / a.
    units = np.array([1.0 / a, 1.0])
    covariance = line.covariance * np.outer(units, units)
    if covariance[0, 0] > _LARGEST_LOG_SIGMA**2:
        return NoScale('too little relief')
    return ScaleEstimate(a, b, covariance, float(inlier.mean()), len(target), residual, source)


def _usable(
    references: References, rng: np.random.Generator
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Disparity, 1 / z and sigma of what can be fitted, at most `_MOST` of them."""
    d, r, s = (
        np.asarray(values, dtype=np.float64).reshape(-1)
        for values in (references.disparity, references.inverse_depth, references.sigma)
    )
    chosen = np.flatnonzero(np.isfinite(d) & np.isfinite(r) & np.isfinite(s) & (r > 0) & (s > 0))
    if len(chosen) > _MOST:
        chosen = np.sort(rng.choice(chosen, _MOST, replace=False, shuffle=False))
    return d[chosen], r[chosen], s[chosen]
