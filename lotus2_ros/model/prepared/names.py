"""Which of FLUX's layers each layer of the inference network is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lotus2_ros.model.inference.skeleton import NetworkShape
from lotus2_ros.model.lora import LORA_TARGETS

SCHEDULER = 'scheduler/scheduler_config.json'
TRANSFORMER = 'transformer/config.json'
VAE = 'vae/config.json'

SHARED = 'shared'
"""The component whose tensors no adapter touches."""

_DOUBLE = {
    'image.heads.qkv': ('attn.to_q', 'attn.to_k', 'attn.to_v'),
    'image.out': ('attn.to_out.0',),
    'image.up': ('ff.net.0.proj',),
    'image.down': ('ff.net.2',),
    'text.heads.qkv': ('attn.add_q_proj', 'attn.add_k_proj', 'attn.add_v_proj'),
    'text.out': ('attn.to_add_out',),
    'text.up': ('ff_context.net.0.proj',),
    'text.down': ('ff_context.net.2',),
}
_SINGLE = {
    'heads.qkv': ('attn.to_q', 'attn.to_k', 'attn.to_v'),
    'up': ('proj_mlp',),
    'down': ('proj_out',),
}
_DOUBLE_NORMS = {
    'image.heads.weight': ('attn.norm_q', 'attn.norm_k'),
    'text.heads.weight': ('attn.norm_added_q', 'attn.norm_added_k'),
}
_SINGLE_NORMS = {'heads.weight': ('attn.norm_q', 'attn.norm_k')}
EDGES = ('x_embedder', 'proj_out')
"""Linear layers before and after the blocks, of the same name in both; never in 8 bits."""


class Layer(NamedTuple):
    """A linear layer in a block of the inference network.

    Attributes:
        name: in the inference network.
        parts: FLUX's layers whose outputs it holds, in a row.
    """

    name: str
    parts: tuple[str, ...]


def block_layers(shape: NetworkShape) -> list[Layer]:
    """Every linear layer of every block."""
    return [Layer(name, parts) for name, parts in _named(shape, _DOUBLE, _SINGLE).items()]


def is_adapted(layer: Layer) -> bool:
    """True if adapters change this layer."""
    return layer.parts[0].endswith(tuple(f'.{target}' for target in LORA_TARGETS))


def head_norms(shape: NetworkShape) -> dict[str, tuple[str, ...]]:
    """Keys of the norms' weights (2, 1, hd) to FLUX's layers of queries and of keys."""
    return _named(shape, _DOUBLE_NORMS, _SINGLE_NORMS)


def _named(
    shape: NetworkShape,
    double: Mapping[str, tuple[str, ...]],
    single: Mapping[str, tuple[str, ...]],
) -> dict[str, tuple[str, ...]]:
    names = {}
    kinds: tuple[tuple[int, str, str, Mapping[str, tuple[str, ...]]], ...] = (
        (shape.doubles, 'doubles', 'transformer_blocks', double),
        (shape.singles, 'singles', 'single_transformer_blocks', single),
    )
    for count, ours, theirs, table in kinds:
        for index in range(count):
            for name, parts in table.items():
                names[f'{ours}.{index}.{name}'] = tuple(f'{theirs}.{index}.{p}' for p in parts)
    return names
