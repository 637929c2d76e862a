"""Sharpness of depth edges: Depth Pro's scale-invariant boundary F1 (arXiv 2410.02073, sec. 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.types import AnyArray, BoolArray

THRESHOLDS = np.linspace(1.05, 1.25, 10)
"""Ratios of neighbouring depths from which on there is an edge; each is its own weight too."""

_CLOSEST = 1e-6
"""Metres; closer depths count as this."""


@dataclass(frozen=True, slots=True)
class BoundaryScore:
    """Weighted means over `THRESHOLDS`; 1 is best.

    Attributes:
        precision: share of predicted edges that are true.
        recall: share of true edges that are predicted.
        f1: of both at each threshold, then the mean.
    """

    precision: float
    recall: float
    f1: float


def boundary_score(
    prediction: AnyArray, depth: AnyArray, valid: BoolArray | None = None
) -> BoundaryScore:
    """Compare where two depth maps have edges, to the pixel.

    Between two neighbours there is an edge where the ratio of their depths passes the threshold;
    edges to the left, right, upwards and downwards are compared apart, and the four precisions and
    recalls averaged. Nothing depends on the scale of either map, everything on the shift of
    disparity: align before.

    Args:
        prediction: (H, W) depth, any scale.
        depth: (H, W) true depth, any scale; may be infinite.
        valid: (H, W) pixels where the truth is known; a pair counts where both its pixels are
            valid. None is everywhere.

    Raises:
        EvaluationError: the sizes differ, or a map is NaN where it counts.
    """
    known = np.ones(depth.shape, np.bool_) if valid is None else valid
    if not prediction.shape == depth.shape == known.shape:
        raise EvaluationError(f'depths of {prediction.shape} and {depth.shape} differ in size')
    if np.isnan(prediction[known]).any() or np.isnan(depth[known]).any():
        raise EvaluationError('a depth is NaN where boundaries are compared')
    predicted, true = _ratios(prediction, known), _ratios(depth, known)
    scores = np.array([_score(predicted, true, limit) for limit in THRESHOLDS])
    precision, recall, f1 = THRESHOLDS @ scores / THRESHOLDS.sum()
    return BoundaryScore(float(precision), float(recall), float(f1))


def _ratios(depth: AnyArray, known: BoolArray) -> list[AnyArray]:
    """Ratio of inverse depths to the left, up, right and down neighbour; 1 where not known."""
    filled = np.where(known, depth, 1.0).astype(np.float64)
    inverse = 1 / filled.clip(_CLOSEST)
    across = known[:, 1:] & known[:, :-1]
    down = known[1:] & known[:-1]
    pairs = [
        (inverse[:, :-1], inverse[:, 1:], across),
        (inverse[:-1], inverse[1:], down),
        (inverse[:, 1:], inverse[:, :-1], across),
        (inverse[1:], inverse[:-1], down),
    ]
    # Infinite depth: the neighbour's ratio is infinite, and 0 / 0 = NaN passes no threshold.
    with np.errstate(divide='ignore', invalid='ignore'):
        return [np.where(both, near / far, 1.0) for near, far, both in pairs]


def _score(
    predicted: list[AnyArray], true: list[AnyArray], limit: float
) -> tuple[float, float, float]:
    precision = recall = 0.0
    for p, t in zip(predicted, true, strict=True):
        found, there = p > limit, t > limit
        right = int(np.count_nonzero(found & there))
        precision += 0.25 * right / max(1, int(np.count_nonzero(found)))
        recall += 0.25 * right / max(1, int(np.count_nonzero(there)))
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0
