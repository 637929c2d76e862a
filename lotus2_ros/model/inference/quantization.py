"""Weights in 8-bit floating point (e4m3), with a scale for each output."""

from __future__ import annotations

import torch
from torch import Tensor

EIGHT_BITS = torch.float8_e4m3fn
EIGHT_BIT_NAME = 'fp8'
"""What people call it."""

SCALE = '.weight_scale'
"""End of the key beside `<layer>.weight`."""

LARGEST = torch.finfo(EIGHT_BITS).max


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a weight (out, in) to 8 bits, the largest value of each row to the largest there is.

    Args:
        weight: float32, so that it is rounded once.

    Returns:
        (out, in) in e4m3, and (out,) float32 that its rows are multiplied by.
    """
    peak = weight.abs().amax(dim=1)
    scale = torch.where(peak > 0, peak / LARGEST, 1.0)
    return (weight / scale[:, None]).clamp_(-LARGEST, LARGEST).to(EIGHT_BITS), scale


def dequantize_rows(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """The weight (out, in) that an 8-bit one stands for, rounded to a precision."""
    return (weight.float() * scale[:, None]).to(dtype)
