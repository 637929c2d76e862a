"""FLUX's autoencoder, with the names of diffusers' `AutoencoderKL` for every part and weight.

Prepared models are loaded into it: importing diffusers takes four seconds and brings transformers.
The arithmetic is the same step by step, so that both give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, cast

import torch.nn.functional as F
from torch import Tensor, nn

_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class AutoencoderConfig:
    """The part of diffusers' configuration that decides about FLUX's autoencoder.

    Attributes:
        in_channels: of an image.
        out_channels: of a decoded image.
        latent_channels: of the latent.
        block_out_channels: of each level, finest first.
        layers_per_block: residual blocks of a level; the decoder has one more.
        norm_num_groups: of every group norm.
        mid_block_add_attention: attention at the coarsest level.
        scaling_factor: latents are multiplied by it.
        shift_factor: what is taken from them before.
    """

    in_channels: int
    out_channels: int
    latent_channels: int
    block_out_channels: tuple[int, ...]
    layers_per_block: int
    norm_num_groups: int
    mid_block_add_attention: bool
    scaling_factor: float
    shift_factor: float | None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read diffusers' `AutoencoderKL` configuration.

        Raises:
            KeyError: an entry is not there.
            ValueError: it describes another kind of autoencoder than FLUX's.
        """
        levels = len(config['block_out_channels'])
        plain = {
            'down_block_types': ['DownEncoderBlock2D'] * levels,
            'up_block_types': ['UpDecoderBlock2D'] * levels,
            'act_fn': 'silu',
            'use_quant_conv': False,
            'use_post_quant_conv': False,
        }
        for name, value in plain.items():
            given = config.get(name, value if name == 'act_fn' else None)
            if (list(given) if isinstance(given, tuple) else given) != value:
                raise ValueError(f'{name} is {given!r}; expected {value!r}')
        return cls(
            in_channels=int(config['in_channels']),
            out_channels=int(config['out_channels']),
            latent_channels=int(config['latent_channels']),
            block_out_channels=tuple(config['block_out_channels']),
            layers_per_block=int(config['layers_per_block']),
            norm_num_groups=int(config['norm_num_groups']),
            mid_block_add_attention=bool(config.get('mid_block_add_attention', True)),
            scaling_factor=float(config['scaling_factor']),
            shift_factor=config['shift_factor'],
        )


class Posterior(NamedTuple):
    """What an image is encoded to: only the mean is ever taken."""

    mean: Tensor

    def mode(self) -> Tensor:
        """The mean (B, C, h, w)."""
        return self.mean


class Autoencoder(nn.Module):
    """Images (B, 3, 8h, 8w) to latents (B, 16, h, w) and back."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def encode(self, images: Tensor, *, return_dict: bool = False) -> tuple[Posterior]:
        """Encode images in [-1, 1]; called like diffusers', which has a second kind of result."""
        assert not return_dict
        mean, _ = self.encoder(images).chunk(2, dim=1)
        return (Posterior(mean),)

    def decode(self, latents: Tensor, *, return_dict: bool = False) -> tuple[Tensor]:
        """Decode latents; called like diffusers', which has a second kind of result."""
        assert not return_dict
        return (self.decoder(latents),)


class Encoder(nn.Module):
    """Levels from fine to coarse, each halving the image but the last."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        channels, groups = config.block_out_channels, config.norm_num_groups
        self.conv_in = nn.Conv2d(config.in_channels, channels[0], 3, padding=1)
        self.down_blocks = nn.ModuleList()
        for level, width in enumerate(channels):
            before = channels[max(level - 1, 0)]
            halved = level + 1 < len(channels)
            self.down_blocks.append(
                Level(before, width, groups, config.layers_per_block, Halving if halved else None)
            )
        self.mid_block = Middle(channels[-1], groups, attention=config.mid_block_add_attention)
        self.conv_norm_out = nn.GroupNorm(groups, channels[-1], eps=_EPS)
        self.conv_act = nn.SiLU()
        self.conv_out = nn.Conv2d(channels[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to mean and log variance (B, 2C, h, w)."""
        x = self.conv_in(images)
        for block in self.down_blocks:
            x = block(x)
        x = self.mid_block(x)
        return cast('Tensor', self.conv_out(self.conv_act(self.conv_norm_out(x))))


class Decoder(nn.Module):
    """Levels from coarse to fine, each doubling the image but the last."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        channels, groups = config.block_out_channels[::-1], config.norm_num_groups
        self.conv_in = nn.Conv2d(config.latent_channels, channels[0], 3, padding=1)
        self.mid_block = Middle(channels[0], groups, attention=config.mid_block_add_attention)
        self.up_blocks = nn.ModuleList()
        for level, width in enumerate(channels):
            before = channels[max(level - 1, 0)]
            doubled = level + 1 < len(channels)
            count = config.layers_per_block + 1
            self.up_blocks.append(
                Level(before, width, groups, count, None, Doubler if doubled else None)
            )
        self.conv_norm_out = nn.GroupNorm(groups, channels[-1], eps=_EPS)
        self.conv_act = nn.SiLU()
        self.conv_out = nn.Conv2d(channels[-1], config.out_channels, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """(B, C, h, w) to (B, 3, H, W)."""
        x = self.mid_block(self.conv_in(latents))
        for block in self.up_blocks:
            x = block(x)
        return cast('Tensor', self.conv_out(self.conv_act(self.conv_norm_out(x))))


class Level(nn.Module):
    """Residual blocks of one resolution, then a change of it."""

    def __init__(
        self,
        before: int,
        channels: int,
        groups: int,
        count: int,
        halving: type[nn.Module] | None,
        doubling: type[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        widths = [before] + [channels] * count
        self.resnets = nn.ModuleList(
            ResidualBlock(widths[i], channels, groups) for i in range(count)
        )
        if halving is not None:
            self.downsamplers = nn.ModuleList([halving(channels)])
        if doubling is not None:
            self.upsamplers = nn.ModuleList([doubling(channels)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        for name in ('resnets', 'downsamplers', 'upsamplers'):
            for part in getattr(self, name, ()):
                x = part(x)
        return x


class Middle(nn.Module):
    """The coarsest level: two residual blocks with attention between them."""

    def __init__(self, channels: int, groups: int, *, attention: bool) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([ImageAttention(channels, groups)] if attention else [])
        self.resnets = nn.ModuleList(ResidualBlock(channels, channels, groups) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        first, second = self.resnets
        x = first(x)
        for attention in self.attentions:
            x = attention(x)
        return cast('Tensor', second(x))


class ResidualBlock(nn.Module):
    """`x + conv(silu(norm(conv(silu(norm(x))))))`, x through a 1x1 convolution where C changes."""

    def __init__(self, before: int, channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, before, eps=_EPS)
        self.conv1 = nn.Conv2d(before, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, channels, eps=_EPS)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(before, channels, 1) if before != channels else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H, W)."""
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return cast('Tensor', (x if self.conv_shortcut is None else self.conv_shortcut(x)) + hidden)


class ImageAttention(nn.Module):
    """Every pixel attends to every other, with one head."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, eps=_EPS)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        tokens = x.flatten(2)  # (B, C, h * w)
        tokens = self.group_norm(tokens).transpose(1, 2)  # (B, h * w, C)
        q, k, v = (part(tokens)[:, None] for part in (self.to_q, self.to_k, self.to_v))
        attended = self.to_out[0](F.scaled_dot_product_attention(q, k, v)[:, 0])
        return cast('Tensor', attended.transpose(1, 2).reshape(x.shape) + x)


class Halving(nn.Module):
    """A 3x3 convolution of stride two, padded at the right and the bottom."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H/2, W/2)."""
        return cast('Tensor', self.conv(F.pad(x, (0, 1, 0, 1))))


class Doubler(nn.Module):
    """Nearest neighbour doubling and a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 2H, 2W)."""
        return cast('Tensor', self.conv(F.interpolate(x, scale_factor=2.0, mode='nearest')))
