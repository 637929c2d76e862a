"""Robust fit of scale and shift to the references of one frame.

Least median of squares over lines through two references (Rousseeuw 1984), which stands half of the
references being wrong, then iteratively reweighted least squares with Tukey's weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.scale.estimate import NoScale, References, ScaleEstimate

Float64Array = NDArray[np.float64]

FEWEST = 12
"""References below which nothing is fitted."""

_MOST = 4000
_JUDGES = 400
"""References that choose among the hypotheses."""

_HYPOTHESES = 256
_ITERATIONS = 20
_TUKEY = 4.685
"""Tukey's constant: 95% efficiency for normal errors (Huber and Ronchetti 2009)."""

_MAD_TO_SIGMA = 1.4826
_INLIER = 3.0
_INDEPENDENT = 300
"""References that count towards the covariance: neighbours err alike."""

_LARGEST_RESIDUAL = 0.35
"""Median relative error of the inliers with which prediction and references show two scenes, unless
the references are no better themselves."""

_LARGEST_LOG_SIGMA = 0.5
"""Standard deviation of log a with which the references say nothing of the scale."""


def fit_scale(references: References, *, source: str, seed: int = 0) -> ScaleEstimate | NoScale:
    """Fit 1 / z = a d + b.

    Args:
        references: of one frame; entries that are not finite, not positive or without a positive
            sigma are left out.
        source: goes into the estimate.
        seed: of the choice among many references and of the hypotheses.

    Returns:
        The estimate; or why there is none: 'too few samples', 'too little relief' (disparity or
        depth hardly varies), 'negative scale' (what is predicted near is far), 'references
        contradict prediction'.
    """
    rng = np.random.default_rng(seed)
    disparity, target, sigma = _usable(references, rng)
    if len(disparity) < FEWEST:
        return NoScale('too few samples')
    middle = float(np.median(disparity))
    spread = float(np.ptp(np.quantile(disparity, [0.02, 0.98])))
    if spread <= 1e-6 * max(1.0, np.abs(disparity).max()):
        return NoScale('too little relief')
    # Centred and of unit size: disparity may have any offset, which would cost digits.
    design = np.column_stack([(disparity - middle) / spread, np.ones_like(disparity)])
    solution = _best_hypothesis(design, target, sigma, rng)
    if solution is None:
        return NoScale('too little relief')
    refined = _refined(design / sigma[:, None], target / sigma, solution)
    if refined is None:
        return NoScale('too little relief')
    solution, weights, scale = refined
    if solution[0] <= 0.0:
        return NoScale('negative scale')
    error = np.abs(target - design @ solution)
    inlier = error < _INLIER * scale * sigma
    residual = float(np.median(error[inlier] / target[inlier]))
    if residual > _LARGEST_RESIDUAL and scale > _INLIER:
        return NoScale('references contradict prediction')
    covariance = _covariance(design / sigma[:, None], weights, scale)
    if covariance is None:
        return NoScale('too little relief')
    # d = middle + spread d', so a = a' / spread, b = b' - a middle; d(log a) = d(a') / a'.
    a = float(solution[0]) / spread
    change = np.array([[1.0 / solution[0], 0.0], [-middle / spread, 1.0]])
    covariance = change @ covariance @ change.T
    if covariance[0, 0] > _LARGEST_LOG_SIGMA**2:
        return NoScale('too little relief')
    b = float(solution[1]) - a * middle
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
        chosen = np.sort(rng.choice(chosen, _MOST, replace=False))
    return d[chosen], r[chosen], s[chosen]


def _best_hypothesis(
    design: Float64Array, target: Float64Array, sigma: Float64Array, rng: np.random.Generator
) -> Float64Array | None:
    """(a, b) of the line through two references with the least median error in units of sigma."""
    disparity = design[:, 0]
    order = np.argsort(disparity)
    half = len(order) // 2
    # One of the farther and one of the nearer half: close pairs give wild slopes.
    far = order[rng.integers(0, half, _HYPOTHESES)]
    near = order[rng.integers(half, len(order), _HYPOTHESES)]
    apart = disparity[near] - disparity[far]
    valid = apart > 1e-9
    if not valid.any():
        return None
    near, far, apart = near[valid], far[valid], apart[valid]
    a = (target[near] - target[far]) / apart
    b = target[near] - a * disparity[near]
    judges = rng.permutation(len(target))[:_JUDGES]
    error = np.abs(a[:, None] * disparity[judges] + b[:, None] - target[judges]) / sigma[judges]
    middle = len(judges) // 2
    best = int(np.partition(error, middle, axis=1)[:, middle].argmin())
    return np.array([a[best], b[best]])


def _refined(
    design: Float64Array, target: Float64Array, solution: Float64Array
) -> tuple[Float64Array, Float64Array, float] | None:
    """Reweighted least squares in units of sigma: solution, weights, and scale of the residuals."""
    weights, scale = np.ones_like(target), 1.0
    for _ in range(_ITERATIONS):
        residual = np.abs(target - design @ solution)
        scale = max(1.0, _MAD_TO_SIGMA * float(np.median(residual)))
        weights = (1.0 - np.minimum(residual / (_TUKEY * scale), 1.0) ** 2) ** 2
        normal = design.T @ (weights[:, None] * design)
        if np.linalg.cond(normal) > 1e14:
            return None
        update: Float64Array = np.linalg.solve(normal, design.T @ (weights * target)).astype(
            np.float64
        )
        change = np.abs(update - solution).max() / np.abs(update).max()
        solution = update
        if change < 1e-9:
            break
    return solution, weights, scale


def _covariance(design: Float64Array, weights: Float64Array, scale: float) -> Float64Array | None:
    """(2, 2) of the solution."""
    information = design.T @ (weights[:, None] * design) / scale**2
    information *= min(1.0, _INDEPENDENT / len(design))
    if np.linalg.cond(information) > 1e14:
        return None
    return np.linalg.inv(information).astype(np.float64)
