"""Errors of one depth map, by the definitions of Marigold's evaluation (arXiv 2312.02145)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.types import AnyArray, BoolArray

DELTA = 1.25
"""Base of the three ratio thresholds."""


@dataclass(frozen=True, slots=True)
class DepthErrors:
    """Errors of one image; p is predicted, t is true depth, means are over valid pixels.

    Attributes:
        abs_rel: mean |p - t| / t.
        sq_rel: mean (p - t)^2 / t [m].
        rmse: root of mean (p - t)^2 [m].
        rmse_log: root of mean (ln p - ln t)^2.
        log10: mean |log10 p - log10 t|.
        delta1: share of pixels with max(p / t, t / p) < 1.25.
        delta2: the same for 1.25^2.
        delta3: the same for 1.25^3.
        silog: 100 times the standard deviation of ln p - ln t.
        i_rmse: root of mean (1 / p - 1 / t)^2 [1/m].
    """

    abs_rel: float
    sq_rel: float
    rmse: float
    rmse_log: float
    log10: float
    delta1: float
    delta2: float
    delta3: float
    silog: float
    i_rmse: float


def depth_errors(prediction: AnyArray, depth: AnyArray, valid: BoolArray) -> DepthErrors:
    """Compare a depth map with the true one; in float64 whatever comes in.

    Args:
        prediction: (H, W) depth [m], aligned.
        depth: (H, W) true depth [m]; anything where not valid.
        valid: (H, W) pixels that count.

    Raises:
        EvaluationError: no pixel counts, or a depth that counts is not positive and finite.
    """
    p, t = (values[valid].astype(np.float64) for values in (prediction, depth))
    if t.size == 0:
        raise EvaluationError('no pixel of the ground truth is valid')
    for values, name in ((p, 'prediction'), (t, 'ground truth')):
        wrong = np.count_nonzero(~(np.isfinite(values) & (values > 0)))
        if wrong:
            raise EvaluationError(f'{wrong} valid pixels of the {name} are not positive and finite')
    difference = p - t
    logarithms = np.log(p) - np.log(t)
    ratio = np.maximum(p / t, t / p)
    return DepthErrors(
        abs_rel=float(np.mean(np.abs(difference) / t)),
        sq_rel=float(np.mean(difference**2 / t)),
        rmse=_root_mean_square(difference),
        rmse_log=_root_mean_square(logarithms),
        log10=float(np.mean(np.abs(np.log10(p) - np.log10(t)))),
        delta1=float(np.mean(ratio < DELTA)),
        delta2=float(np.mean(ratio < DELTA**2)),
        delta3=float(np.mean(ratio < DELTA**3)),
        silog=100 * float(np.std(logarithms)),
        i_rmse=_root_mean_square(1 / p - 1 / t),
    )


def _root_mean_square(values: AnyArray) -> float:
    return float(np.sqrt(np.mean(values**2)))
