"""From affine-invariant disparity to depth in metres: Marigold's and Lotus's order of steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from lotus2_ros.geometry.alignment import align_disparity
from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.types import AnyArray, BoolArray

SMALLEST_DISPARITY = 1e-3
"""1/m. Smaller aligned disparities, negative ones too, become this before they are inverted."""


@dataclass(frozen=True, slots=True)
class DepthRange:
    """Depths a benchmark judges [m].

    Attributes:
        nearest: predictions closer than this become this.
        farthest: predictions farther than this become this.
    """

    nearest: float
    farthest: float

    def clip(self, depth: AnyArray) -> AnyArray:
        """Depth within the range."""
        return np.clip(depth, max(self.nearest, 1e-6), self.farthest)

    def contains(self, depth: AnyArray) -> BoolArray:
        """Pixels whose true depth lies within, ends excluded; False for NaN."""
        return np.asarray((depth > self.nearest) & (depth < self.farthest))


@dataclass(frozen=True, slots=True)
class AlignedDepth:
    """A prediction brought to the scale of its ground truth.

    Attributes:
        disparity: (H, W) float64 [1/m], scale times prediction plus shift, not clipped.
        depth: (H, W) float64 [m], inverted and clipped to the range.
        scale: of the fit.
        shift: of the fit [1/m].
    """

    disparity: AnyArray
    depth: AnyArray
    scale: float
    shift: float


def align_to_depth(
    prediction: AnyArray,
    depth: AnyArray,
    valid: BoolArray,
    depth_range: DepthRange,
    *,
    fit_resolution: int | None = None,
) -> AlignedDepth:
    """Fit scale and shift in disparity, invert, clip.

    As in Lotus-2's `least_square_disparity`: least squares over the valid pixels at which both
    depths are positive, aligned disparity at least 1e-3, inverted, clipped to the range.

    Args:
        prediction: (H, W) affine-invariant disparity.
        depth: (H, W) true Z-depth [m]; anything where not valid.
        valid: (H, W) pixels that count.
        depth_range: of the benchmark.
        fit_resolution: thin out the columns for the fit until the longest side would have this
            size; None fits to all pixels. See `_fitted_columns`.

    Raises:
        EvaluationError: the sizes differ, the prediction is not finite, or no pixel can be fitted.
    """
    if not prediction.shape == depth.shape == valid.shape:
        msg = (
            f'prediction {prediction.shape}, ground truth {depth.shape} and mask {valid.shape}'
            ' differ in size'
        )
        raise EvaluationError(msg)
    if not np.isfinite(prediction).all():
        wrong = np.count_nonzero(~np.isfinite(prediction))
        raise EvaluationError(f'{wrong} pixels of the prediction are not finite')
    predicted = prediction.astype(np.float64)
    fitted = valid & (depth > 0) & (prediction > 0)
    if fit_resolution is not None:
        height, width = prediction.shape
        columns = _fitted_columns(height, width, fit_resolution)
        thinned = np.zeros_like(fitted)
        thinned[:, columns] = fitted[:, columns]
        fitted = thinned
    if not fitted.any():
        raise EvaluationError('no valid pixel to fit scale and shift to')
    disparity = np.zeros(depth.shape)
    np.divide(1.0, depth, out=disparity, where=fitted)
    scale, shift = align_disparity(predicted, disparity, fitted)  # type: ignore[arg-type]
    aligned = scale * predicted + shift
    inverted = 1 / np.maximum(aligned, SMALLEST_DISPARITY)
    return AlignedDepth(aligned, depth_range.clip(inverted), scale, shift)


def _fitted_columns(height: int, width: int, resolution: int) -> AnyArray:
    """Columns that the protocol fits to when it reduces the resolution.

    The protocol means to thin out both directions, but its resampling of (1, H, W) takes the rows
    for channels: all rows stay. Done the same way here, because published figures are.
    """
    factor = resolution / max(height, width)
    every = torch.arange(width, dtype=torch.float32)[None, None]
    if factor >= 1:
        return every[0, 0].long().numpy()
    return F.interpolate(every, scale_factor=factor, mode='nearest')[0, 0].long().numpy()
