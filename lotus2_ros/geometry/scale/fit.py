"""Robust fit of scale and shift to the references of one frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.scale.choice import some
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
    disparity, target, sigma = _usable(references, seed)
    if len(disparity) < FEWEST:
        return NoScale('too few samples')
    line = fit_line(disparity, target, sigma, seed=seed, start=start)
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
    covariance = line.log_covariance
    if covariance[0, 0] > _LARGEST_LOG_SIGMA**2:
        return NoScale('too little relief')
    return ScaleEstimate(a, b, covariance, float(inlier.mean()), len(target), residual, source)


def _usable(references: References, seed: int) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Disparity, 1 / z and sigma of what can be fitted, at most `_MOST` of them."""
    d, r, s = (
        np.asarray(values, dtype=np.float64).reshape(-1)
        for values in (references.disparity, references.inverse_depth, references.sigma)
    )
    # NaN compares false.
    usable = np.isfinite(d) & (r > 0.0) & (r < np.inf) & (s > 0.0) & (s < np.inf)
    if usable.all() and len(d) <= _MOST:
        return d, r, s
    chosen = np.flatnonzero(usable)
    chosen = chosen[some(len(chosen), _MOST, seed)]
    return d[chosen], r[chosen], s[chosen]
