"""From ground truth to what the model is trained to draw, as the paper prepares it."""

from __future__ import annotations

import torch
from torch import Tensor

from lotus2_ros.training.scenes import Sample
from lotus2_ros.types import DEPTH, NORMALS

QUANTILES = (0.02, 0.98)
"""Between which a picture's disparity is drawn; what lies outside is drawn as they are."""

_QUANTILE_STRIDE = 3


def disparity_map(disparity: Tensor) -> Tensor:
    """Disparity truncated to its quantiles (2 %, 98 %) and scaled to [-1, 1].

    The quantiles are taken over every third row and column, which is as good and much cheaper.

    Args:
        disparity: (B, 1, H, W), any unit.

    Returns:
        (B, 3, H, W), three equal channels, larger = nearer.
    """
    low, high = (bound[:, None, None, None] for bound in disparity_bounds(disparity))
    scaled = (disparity - low) / (high - low).clamp_min(1e-6)
    return (scaled.clamp(0, 1) * 2 - 1).expand(-1, 3, -1, -1)


def disparity_bounds(disparity: Tensor) -> tuple[Tensor, Tensor]:
    """The quantiles (2 %, 98 %) of each picture's disparity (B, 1, H, W): two tensors (B,)."""
    thinned = disparity[..., ::_QUANTILE_STRIDE, ::_QUANTILE_STRIDE].flatten(1)
    ordered = thinned.sort(1).values
    last = ordered.shape[1] - 1
    low, high = (ordered[:, round(share * last)] for share in QUANTILES)
    return low, high


def target_maps(sample: Sample) -> dict[str, Tensor]:
    """(B, 3, H, W) pictures in [-1, 1] to be predicted, by task."""
    return {DEPTH: disparity_map(sample.disparity), NORMALS: sample.normals}


def flipped(sample: Sample, chosen: Tensor) -> Sample:
    """Mirror the chosen samples left to right; a mirrored normal has the opposite x.

    Args:
        sample: B samples.
        chosen: (B,) bool.
    """
    pick = chosen[:, None, None, None]
    sign = torch.tensor([-1.0, 1.0, 1.0], device=sample.normals.device)[:, None, None]

    def mirror(value: Tensor) -> Tensor:
        return torch.where(pick, value.flip(-1), value)

    normals = torch.where(pick, sample.normals.flip(-1) * sign, sample.normals)
    return Sample(mirror(sample.image), mirror(sample.disparity), normals, mirror(sample.sky))
