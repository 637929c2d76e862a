"""Group norm and SiLU of channels-last images: on a GPU two passes over memory instead of five."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.model.inference.fast import operations
from lotus2_ros.model.inference.fast.images import check_layout, image_kernels, wide_sum

_ROWS, _CHANNELS = 32, 64
"""Pixels and channels that a program holds at a time."""

_STEPS = 8
_PARTS = 64
_VALUES = 4096


class GroupNorm:
    """A group norm, with SiLU behind it where wanted, and a sum before it where wanted."""

    def __init__(self, norm: Any, *, active: bool, bias: Tensor | None = None) -> None:
        """Take a module's weights.

        Args:
            norm: a `GroupNorm`.
            active: with SiLU.
            bias: (C,) float32, added before; a convolution's own, which saves it a pass.
        """
        self._weight, self._bias = norm.weight, norm.bias
        self._groups, self._eps, self._active = int(norm.num_groups), float(norm.eps), active
        self._added_bias = bias

    def __call__(self, image: Tensor, added: Tensor | None = None) -> Tensor:
        """Normalise image + added + bias.

        Args:
            image: (B, C, H, W) channels last. Where `added` is given, it becomes the whole sum, the
                bias included; else it stays as it is.
            added: likewise.
        """
        if operations.runs_kernels(image):
            return self._by_kernels(image, added)
        wide = wide_sum(image, added, self._added_bias)
        if added is not None:
            wide = image.copy_(wide).float()
        wide = F.group_norm(wide, self._groups, self._weight.float(), self._bias.float(), self._eps)
        result = (F.silu(wide) if self._active else wide).to(image.dtype)
        return result.contiguous(memory_format=torch.channels_last)

    def _by_kernels(self, image: Tensor, added: Tensor | None) -> Tensor:
        kernels = image_kernels()
        batch, channels, height, width = image.shape
        check_layout(image, added)
        pixels = height * width
        parts = -(-pixels // (_ROWS * _STEPS))
        partial = image.new_empty(batch, parts, 2, channels, dtype=torch.float32)
        bias = self._added_bias
        kernels.moments_kernel[(parts, batch, -(-channels // _CHANNELS))](
            image,
            image if added is None else added,
            partial if bias is None else bias,
            partial,
            pixels,
            channels,
            ADDED=added is not None,
            BIASED=bias is not None,
            ROWS=_ROWS,
            STEPS=_STEPS,
            BLOCK=_CHANNELS,
        )
        factors = image.new_empty(batch, 2, channels, dtype=torch.float32)
        each = channels // self._groups
        # Where the sum was written, the bias is in the image already.
        left = bias is not None and added is None
        kernels.factors_kernel[(self._groups, batch)](
            partial,
            self._weight,
            self._bias,
            bias if left else partial,
            factors,
            parts,
            channels,
            each,
            each * pixels,
            self._eps,
            BIASED=left,
            PARTS=_PARTS,
            BLOCK=1 << (each - 1).bit_length(),
        )
        out = torch.empty_like(image)
        total = pixels * channels
        kernels.scale_silu_kernel[(-(-total // _VALUES), batch)](
            image, factors, out, total, channels, ACTIVE=self._active, BLOCK=_VALUES
        )
        return out
