"""Accuracy of affine-invariant depth and of surface normals, as the field measures it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lotus2_ros.types import AnyArray, BoolArray


@dataclass(frozen=True, slots=True)
class DepthError:
    """Errors of one depth map.

    Attributes:
        abs_rel: mean of |predicted - true| / true.
        delta1: share of pixels with max(predicted / true, true / predicted) < 1.25.
    """

    abs_rel: float
    delta1: float


def aligned_depth_error(
    prediction: AnyArray, depth: AnyArray, valid: BoolArray, *, nearest: float, farthest: float
) -> DepthError:
    """Error of a disparity after the least-squares scale and shift onto the true disparity.

    Marigold's protocol for affine-invariant disparity (arXiv 2312.02145): fit in disparity, turn
    into depth, clip to the range of the benchmark, compare with the true depth.

    Args:
        prediction: (H, W) affine-invariant disparity.
        depth: (H, W) true Z-depth, any unit.
        valid: (H, W) pixels that count.
        nearest: smallest depth after alignment.
        farthest: largest depth after alignment.

    Raises:
        ValueError: fewer than two pixels count.
    """
    if np.count_nonzero(valid) < 2:
        raise ValueError('a depth error needs at least two valid pixels')
    truth = depth[valid].astype(np.float64)
    design = np.stack([prediction[valid].astype(np.float64), np.ones_like(truth)], -1)
    return _compare(design, truth, nearest, farthest)


def plane_depth_error(
    depth: AnyArray, valid: BoolArray, *, nearest: float, farthest: float
) -> DepthError:
    """Error of the best disparity linear in row and column: a predictor that never saw the image.

    The plane is fitted to the very ground truth it is compared with.
    """
    rows, columns = np.nonzero(valid)
    truth = depth[valid].astype(np.float64)
    design = np.stack([rows / depth.shape[0], columns / depth.shape[1], np.ones_like(truth)], -1)
    return _compare(design, truth, nearest, farthest)


def constant_depth_error(
    depth: AnyArray, valid: BoolArray, *, nearest: float, farthest: float
) -> DepthError:
    """Error of the best constant disparity, fitted to the ground truth."""
    truth = depth[valid].astype(np.float64)
    return _compare(np.ones((truth.size, 1)), truth, nearest, farthest)


def _compare(design: AnyArray, truth: AnyArray, nearest: float, farthest: float) -> DepthError:
    weights = np.linalg.lstsq(design, 1 / truth, rcond=None)[0]
    # Negative disparity is behind infinity: as far as the benchmark goes.
    disparity = (design @ weights).clip(1 / farthest, 1 / nearest)
    predicted = 1 / disparity
    ratio = np.maximum(predicted / truth, truth / predicted)
    return DepthError(
        abs_rel=float(np.mean(np.abs(predicted - truth) / truth)),
        delta1=float(np.mean(ratio < 1.25)),
    )


def normal_angles(prediction: AnyArray, truth: AnyArray, valid: BoolArray) -> AnyArray:
    """Angles in degrees between unit normals (H, W, 3) at the valid pixels, (N,)."""
    cosine = (prediction[valid] * truth[valid]).sum(-1).astype(np.float64)
    return np.asarray(np.degrees(np.arccos(cosine.clip(-1, 1))))
