"""The VAE on a CPU: the same numbers as diffusers', in the memory layout that convolutions like.

With channels last, a convolution needs no copies into and out of its own layout, which is half of
its time at full size. torch's group norm loses digits in that layout, so that there is one here.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotus2_ros.errors import ModelFileError
from lotus2_ros.model.inference.autoencoder import Doubler, ResidualBlock


def prepare_for_cpu(vae: Any, source: Path) -> None:
    """Rebuild an autoencoder in place for fast inference on a CPU; its interface stays.

    Args:
        vae: diffusers' AutoencoderKL, or our Autoencoder.
        source: its folder, for messages.

    Raises:
        ModelFileError: the VAE has parts that FLUX's has not.
    """
    vae.to(memory_format=torch.channels_last)
    try:
        for coder in (vae.encoder, vae.decoder):
            _rebuild(coder)
            coder.conv_norm_out = NormSilu(coder.conv_norm_out, overwrite=True)
            coder.conv_act = nn.Identity()
    except _ForeignPartError as err:
        raise ModelFileError(f'{source}: this VAE has {err}, which FLUX has not') from err


def _rebuild(module: nn.Module) -> None:
    for name, child in module.named_children():
        kind = type(child).__name__  # diffusers' by name: importing it takes seconds
        if kind == 'ResnetBlock2D':
            _check_residual(child)
        elif kind == 'Upsample2D':
            _check_upsampling(child)
        if kind == 'ResnetBlock2D' or isinstance(child, ResidualBlock):
            setattr(module, name, Residual(child))
        elif kind == 'Upsample2D' or isinstance(child, Doubler):
            setattr(module, name, Doubling(child))
        else:
            _rebuild(child)


def _check_residual(block: Any) -> None:
    """See that diffusers' block takes no time embedding, does not resample, and has SiLU."""
    plain = (
        isinstance(block.nonlinearity, nn.SiLU)
        and block.time_emb_proj is None
        and block.time_embedding_norm in {'default', 'group'}  # the same without an embedding
        and block.upsample is None
        and block.downsample is None
        and block.output_scale_factor == 1.0
    )
    if not plain:
        raise _ForeignPartError('residual blocks with a time embedding or without SiLU')


def _check_upsampling(layer: Any) -> None:
    """See that diffusers' layer doubles and convolves, and nothing else."""
    plain = (
        isinstance(layer.conv, nn.Conv2d)
        and layer.conv.kernel_size == (3, 3)
        and not layer.use_conv_transpose
        and layer.norm is None
        and layer.interpolate
    )
    if not plain:
        raise _ForeignPartError('upsampling that is no doubling and convolution')


class _ForeignPartError(Exception):
    """A part that is not like FLUX's; the message names it."""


_VECTOR = 16
"""Values that a vector unit takes at once: narrower rows are laid side by side."""


class NormSilu(nn.Module):
    """Group norm and SiLU of (B, C, H, W), channels last; the input is overwritten if allowed."""

    def __init__(self, norm: Any, *, overwrite: bool) -> None:
        """Take over a `GroupNorm`."""
        super().__init__()
        self.overwrite = overwrite
        self.groups = int(norm.num_groups)
        self.eps = float(norm.eps)
        by_group = self.groups, -1
        self._weight = norm.weight.detach().double().numpy().reshape(by_group)  # (G, C / G)
        self._bias = norm.bias.detach().double().numpy().reshape(by_group)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each group of channels over the whole image, then activate."""
        batch, channels, height, width = x.shape
        beside = math.gcd(width, max(1, _VECTOR // channels))
        rows = x.permute(0, 2, 3, 1).reshape(batch, -1, beside * channels)
        out = rows if self.overwrite else torch.empty_like(rows)
        for image, goal in zip(rows, out, strict=True):
            scale, shift = self._factors(image.view(height, width * channels), beside)
            torch.addcmul(shift, image, scale, out=goal)
        F.silu(out, inplace=True)
        return out.view(batch, height, width, channels).permute(0, 3, 1, 2)

    def _factors(self, lines: Tensor, beside: int) -> Tensor:
        """What an image's lines (H, W * C) are scaled and shifted by: (2, beside * C).

        Mean and variance are taken of every place in a line on its own and put together in double
        precision: long sums in float32 lose digits. NumPy, since the arrays are small and a call
        of torch costs more than what it computes.
        """
        places = _wide(lines)[None, :, None].permute(0, 3, 1, 2)  # (1, W * C, H, 1), channels last
        statistics = torch.batch_norm_update_stats(places, None, None, 0.0)
        mean, variance = (
            part.double().numpy().reshape(-1, self._weight.size) for part in statistics
        )
        moments = np.stack((mean.sum(0), (variance + mean * mean).sum(0)))  # (2, C)
        count = len(mean) * self._weight.shape[1]
        first, second = moments.reshape(2, self.groups, -1).sum(2, keepdims=True) / count
        scale = self._weight / np.sqrt(second - first * first + self.eps)  # (G, C / G)
        factors = np.stack((scale, self._bias - first * scale)).reshape(2, -1)
        if beside > 1:
            factors = np.tile(factors, beside)
        return torch.from_numpy(factors).to(lines.dtype)


def _wide(values: Tensor) -> Tensor:
    """At least float32: statistics of narrower types are taken in it."""
    return values.float() if values.element_size() < 4 else values


class Residual(nn.Module):
    """`x + conv(act(norm(conv(act(norm(x))))))`, x through a 1x1 convolution where C changes."""

    def __init__(self, block: Any) -> None:
        """Take over a `ResnetBlock2D` or a `ResidualBlock`."""
        super().__init__()
        self.norm1 = NormSilu(block.norm1, overwrite=False)
        self.norm2 = NormSilu(block.norm2, overwrite=True)
        self.conv1, self.conv2 = block.conv1, block.conv2
        self.conv_shortcut = block.conv_shortcut

    def forward(self, x: Tensor, temb: None = None) -> Tensor:  # noqa: ARG002
        """Run on (B, C, H, W); FLUX's VAE knows no time embedding."""
        hidden: Tensor = self.conv2(self.norm2(self.conv1(self.norm1(x))))
        return hidden.add_(x if self.conv_shortcut is None else self.conv_shortcut(x))


class Doubling(nn.Module):
    """Nearest neighbour doubling and a 3x3 convolution, as one transposed 4x4 convolution.

    Of the 3x3 taps on a doubled image, two or three fall on one source pixel along each axis: their
    weights are added beforehand. Less than half the work, and the doubled image is never written.
    """

    _TAPS = ((2,), (1, 2), (0, 1), (0,))
    """Along an axis, the taps of the kernel that add up in each tap of the transposed one."""

    def __init__(self, layer: Any) -> None:
        """Take over an `Upsample2D` or a `Doubler`."""
        super().__init__()
        kernel = layer.conv.weight.double()  # (out, in, 3, 3)
        kernel = torch.stack([kernel[:, :, list(t)].sum(2) for t in self._TAPS], 2)
        kernel = torch.stack([kernel[..., list(t)].sum(3) for t in self._TAPS], 3)
        kernel = kernel.transpose(0, 1).to(layer.conv.weight.dtype)  # (in, out, 4, 4)
        self.weight = nn.Parameter(
            kernel.contiguous(memory_format=torch.channels_last), requires_grad=False
        )
        self.bias = layer.conv.bias

    def forward(self, x: Tensor, output_size: None = None) -> Tensor:  # noqa: ARG002
        """(B, C, H, W) to (B, C, 2H, 2W)."""
        return F.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=1)
