"""A linear layer that keeps its weight in 8 bits, as a prepared folder stores it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotus2_ros.model.inference.quantization import dequantize_rows, format_of


class EightBitLinear(nn.Module):
    """A linear layer whose weight is in 8 bits, with a scale for each output.

    Here the weight is brought to the precision of the input each time and let go of again: right,
    small, and slow. It is what multiplying in 8 bits is held against.
    """

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor) -> None:
        """Take the stored tensors, which are kept and not copied.

        Args:
            weight: (out, in) in one of `EIGHT_BIT_FORMATS`.
            scale: (out,) float32 that the weight's rows are multiplied by.
            bias: (out,) in the precision of the tokens.

        Raises:
            ValueError: the weight is not in 8 bits.
        """
        super().__init__()
        format_of(weight)
        self.weight, self.weight_scale, self.bias = (
            nn.Parameter(value, requires_grad=False) for value in (weight, scale, bias)
        )
        self.out_features, self.in_features = weight.shape

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return self.rows(x, 0)

    def rows(self, x: Tensor, start: int) -> Tensor:
        """The outputs from `start` on, (..., out - start)."""
        return F.linear(x, self.dense(start, x.dtype), self.bias[start:])

    def dense(self, start: int, dtype: torch.dtype) -> Tensor:
        """The weight's rows from `start` on, (out - start, in), in a precision; a new tensor."""
        return dequantize_rows(self.weight[start:], self.weight_scale[start:], dtype)
