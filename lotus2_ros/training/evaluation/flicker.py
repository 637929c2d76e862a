"""How much a prediction changes from frame to frame where the scene does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lotus2_ros.geometry.alignment import align_disparity
from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.training.evaluation.normal_metrics import normal_angles
from lotus2_ros.types import AnyArray, BoolArray

LEAST_STILL = 0.05
"""Share of the picture that must stand still for a pair of frames to say anything."""


@dataclass(frozen=True, slots=True)
class DisparityFlicker:
    """Mean change of disparity between two frames, as a share of its spread.

    The spread is between the 2 % and the 98 % quantile of the first frame: affine-invariant
    disparity has no zero that a change could be compared with.

    Attributes:
        aligned: after the least-squares scale and shift of the second frame onto the first, as
            anyone does who puts the prediction to a scale. Shape that changes.
        unaligned: as predicted. Shape, scale and shift that change.
    """

    aligned: float
    unaligned: float


def disparity_flicker(first: AnyArray, second: AnyArray, still: BoolArray) -> DisparityFlicker:
    """Compare the disparities (H, W) of two frames where `still`.

    Raises:
        EvaluationError: too little is still, or a prediction is not finite or is constant.
    """
    _check(still)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise EvaluationError('a predicted disparity is not finite')
    low, high = (float(q) for q in np.quantile(first, [0.02, 0.98]))
    if not high > low:
        raise EvaluationError('the predicted disparity is constant: its flicker means nothing')
    scale, shift = align_disparity(second, first, still)
    p, q = first[still].astype(np.float64), second[still].astype(np.float64)
    return DisparityFlicker(
        aligned=float(np.mean(np.abs(scale * q + shift - p))) / (high - low),
        unaligned=float(np.mean(np.abs(q - p))) / (high - low),
    )


def normal_flicker(first: AnyArray, second: AnyArray, still: BoolArray) -> float:
    """Mean angle in degrees between the normals (H, W, 3) of two frames where `still`.

    Raises:
        EvaluationError: too little is still, or a prediction is not finite.
    """
    _check(still)
    return float(np.mean(normal_angles(second, first, still)))


def still_by_depth(first: AnyArray, second: AnyArray, valid: BoolArray) -> BoolArray:
    """Pixels (H, W) whose true depth is the same in both frames, to 1 %."""
    change = np.abs(second - first)
    return np.asarray(valid & (change <= 0.01 * np.abs(first)))


def _check(still: BoolArray) -> None:
    share = float(still.mean())
    if share < LEAST_STILL:
        raise EvaluationError(f'only {share:.1%} of the picture stands still between the frames')
