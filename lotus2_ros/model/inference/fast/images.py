"""What channels-last images go through besides convolutions and norms, in one pass each."""

from __future__ import annotations

import importlib
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.model.inference.fast import operations

_VALUES = 4096
_QUERIES = 2048
"""Pixels whose scores are in memory at a time: 4 bytes for each of all other pixels."""


def summed(image: Tensor, added: Tensor | None, bias: Tensor | None) -> Tensor:
    """Sum image, added and bias: (B, C, H, W).

    Args:
        image: channels last.
        added: likewise, or None.
        bias: (C,) float32, or None.
    """
    if not operations.runs_kernels(image):
        return wide_sum(image, added, bias).to(image.dtype)
    check_layout(image, added)
    out = torch.empty_like(image)
    total = image.numel()
    image_kernels().sum_kernel[(-(-total // _VALUES),)](
        image,
        image if added is None else added,
        image if bias is None else bias,
        out,
        total,
        image.shape[1],
        ADDED=added is not None,
        BIASED=bias is not None,
        BLOCK=_VALUES,
    )
    return out


def padded(image: Tensor, added: Tensor | None, bias: Tensor | None) -> Tensor:
    """Sum image, added and bias, with zeros behind: (B, C, H, W) to (B, C, H + 1, W + 1).

    Args:
        image: channels last.
        added: likewise, or None.
        bias: (C,) float32, or None.
    """
    if not operations.runs_kernels(image):
        return F.pad(wide_sum(image, added, bias).to(image.dtype), (0, 1, 0, 1))
    batch, channels, height, width = image.shape
    check_layout(image, added)
    out = _room(batch, channels, height + 1, width + 1, image)
    total = (height + 1) * (width + 1) * channels
    image_kernels().pad_kernel[(-(-total // _VALUES), batch)](
        image,
        image if added is None else added,
        image if bias is None else bias,
        out,
        total,
        height,
        width,
        channels,
        ADDED=added is not None,
        BIASED=bias is not None,
        BLOCK=_VALUES,
    )
    return out


def attend_wide(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention with one head of many features: (B, T, C) over (B, T, C).

    Fused kernels are made for heads of up to 256 features; at FLUX's 512 two matrix products with
    float32 scores in between, some of the queries at a time, take a third of the time.
    """
    if not operations.runs_kernels(queries) or queries.dtype == torch.float32:
        q, k, v = (x[:, None] for x in (queries, keys, values))
        return F.scaled_dot_product_attention(q, k, v)[:, 0]
    out = torch.empty_like(values)
    for image, k, v, goal in zip(queries, keys, values, out, strict=True):
        for start in range(0, len(image), _QUERIES):
            some = slice(start, start + _QUERIES)
            scores = torch.mm(image[some], k.t(), out_dtype=torch.float32)
            torch.mm(softmax(scores, 1 / math.sqrt(image.shape[1]), image.dtype), v, out=goal[some])
    return out


def softmax(scores: Tensor, factor: float, dtype: torch.dtype) -> Tensor:
    """Softmax of float32 rows (N, T) times a factor, in another precision."""
    if not operations.runs_kernels(scores):
        return torch.softmax(scores * factor, 1).to(dtype)
    count, width = scores.shape
    out = torch.empty(count, width, dtype=dtype, device=scores.device)
    image_kernels().softmax_kernel[(count,)](
        scores, out, width, factor, BLOCK=1 << (width - 1).bit_length(), num_warps=8
    )
    return out


def wide_sum(image: Tensor, added: Tensor | None, bias: Tensor | None) -> Tensor:
    """The sum in float32, as the kernels take it before they round; arguments: see `summed`."""
    wide = image.float()
    if added is not None:
        wide = wide + added.float()
    if bias is not None:
        wide = wide + bias[:, None, None]
    return wide


def check_layout(*images: Tensor | None) -> None:
    """See that images are in the order that the kernels count in.

    Raises:
        ValueError: one is not channels last.
    """
    for image in images:
        if image is not None and not image.is_contiguous(memory_format=torch.channels_last):
            raise ValueError('the kernels want images in channels-last order')


def _room(batch: int, channels: int, height: int, width: int, like: Tensor) -> Tensor:
    """An unwritten image, channels last."""
    return torch.empty(
        (batch, channels, height, width),
        dtype=like.dtype,
        device=like.device,
        memory_format=torch.channels_last,
    )


def image_kernels() -> Any:
    """The kernels, imported where there is a GPU: Triton comes with torch's CUDA builds only."""
    return importlib.import_module('lotus2_ros.model.inference.fast.image_kernels')
