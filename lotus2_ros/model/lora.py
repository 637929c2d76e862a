"""Low-rank adapters: reading one file strictly, and folding it into the weights it adapts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from lotus2_ros.errors import ModelFileError
from lotus2_ros.model.files import WeightFiles, check_keys

LORA_TARGETS = (
    'attn.to_q',
    'attn.to_k',
    'attn.to_v',
    'attn.to_out.0',
    'attn.add_q_proj',
    'attn.add_k_proj',
    'attn.add_v_proj',
    'attn.to_add_out',
    'ff.net.0.proj',
    'ff.net.2',
    'ff_context.net.0.proj',
    'ff_context.net.2',
)
"""Ends of the names of the linear layers that Lotus-2 adapts, in double and single blocks alike."""

PREFIX = 'transformer.'
_A, _B = '.lora_A.weight', '.lora_B.weight'


@dataclass(frozen=True, slots=True)
class LoraWeights:
    """One adapter; its strength alpha equals its rank, so that the update is B A as it stands.

    Attributes:
        rank: inner size r, one for the whole file.
        pairs: layer name to A (r, in) and B (out, r), in the file's precision.
    """

    rank: int
    pairs: dict[str, tuple[Tensor, Tensor]]


def target_modules(transformer: nn.Module) -> dict[str, tuple[int, int]]:
    """Name every adapted linear layer of a transformer, with its (out, in) features."""
    return {
        name: (module.out_features, module.in_features)
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear) and name.endswith(tuple(f'.{t}' for t in LORA_TARGETS))
    }


def read_lora(path: Path, targets: dict[str, tuple[int, int]]) -> LoraWeights:
    """Read an adapter file and check it against the layers that it must adapt.

    Args:
        path: safetensors file with keys `transformer.<layer>.lora_A.weight` and `.lora_B.weight`.
        targets: layer name to (out, in) features; see `target_modules`.

    Raises:
        ModelFileError: the file cannot be read, a layer is unknown or missing, half a pair is
            missing, a shape does not fit its layer, or ranks disagree.
    """
    expected = [f'{PREFIX}{name}{half}' for name in targets for half in (_A, _B)]
    with WeightFiles.single(path) as files:
        check_keys(path, files.keys(), expected)
        first_rank, first_name = 0, ''
        pairs = {}
        for name, (outputs, inputs) in targets.items():
            a, b = f'{PREFIX}{name}{_A}', f'{PREFIX}{name}{_B}'
            shape_a, shape_b = files.shape(a), files.shape(b)
            if len(shape_a) != 2 or shape_a[1] != inputs:
                raise ModelFileError(f'{path}: {a} is {shape_a}; expected (rank, {inputs})')
            if len(shape_b) != 2 or shape_b[0] != outputs:
                raise ModelFileError(f'{path}: {b} is {shape_b}; expected ({outputs}, rank)')
            rank = shape_a[0]
            if rank != shape_b[1] or rank == 0:
                msg = f'{path}: {a} has rank {rank} but {b} has rank {shape_b[1]}'
                raise ModelFileError(msg)
            if not first_rank:
                first_rank, first_name = rank, name
            elif rank != first_rank:
                msg = (
                    f'{path}: {a} has rank {rank} but {PREFIX}{first_name}{_A} has {first_rank};'
                    ' an adapter has one rank'
                )
                raise ModelFileError(msg)
            pairs[name] = (files.tensor(a), files.tensor(b))
    return LoraWeights(first_rank, pairs)


def merge(weight: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
    """Fold an adapter into a weight (out, in): W + B A, in float32 whatever came in.

    Rounding the product to bfloat16 before it is added would lose most of a small update.
    """
    a, b = (half.to(weight.device).float() for half in pair)
    return weight.float().addmm(b, a)
