"""The autoencoder on a GPU: channels last, norms and activations fused, sums left to the norms."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.model.inference.autoencoder import Posterior
from lotus2_ros.model.inference.fast.group_norm import GroupNorm


class _Image(NamedTuple):
    """An image whose last sum is still to be taken: base + added, (B, C, H, W), channels last."""

    base: Tensor
    added: Tensor | None = None

    def summed(self) -> Tensor:
        """The sum."""
        return self.base if self.added is None else self.base.add_(self.added)


class FastAutoencoder:
    """What diffusers' `AutoencoderKL` and our `Autoencoder` compute, but for roundings."""

    def __init__(self, vae: Any) -> None:
        """Take over an autoencoder's weights, whose convolutions become channels last.

        Args:
            vae: `AutoencoderKL` or `Autoencoder`, on its device and in its precision.
        """
        vae.to(memory_format=torch.channels_last)
        self.config = vae.config
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
        self._first, self._last = coder.conv_in, coder.conv_out
        middle = [_Residual(coder.mid_block.resnets[0])]
        middle += [_Attention(part) for part in coder.mid_block.attentions if part is not None]  # type: ignore[misc]
        middle += [_Residual(part) for part in list(coder.mid_block.resnets)[1:]]
        before = [part for level in down or () for part in _level(level)]
        behind = [part for level in up or () for part in _level(level)]
        self._parts: list[Any] = [*before, *middle, *behind]
        self._norm = GroupNorm(coder.conv_norm_out, active=True)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        image = _Image(self._first(x.contiguous(memory_format=torch.channels_last)))
        for part in self._parts:
            image = part(image)
        return cast('Tensor', self._last(self._norm(*image)))


def _level(level: Any) -> list[Any]:
    parts: list[Any] = [_Residual(block) for block in level.resnets]
    parts += [_Halving(part) for part in getattr(level, 'downsamplers', None) or ()]
    parts += [_Doubling(part) for part in getattr(level, 'upsamplers', None) or ()]
    return parts


class _Residual:
    """`x + conv(silu(norm(conv(silu(norm(x))))))`; the sum is left to what comes next."""

    def __init__(self, block: Any) -> None:
        self._norm1 = GroupNorm(block.norm1, active=True)
        self._norm2 = GroupNorm(block.norm2, active=True)
        self._conv1, self._conv2 = block.conv1, block.conv2
        self._shortcut = block.conv_shortcut

    def __call__(self, image: _Image) -> _Image:
        hidden = self._conv1(self._norm1(*image))  # the norm writes the sum to image.base
        hidden = self._conv2(self._norm2(hidden))
        base = image.base if self._shortcut is None else self._shortcut(image.base)
        return _Image(base, hidden)


class _Attention:
    """Every pixel attends to every other, with one head."""

    def __init__(self, part: Any) -> None:
        self._norm = GroupNorm(part.group_norm, active=False)
        self._qkv = part.to_q, part.to_k, part.to_v
        self._out = part.to_out[0]

    def __call__(self, image: _Image) -> _Image:
        normed = self._norm(*image)
        tokens = normed.permute(0, 2, 3, 1).flatten(1, 2)  # (B, h * w, C)
        q, k, v = (layer(tokens)[:, None] for layer in self._qkv)
        attended = self._out(F.scaled_dot_product_attention(q, k, v)[:, 0])
        height = image.base.shape[2]
        return _Image(image.base, attended.unflatten(1, (height, -1)).permute(0, 3, 1, 2))


class _Halving:
    """A 3x3 convolution of stride two, padded at the right and the bottom."""

    def __init__(self, part: Any) -> None:
        self._conv = part.conv

    def __call__(self, image: _Image) -> _Image:
        return _Image(self._conv(F.pad(image.summed(), (0, 1, 0, 1))))


class _Doubling:
    """Nearest neighbour doubling and a 3x3 convolution."""

    def __init__(self, part: Any) -> None:
        self._conv = part.conv

    def __call__(self, image: _Image) -> _Image:
        return _Image(self._conv(F.interpolate(image.summed(), scale_factor=2.0, mode='nearest')))
