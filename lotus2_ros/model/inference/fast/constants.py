"""What a timestep decides, in one tensor: a recorded graph can be handed another timestep."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from lotus2_ros.model.inference.fast.operations import Affine
from lotus2_ros.model.inference.modulation import Branch, DoubleTable, StreamTable, Tables

_VECTORS = 3
"""Of a residual branch: scale, shift and gate."""


class Stage(NamedTuple):
    """Constants of one residual branch, for text rows and for image rows."""

    affine: Affine
    gate: Tensor  # (2, D)


class Steps(NamedTuple):
    """All residual branches in the order in which they come, and the last norm."""

    doubles: list[tuple[Stage, Stage]]
    singles: list[Stage]
    last: Affine


def packed(tables: Tables) -> Tensor:
    """A timestep's tables as one tensor (K, 2, D); of each pair the first is for text rows."""
    pairs: list[Tensor] = []
    for double in tables.doubles:
        pairs += _pairs(_branch(double, 'attention'), _branch(double, 'feed_forward'))
    for single in tables.singles:
        pairs += _pairs((single, single))
    pairs += [torch.stack([value, value]) for value in tables.last]
    return torch.stack(pairs)


def unpacked(constants: Tensor, doubles: int) -> Steps:
    """The parts of what `packed` made, as views.

    Args:
        constants: (K, 2, D).
        doubles: number of double blocks.
    """
    *branches, scale, shift = constants.unbind()
    stages = [
        Stage(Affine(*branches[at : at + 2]), branches[at + 2])
        for at in range(0, len(branches), _VECTORS)
    ]
    return Steps(
        [(stages[at], stages[at + 1]) for at in range(0, 2 * doubles, 2)],
        stages[2 * doubles :],
        Affine(scale, shift),
    )


def _branch(double: DoubleTable, name: str) -> tuple[Branch, Branch]:
    def chosen(stream: StreamTable) -> Branch:
        return cast('Branch', getattr(stream, name))

    return chosen(double.text), chosen(double.image)


def _pairs(*stages: tuple[Branch, Branch]) -> list[Tensor]:
    return [
        torch.stack(pair)
        for text, image in stages
        for pair in (
            (text.affine.scale, image.affine.scale),
            (text.affine.shift, image.affine.shift),
            (text.gate, image.gate),
        )
    ]
