"""A linear layer that is told by its difference from another one: x W + (x A) B."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lotus2_ros.model.inference.eight_bits import EightBitLinear
from lotus2_ros.model.inference.quantization import dequantize_rows

DOWN, UP = '.down', '.up'
"""Ends of the keys of a difference's factors, (G * R, in) and (out, R)."""


class LowRankLinear(nn.Module):
    """A linear layer whose weight belongs to several networks, plus a difference of low rank.

    Where the layer joins G layers (queries, keys, values), each has a difference of its own, on its
    own rows.
    """

    weight_scale: nn.Parameter | None

    def __init__(self, layer: nn.Linear | EightBitLinear, down: Tensor, up: Tensor) -> None:
        """Take a layer (out, in) and its difference.

        Args:
            layer: whose tensors are kept, and may be shared; its weight may be in 8 bits.
            down: (G * R, in), the factors that the input meets first.
            up: (out, R), the factors that bring it to the outputs.
        """
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        scale = layer.weight_scale if isinstance(layer, EightBitLinear) else None
        self.register_parameter('weight_scale', scale)
        self.down = nn.Parameter(down, requires_grad=False)
        self.up = nn.Parameter(up, requires_grad=False)
        self.in_features, self.out_features = layer.in_features, layer.out_features

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return self.rows(x, 0)

    def rows(self, x: Tensor, start: int) -> Tensor:
        """The outputs from `start` on, (..., out - start); start is where a joined layer begins."""
        rank, outputs = self.up.shape[1], self.out_features
        groups = self.down.shape[0] // rank
        each = outputs // groups
        weight = self.weight[start:]
        if self.weight_scale is not None:
            weight = dequantize_rows(weight, self.weight_scale[start:], x.dtype)
        result = F.linear(x, weight, self.bias[start:])
        for group in range(start // each, groups):
            factors = F.linear(x, self.down[group * rank : (group + 1) * rank])  # (..., R)
            rows = slice(group * each, (group + 1) * each)
            result[..., rows.start - start : rows.stop - start] += F.linear(factors, self.up[rows])
        return result


def rows(layer: nn.Linear | EightBitLinear | LowRankLinear, x: Tensor, start: int) -> Tensor:
    """A layer's outputs from `start` on, (..., out - start), of (..., in)."""
    if isinstance(layer, EightBitLinear | LowRankLinear):
        return layer.rows(x, start)
    return F.linear(x, layer.weight[start:], layer.bias[start:])
