"""All constants of a timestep as one row of numbers, as prepared folders keep them.

In order: the double blocks, of each the image's six vectors and then the text's, the single
blocks' three, and the last norm's two, as the original modulation layers give them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lotus2_ros.model.inference.modulation import (
    Affine,
    Branch,
    DoubleTable,
    StreamTable,
    Tables,
)
from lotus2_ros.model.inference.skeleton import NetworkShape

_DOUBLE, _SINGLE, _LAST = 6, 3, 2


def modulation_layers(shape: NetworkShape) -> list[str]:
    """Names of diffusers' modulation layers, in the order of a row."""
    names = []
    for index in range(shape.doubles):
        block = f'transformer_blocks.{index}'
        names += [f'{block}.norm1.linear', f'{block}.norm1_context.linear']
    names += [f'single_transformer_blocks.{i}.norm.linear' for i in range(shape.singles)]
    return [*names, 'norm_out.linear']


def row_length(shape: NetworkShape) -> int:
    """How many numbers one timestep has."""
    return shape.width * (2 * _DOUBLE * shape.doubles + _SINGLE * shape.singles + _LAST)


def read_row(row: Tensor, shape: NetworkShape) -> Tables:
    """The tables that a row (N,) holds."""
    vectors = row.view(-1, shape.width).unbind()
    singles = 2 * _DOUBLE * shape.doubles
    last = singles + _SINGLE * shape.singles
    streams = [_stream(vectors[at : at + _DOUBLE]) for at in range(0, singles, _DOUBLE)]
    scale, shift = vectors[last:]
    return Tables(
        tuple(DoubleTable(*streams[at : at + 2]) for at in range(0, len(streams), 2)),
        tuple(_branch(vectors[at : at + _SINGLE]) for at in range(singles, last, _SINGLE)),
        Affine(1 + scale, shift),
    )


def _stream(vectors: Sequence[Tensor]) -> StreamTable:
    return StreamTable(_branch(vectors[:3]), _branch(vectors[3:]))


def _branch(vectors: Sequence[Tensor]) -> Branch:
    shift, scale, gate = vectors
    return Branch(Affine(1 + scale, shift), gate)


def join_outputs(outputs: Sequence[Tensor]) -> Tensor:
    """A row (N,) of the modulation layers' outputs, each (1, k * D), in their order."""
    return torch.cat([output[0] for output in outputs])
