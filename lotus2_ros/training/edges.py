"""Depth edges in training: a loss that judges them as boundary F1 does, and truth that forgives.

Where a core predictor is a pixel wrong about an edge, its map and the truth differ by the whole
step. A loss that asks for the true place anyway is answered with a slope: the mean of both places.
Truth that may be moved by a pixel asks for a sharp edge where the coarse map already has its slope.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

FARTHEST = 20.0
"""Metres up to which depth is judged."""

_MIDDLE = math.log(1.15)
"""Log ratio of neighbours in the middle of boundary F1's thresholds: 1.05 to 1.25."""

_LOG_THRESHOLDS = [math.log(ratio) for ratio in (1.05, 1.1, 1.17, 1.25)]
"""Boundary F1's, a few of them."""

_MARGIN = 1e-4
"""Of distances on the [-1, 1] scale."""


def edge_loss(restored: Tensor, picture: Tensor, bounds: Tensor) -> Tensor:
    """Mean difference of how much of an edge there is between neighbours; no scale matters.

    Between two pixels of disparities a and b there is tanh(log(a / b) / log 1.15) of an edge: what
    passes all of boundary F1's thresholds is nearly 1, however high the step, and what passes none
    is small. Disparities count as at least those of 20 m.

    Args:
        restored: (B, 1, H, W) disparity on the [-1, 1] scale.
        picture: (B, 1, H, W) true disparity on that scale.
        bounds: (B, 2) disparities in 1/m that -1 and 1 stand for.
    """
    first, second = (_log_disparity(value, bounds) for value in (restored, picture))
    loss = torch.zeros((), device=restored.device)
    for axis in (-1, -2):
        found, there = (torch.tanh(value.diff(dim=axis) / _MIDDLE) for value in (first, second))
        loss = loss + F.l1_loss(found, there)
    return loss


def overlap_loss(restored: Tensor, picture: Tensor, bounds: Tensor) -> Tensor:
    """One minus the overlap of predicted and true edges over a batch: boundary F1 made smooth.

    At each of some thresholds an edge begins where the ratio of disparities of a pixel and its
    neighbour, as a logarithm, has half the threshold's and is whole at one and a half; the four
    directions count apart. 2 |P T| / (|P| + |T|) asks for an edge where it is likelier than half of
    what the score can be, which is far less than one half where nobody can know the place to the
    pixel. An absolute error asks for it at one half only: that is why a map that is right on
    average is soft.

    Source of that threshold: Lipton, Elkan and Naryanaswamy, 'Optimal thresholding of classifiers
    to maximize F1 measure' (2014). Arguments: see `edge_loss`.
    """
    first, second = (_log_disparity(value, bounds) for value in (restored, picture))
    losses = []
    for axis in (-1, -2):
        steps, true_steps = first.diff(dim=axis), second.diff(dim=axis)
        for sign in (1, -1):
            for threshold in _LOG_THRESHOLDS:
                found, there = (
                    _smoothstep(sign * value / threshold - 0.5) for value in (steps, true_steps)
                )
                both = 2 * (found * there).sum()
                losses.append(1 - both / (found.sum() + there.sum()).clamp_min(1))
    return torch.stack(losses).mean()


def _smoothstep(x: Tensor) -> Tensor:
    """From 0 at 0 to 1 at 1, without a bend at either."""
    inside = x.clamp(0, 1)
    return inside * inside * (3 - 2 * inside)


def _log_disparity(map_: Tensor, bounds: Tensor) -> Tensor:
    low, high = bounds[:, :1, None, None], bounds[:, 1:, None, None]
    return (low + 0.5 * (high - low) * (map_ + 1)).clamp_min(1 / FARTHEST).log()


def edge_tolerant(truth: Tensor, coarse: Tensor, radius: int) -> Tensor:
    """Truth with every pixel replaced by what among its neighbours is nearest to a coarse map.

    Args:
        truth: (B, C, H, W) true map: disparity, or unit normals, whose nearest is that of the
            smallest angle to the coarse one.
        coarse: (B, C, H, W) map on the same scale.
        radius: neighbours up to so many pixels away in each direction; 0 gives the truth.
    """
    height, width = truth.shape[-2:]
    padded = F.pad(truth, (radius,) * 4, mode='replicate')
    best, least = truth, _distance(truth, coarse)
    for down in range(2 * radius + 1):
        for right in range(2 * radius + 1):
            moved = padded[..., down : down + height, right : right + width]
            distance = _distance(moved, coarse)
            # By a margin: rounding must not move what is the same all around.
            nearer = distance < least - _MARGIN
            best = torch.where(nearer, moved, best)
            least = torch.where(nearer, distance, least)
    return best


def _distance(first: Tensor, second: Tensor) -> Tensor:
    """(B, 1, H, W) Euclidean distance over the channels."""
    return (first - second).square().sum(1, keepdim=True).sqrt()
