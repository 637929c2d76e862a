"""What an `InferenceTransformer` is built on where weights come as plain tensors: shapes alone.

The parts carry the names of diffusers' modules, live on the meta device, and leave out modulation.
Neither diffusers nor transformers is imported, which take four seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from lotus2_ros.errors import ModelFileError
from lotus2_ros.model.conditioning import Conditioning
from lotus2_ros.model.inference.eight_bits import EightBitLinear
from lotus2_ros.model.inference.low_rank import DOWN, UP, LowRankLinear
from lotus2_ros.model.inference.modulation import TableSource
from lotus2_ros.model.inference.positions import RotaryPositions
from lotus2_ros.model.inference.quantization import SCALE, EightBitFormat, format_of
from lotus2_ros.model.inference.transformer import InferenceTransformer

NORM_EPS = 1e-6
_MLP_RATIO = 4


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """The sizes of one FLUX transformer.

    Attributes:
        channels: of the packed latent.
        heads: number of attention heads.
        head_width: features of one.
        doubles: number of double blocks.
        singles: number of single blocks.
        joint_width: features of a text token.
        pooled_width: features of the pooled prompt.
        axes: features of each rotary axis.
        guided: True if it embeds guidance, as FLUX.1-dev does.
    """

    channels: int
    heads: int
    head_width: int
    doubles: int
    singles: int
    joint_width: int
    pooled_width: int
    axes: tuple[int, ...]
    guided: bool

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read diffusers' `FluxTransformer2DModel` configuration.

        Raises:
            KeyError: a size is not there.
        """
        return cls(
            channels=int(config['in_channels']),
            heads=int(config['num_attention_heads']),
            head_width=int(config['attention_head_dim']),
            doubles=int(config['num_layers']),
            singles=int(config['num_single_layers']),
            joint_width=int(config['joint_attention_dim']),
            pooled_width=int(config['pooled_projection_dim']),
            axes=tuple(config['axes_dims_rope']),
            guided=bool(config['guidance_embeds']),
        )

    @property
    def width(self) -> int:
        """Features of a token inside the blocks."""
        return self.heads * self.head_width


def empty_transformer(
    shape: NetworkShape, text_tokens: int, modulation: TableSource | None
) -> InferenceTransformer:
    """An InferenceTransformer whose weights are on the meta device, to be filled by key.

    Args:
        shape: of the network.
        text_tokens: length of the prompt.
        modulation: its constants; None where it is made for its keys and shapes alone.
    """
    with torch.device('meta'):
        parts = SimpleNamespace(
            pos_embed=RotaryPositions(shape.axes),
            x_embedder=nn.Linear(shape.channels, shape.width),
            proj_out=nn.Linear(shape.width, shape.channels),
            context_embedder=nn.Linear(shape.joint_width, shape.width),
            transformer_blocks=[_double(shape) for _ in range(shape.doubles)],
            single_transformer_blocks=[_single(shape) for _ in range(shape.singles)],
        )
        conditioning = Conditioning(
            torch.empty(1, text_tokens, shape.joint_width), torch.empty(1, shape.pooled_width)
        )
        return InferenceTransformer(parts, conditioning, modulation or _NoTables())


class _NoTables:
    def at(self, timestep: float) -> Any:
        raise RuntimeError(f'this network was made without modulation; asked for {timestep}')


def _double(shape: NetworkShape) -> Any:
    attn = _attention(shape)
    for name in ('add_q_proj', 'add_k_proj', 'add_v_proj', 'to_add_out'):
        setattr(attn, name, nn.Linear(shape.width, shape.width))
    attn.to_out = [nn.Linear(shape.width, shape.width)]
    attn.norm_added_q, attn.norm_added_k = _norm(shape), _norm(shape)
    return SimpleNamespace(attn=attn, ff=_feed_forward(shape), ff_context=_feed_forward(shape))


def _single(shape: NetworkShape) -> Any:
    hidden = _MLP_RATIO * shape.width
    return SimpleNamespace(
        attn=_attention(shape),
        proj_mlp=nn.Linear(shape.width, hidden),
        proj_out=nn.Linear(shape.width + hidden, shape.width),
    )


def _attention(shape: NetworkShape) -> Any:
    layers = {name: nn.Linear(shape.width, shape.width) for name in ('to_q', 'to_k', 'to_v')}
    return SimpleNamespace(**layers, norm_q=_norm(shape), norm_k=_norm(shape), heads=shape.heads)


def _norm(shape: NetworkShape) -> Any:
    return SimpleNamespace(weight=torch.empty(shape.head_width), eps=NORM_EPS)


def _feed_forward(shape: NetworkShape) -> Any:
    hidden = _MLP_RATIO * shape.width
    up = SimpleNamespace(proj=nn.Linear(shape.width, hidden))
    return SimpleNamespace(net=[up, None, nn.Linear(hidden, shape.width)])


def filled(
    shape: NetworkShape, text_tokens: int, modulation: TableSource, tensors: dict[str, Tensor]
) -> InferenceTransformer:
    """A network with tensors by key, which it keeps and does not copy.

    Args:
        shape: of the network.
        text_tokens: length of the prompt.
        modulation: its constants.
        tensors: by key; those of each layer decide what kind of layer it is. A weight in 8 bits has
            a `<layer>.weight_scale` beside it, a difference a `<layer>.down` and `<layer>.up`.

    Raises:
        RuntimeError: a key is missing or unexpected, or of another shape.
        ModelFileError: two weights are in different formats of 8 bits.
    """
    network = empty_transformer(shape, text_tokens, modulation)
    first: tuple[str, EightBitFormat] | None = None
    for name in (key.removesuffix(SCALE) for key in tensors if key.endswith(SCALE)):
        weight, scale, bias = (tensors[name + end] for end in ('.weight', SCALE, '.bias'))
        kind = format_of(weight)
        first = first or (name, kind)
        if kind != first[1]:
            msg = f'{name}.weight is in {kind.name}, but {first[0]}.weight in {first[1].name}'
            raise ModelFileError(f'{msg}; prepare the model again')
        _replace(network, name, EightBitLinear(weight, scale, bias))
    for name in (key.removesuffix(DOWN) for key in tensors if key.endswith(DOWN)):
        layer = cast('nn.Linear | EightBitLinear', network.get_submodule(name))
        _replace(network, name, LowRankLinear(layer, tensors[name + DOWN], tensors[name + UP]))
    fill(network, tensors)
    return network


def _replace(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition('.')
    setattr(network.get_submodule(parent), last, layer)


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape by key of all that a network holds."""
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def fill(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a network its weights, which it keeps and does not copy.

    Raises:
        RuntimeError: a key is missing or unexpected, or of another shape.
    """
    network.load_state_dict(dict(tensors), strict=True, assign=True)
    network.requires_grad_(requires_grad=False)
