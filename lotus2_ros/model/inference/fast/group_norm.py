"""Group norm and SiLU of channels-last images: on a GPU two passes over memory instead of five."""

from __future__ import annotations

import importlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.model.inference.fast import operations

_ROWS, _CHANNELS = 32, 64
"""Pixels and channels that a program holds at a time."""

_STEPS = 8
_PARTS = 64
_VALUES = 4096


class GroupNorm:
    """A group norm, with SiLU behind it where wanted, and a sum before it where wanted."""

    def __init__(self, norm: Any, *, active: bool) -> None:
        """Take a module's weights.

        Args:
            norm: a `GroupNorm`.
            active: with SiLU.
        """
        self._weight, self._bias = norm.weight, norm.bias
        self._groups, self._eps, self._active = int(norm.num_groups), float(norm.eps), active

    def __call__(self, image: Tensor, added: Tensor | None = None) -> Tensor:
        """Normalise image + added, both (B, C, H, W) channels last; `image` becomes the sum."""
        if operations.runs_kernels(image):
            return self._by_kernels(image, added)
        if added is not None:
            image += added
        wide = F.group_norm(
            image.float(), self._groups, self._weight.float(), self._bias.float(), self._eps
        )
        return (F.silu(wide) if self._active else wide).to(image.dtype)

    def _by_kernels(self, image: Tensor, added: Tensor | None) -> Tensor:
        kernels: Any = importlib.import_module('lotus2_ros.model.inference.fast.group_norm_kernels')
        batch, channels, height, width = image.shape
        for value in (image, image if added is None else added):
            if not value.is_contiguous(memory_format=torch.channels_last):
                raise ValueError('group norm wants images in channels-last order')
        pixels = height * width
        parts = -(-pixels // (_ROWS * _STEPS))
        partial = image.new_empty(batch, parts, 2, channels, dtype=torch.float32)
        kernels.moments_kernel[(parts, batch, -(-channels // _CHANNELS))](
            image,
            image if added is None else added,
            partial,
            pixels,
            channels,
            ADDED=added is not None,
            ROWS=_ROWS,
            STEPS=_STEPS,
            BLOCK=_CHANNELS,
        )
        factors = image.new_empty(batch, 2, channels, dtype=torch.float32)
        each = channels // self._groups
        kernels.factors_kernel[(self._groups, batch)](
            partial,
            self._weight,
            self._bias,
            factors,
            parts,
            channels,
            each,
            each * pixels,
            self._eps,
            PARTS=_PARTS,
            BLOCK=1 << (each - 1).bit_length(),
        )
        out = torch.empty_like(image)
        total = pixels * channels
        kernels.scale_silu_kernel[(-(-total // _VALUES), batch)](
            image, factors, out, total, channels, ACTIVE=self._active, BLOCK=_VALUES
        )
        return out
