"""What the timestep decides: shift, scale and gate of every block, as tables of constants.

Timestep, guidance and pooled prompt are the same for every frame, so that all that FLUX computes
from them (27 % of its weights) is constant. Adapters do not touch these weights: one `Modulation`
serves the transformers of all stages and tasks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from lotus2_ros.model.conditioning import GUIDANCE, Conditioning
from lotus2_ros.model.flow import MAX_STEPS, MODEL_TIMESTEPS
from lotus2_ros.model.inference.recent import Recent

_KEPT_TABLES = 1 + 3 * MAX_STEPS
"""The core's, and the sharpener's for three pairs of image size and number of steps."""


class Affine(NamedTuple):
    """What follows a layer norm: times (1 + scale), plus shift; each (D,).

    Attributes:
        scale: one is added already, in the precision of the weights, as the original does.
        shift: as it is.
    """

    scale: Tensor
    shift: Tensor


class Branch(NamedTuple):
    """One residual branch: how its input is modulated, and the gate (D,) on its output."""

    affine: Affine
    gate: Tensor


class StreamTable(NamedTuple):
    """A double block's constants for one of its two streams."""

    attention: Branch
    feed_forward: Branch


class DoubleTable(NamedTuple):
    """A double block's constants."""

    image: StreamTable
    text: StreamTable


class Tables(NamedTuple):
    """All constants of one timestep.

    Attributes:
        doubles: of the double blocks, in order.
        singles: of the single blocks, in order.
        last: of the norm before the output projection.
    """

    doubles: tuple[DoubleTable, ...]
    singles: tuple[Branch, ...]
    last: Affine


class TableSource(Protocol):
    """Whatever knows the constants of a timestep."""

    def at(self, timestep: float) -> Tables:
        """The constants of a timestep, 0 to 1000."""


class _Weights(NamedTuple):
    """The original modules, whose own code makes the tables."""

    embed: Any
    doubles: list[tuple[Any, Any]]
    singles: list[Any]
    last: Any


class Modulation:
    """Tables by timestep, made by the original modules' own steps in their own precision."""

    def __init__(self, transformer: Any, conditioning: Conditioning) -> None:
        """Take the modulation out of a transformer, which keeps its modules.

        Args:
            transformer: diffusers' FluxTransformer2DModel.
            conditioning: prompt embeddings on its device and in its precision.
        """
        self._guided = bool(transformer.config.guidance_embeds)
        self._pooled = conditioning.pooled
        self._weights: _Weights | None = _Weights(
            transformer.time_text_embed,
            [(b.norm1, b.norm1_context) for b in transformer.transformer_blocks],
            [b.norm for b in transformer.single_transformer_blocks],
            transformer.norm_out,
        )
        self._tables: Recent[float, Tables] = Recent(_KEPT_TABLES)

    @torch.no_grad()
    def at(self, timestep: float) -> Tables:
        """The constants of a timestep, 0 to 1000.

        Raises:
            RuntimeError: it is not one of those that the weights were folded into.
        """
        return self._tables.get(timestep, lambda: self._compute(timestep))

    def fold(self, timesteps: Iterable[float]) -> None:
        """Keep the tables of these few timesteps and let go of the weights."""
        for timestep in timesteps:
            self.at(timestep)
        self._weights = None

    def _compute(self, timestep: float) -> Tables:
        if self._weights is None:
            raise RuntimeError(f'there is no modulation for timestep {timestep}: it was folded')
        weights = self._weights
        embedding = embed(weights.embed, timestep, self._pooled, guided=self._guided)  # (1, D)
        shift_first = [
            tuple(norm.linear(norm.silu(embedding))[0].chunk(6) for norm in pair)
            for pair in weights.doubles
        ]
        scale, shift = weights.last.linear(weights.last.silu(embedding))[0].chunk(2)
        return Tables(
            tuple(DoubleTable(*map(_stream, pair)) for pair in shift_first),
            tuple(_branch(*_chunks(norm, embedding)) for norm in weights.singles),
            Affine(1 + scale, shift),
        )


def embed(module: nn.Module, timestep: float, pooled: Tensor, *, guided: bool) -> Tensor:
    """Embed timestep, guidance and prompt: rounding by rounding what the original does.

    Args:
        module: diffusers' `time_text_embed`.
        timestep: 0 to 1000.
        pooled: (1, P) in the module's precision.
        guided: True if it embeds guidance.

    Returns:
        (1, D).
    """
    time = torch.tensor([timestep], device=pooled.device).to(pooled.dtype) / MODEL_TIMESTEPS * 1000
    if not guided:
        return cast('Tensor', module(time, pooled))
    guidance = torch.tensor([GUIDANCE], device=pooled.device).to(pooled.dtype) * 1000
    return cast('Tensor', module(time, guidance, pooled))


def _chunks(norm: Any, embedding: Tensor) -> tuple[Tensor, ...]:
    chunks: tuple[Tensor, ...] = norm.linear(norm.silu(embedding))[0].chunk(3)
    return chunks


def _branch(shift: Tensor, scale: Tensor, gate: Tensor) -> Branch:
    return Branch(Affine(1 + scale, shift), gate)


def _stream(chunks: tuple[Tensor, ...]) -> StreamTable:
    return StreamTable(_branch(*chunks[:3]), _branch(*chunks[3:]))
