"""The autoencoder on a GPU: channels last, norms and activations fused, sums left to the norms."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.model.inference.autoencoder import Posterior
from lotus2_ros.model.inference.fast.group_norm import GroupNorm
from lotus2_ros.model.inference.fast.images import attend_wide, padded, summed


class _Image(NamedTuple):
    """An image whose last sum is still to be taken, (B, C, H, W), channels last.

    It is base + added + the bias that `_Left` says.
    """

    base: Tensor
    added: Tensor | None = None


class _Left(NamedTuple):
    """What a part leaves to the next one, known before any image is.

    Attributes:
        bias: (C,) float32, of convolutions whose outputs were not touched for it; None is zero.
        added: whether its images have an `added`.
    """

    bias: Tensor | None
    added: bool


class FastAutoencoder:
    """What diffusers' `AutoencoderKL` and our `Autoencoder` compute, but for roundings."""

    def __init__(self, vae: Any) -> None:
        """Take over an autoencoder's weights, whose convolutions become channels last.

        Args:
            vae: `AutoencoderKL` or `Autoencoder`, on its device and in its precision.
        """
        vae.to(memory_format=torch.channels_last)
        self.config, self.plain = vae.config, vae
        encoder, decoder = vae.encoder, vae.decoder
        self._encoder = _Coder(encoder, encoder.down_blocks, None)
        self._decoder = _Coder(decoder, None, decoder.up_blocks)

    def encode(self, images: Tensor, *, return_dict: bool = False) -> tuple[Posterior]:
        """Encode images (B, 3, 8h, 8w) in [-1, 1] to the mean (B, C, h, w) of a posterior."""
        assert not return_dict
        mean, _ = self._encoder(images).chunk(2, dim=1)
        return (Posterior(mean),)

    def decode(self, latents: Tensor, *, return_dict: bool = False) -> tuple[Tensor]:
        """Decode latents (B, C, h, w) to images (B, 3, 8h, 8w)."""
        assert not return_dict
        return (self._decoder(latents),)


class _Coder:
    """Encoder or decoder: levels, then the middle, or the other way round."""

    def __init__(self, coder: Any, down: Any, up: Any) -> None:
        self._first, self._last = _Convolution(coder.conv_in), coder.conv_out
        middle: list[tuple[Any, Any]] = [(_Residual, coder.mid_block.resnets[0])]
        middle += [(_Attention, part) for part in coder.mid_block.attentions if part is not None]
        middle += [(_Residual, part) for part in list(coder.mid_block.resnets)[1:]]
        before = [part for level in down or () for part in _level(level)]
        behind = [part for level in up or () for part in _level(level)]
        self._parts: list[Any] = []
        left = _Left(self._first.bias, added=False)
        for kind, module in (*before, *middle, *behind):
            part = kind(module, left)
            self._parts.append(part)
            left = part.left
        self._norm = GroupNorm(coder.conv_norm_out, active=True, bias=left.bias)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        image = _Image(self._first(x.contiguous(memory_format=torch.channels_last)))
        for part in self._parts:
            image = part(image)
        return cast('Tensor', self._last(self._norm(*image)))


def _level(level: Any) -> list[tuple[Any, Any]]:
    parts: list[tuple[Any, Any]] = [(_Residual, block) for block in level.resnets]
    parts += [(_Halving, part.conv) for part in getattr(level, 'downsamplers', None) or ()]
    parts += [(_Doubling, part.conv) for part in getattr(level, 'upsamplers', None) or ()]
    return parts


class _Convolution:
    """A convolution without its bias, which whoever reads its output adds.

    cuDNN's best kernels leave the bias to a pass of its own over the whole output.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self.bias: Tensor = layer.bias.detach().float()

    def __call__(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        layer = self._layer
        out: Tensor = F.conv2d(x, layer.weight, None, layer.stride, layer.padding)
        return out

    def of(self, bias: Tensor | None) -> Tensor:
        """The bias of what a 1x1 convolution makes of an image that lacks a bias itself."""
        if bias is None:
            return self.bias
        weight: Tensor = self._layer.weight.detach().float()[:, :, 0, 0]
        return self.bias + weight @ bias


class _Residual:
    """`x + conv(silu(norm(conv(silu(norm(x))))))`; the sum is left to what comes next."""

    def __init__(self, block: Any, before: _Left) -> None:
        self._conv1, self._conv2 = _Convolution(block.conv1), _Convolution(block.conv2)
        self._norm1 = GroupNorm(block.norm1, active=True, bias=before.bias)
        self._norm2 = GroupNorm(block.norm2, active=True, bias=self._conv1.bias)
        shortcut = block.conv_shortcut
        self._shortcut = None if shortcut is None else _Convolution(shortcut)
        # The first norm writes the sum, bias included, where there is one to be taken.
        lacking = None if before.added else before.bias
        if self._shortcut is not None:
            lacking = self._shortcut.of(lacking)
        bias = self._conv2.bias
        self.left = _Left(bias if lacking is None else bias + lacking, added=True)

    def __call__(self, image: _Image) -> _Image:
        hidden = self._conv1(self._norm1(*image))  # the norm writes the sum to image.base
        hidden = self._conv2(self._norm2(hidden))
        base = image.base if self._shortcut is None else self._shortcut(image.base)
        return _Image(base, hidden)


class _Attention:
    """Every pixel attends to every other, with one head."""

    def __init__(self, part: Any, before: _Left) -> None:
        self._norm = GroupNorm(part.group_norm, active=False, bias=before.bias)
        self._qkv = part.to_q, part.to_k, part.to_v
        self._out = part.to_out[0]
        self.left = _Left(None if before.added else before.bias, added=True)

    def __call__(self, image: _Image) -> _Image:
        normed = self._norm(*image)
        tokens = normed.permute(0, 2, 3, 1).flatten(1, 2)  # (B, h * w, C)
        attended = self._out(attend_wide(*(layer(tokens) for layer in self._qkv)))
        height = image.base.shape[2]
        return _Image(image.base, attended.unflatten(1, (height, -1)).permute(0, 3, 1, 2))


class _Halving:
    """A 3x3 convolution of stride two, padded at the right and the bottom."""

    def __init__(self, layer: Any, before: _Left) -> None:
        self._conv, self._bias = _Convolution(layer), before.bias
        self.left = _Left(self._conv.bias, added=False)

    def __call__(self, image: _Image) -> _Image:
        return _Image(self._conv(padded(*image, self._bias)))


class _Doubling:
    """Nearest neighbour doubling and a 3x3 convolution, as one transposed convolution.

    Where every pixel is there twice, three weights along a side meet two pixels: the weights that
    meet the same one are added up before. That leaves 4 of 9 products, and the doubled image is
    never written.
    """

    def __init__(self, layer: Any, before: _Left) -> None:
        self._bias = before.bias
        self.left = _Left(layer.bias.detach().float(), added=False)
        weight = layer.weight.detach()  # (C', C, 3, 3)
        meets = weight.new_tensor(_MEETS, dtype=torch.float32)  # (4, 3)
        both = torch.einsum('ak,bl,oikl->ioab', meets, meets, weight.float())
        self._weight = both.to(weight.dtype).contiguous(memory_format=torch.channels_last)

    def __call__(self, image: _Image) -> _Image:
        whole = summed(*image, self._bias)
        return _Image(F.conv_transpose2d(whole, self._weight, None, stride=2, padding=1))


_MEETS = ((0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0))
"""Which of a 3-wide convolution's weights each weight of the transposed one is the sum of."""
