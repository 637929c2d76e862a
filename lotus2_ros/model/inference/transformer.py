"""FLUX's transformer for prediction: constants folded, one image size and timestep at a time."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from lotus2_ros.model.conditioning import Conditioning
from lotus2_ros.model.flow import MAX_STEPS
from lotus2_ros.model.inference.arithmetic import modulate
from lotus2_ros.model.inference.blocks import DoubleBlock, SingleBlock
from lotus2_ros.model.inference.modulation import Tables, TableSource
from lotus2_ros.model.inference.recent import Recent
from lotus2_ros.model.latents import image_ids, pack, unpack

_KEPT_SIZES = 8
_KEPT_TIMESTEPS = 3 * MAX_STEPS


class _Step(NamedTuple):
    """What is constant at one timestep: the tables, and the first block's text heads."""

    tables: Tables
    text_heads: Tensor | None


class InferenceTransformer(nn.Module):
    """What a `FluxTransformer2DModel` computes for a fixed prompt and guidance.

    The same inputs give the same bytes, whatever was computed before.
    """

    def __init__(
        self, transformer: Any, conditioning: Conditioning, modulation: TableSource
    ) -> None:
        """Take over a transformer's weights, block by block: it cannot be used afterwards.

        Args:
            transformer: diffusers' FluxTransformer2DModel, adapters merged.
            conditioning: prompt embeddings on its device and in its precision.
            modulation: of this transformer, or of another one of the same base.
        """
        super().__init__()
        self._modulation = modulation
        self._positions = transformer.pos_embed
        self.x_embedder = cast('nn.Linear', transformer.x_embedder)
        self.proj_out = cast('nn.Linear', transformer.proj_out)
        with torch.no_grad():
            text = transformer.context_embedder(conditioning.prompt)
        self.register_buffer('text', text)  # (1, L, D)
        self.doubles = nn.ModuleList()
        self.singles = nn.ModuleList()
        # Each original goes before the next is joined: memory never doubles.
        while transformer.transformer_blocks:
            self.doubles.append(DoubleBlock(transformer.transformer_blocks.pop(0)))
        while transformer.single_transformer_blocks:
            self.singles.append(SingleBlock(transformer.single_transformer_blocks.pop(0)))
        self._turns: Recent[tuple[int, int], Tensor] = Recent(_KEPT_SIZES)
        self._steps: Recent[float, _Step] = Recent(_KEPT_TIMESTEPS)
        self.requires_grad_(requires_grad=False).eval()

    @torch.no_grad()
    def forward(self, latent: Tensor, timestep: float) -> Tensor:
        """Run on a latent (B, 16, h, w), h and w even, at a timestep of 0 to 1000: same shape."""
        batch, _, height, width = latent.shape
        step = self._steps.get(timestep, lambda: self._step(timestep))
        turns = self._turns.get((height, width), lambda: self._turn(height, width, latent.device))
        image = self.x_embedder(pack(latent))  # (B, T, D)
        text = cast('Tensor', self.text).expand(batch, -1, -1)  # (B, L, D)
        text_heads = step.text_heads
        if text_heads is not None:
            text_heads = text_heads.expand(batch, -1, -1, -1, -1)
        for double, constants in zip(self.doubles, step.tables.doubles, strict=True):
            image, text = double(image, text, text_heads, constants, turns)
            text_heads = None
        tokens = self._run_singles(image, text, step.tables, turns)
        return unpack(self.proj_out(modulate(tokens, step.tables.last)), height, width)

    def tables(self, timestep: float) -> Tables:
        """The constants of a timestep of 0 to 1000."""
        return self._modulation.at(timestep)

    def positions(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (T, hd) float32, every value twice, of tokens at places (T, 3)."""
        return cast('tuple[Tensor, Tensor]', self._positions(ids))

    def _run_singles(self, image: Tensor, text: Tensor, tables: Tables, turns: Tensor) -> Tensor:
        if not self.singles:
            return image
        tokens, length = torch.cat([text, image], 1), text.shape[1]
        *others, last = zip(self.singles, tables.singles, strict=True)
        for single, constants in others:
            tokens = single(tokens, length, constants, turns)
        block, constants = last
        return cast('SingleBlock', block).image_only(tokens, length, constants, turns)

    def _step(self, timestep: float) -> _Step:
        tables = self.tables(timestep)
        if not self.doubles:
            return _Step(tables, None)
        first = cast('DoubleBlock', self.doubles[0])
        return _Step(tables, first.project_text(cast('Tensor', self.text), tables.doubles[0]))

    def _turn(self, height: int, width: int, device: torch.device) -> Tensor:
        """Rotations of the image's tokens; the text lies at the origin and is not turned."""
        cosines, sines = self.positions(image_ids(height, width, device=device))  # (T, hd)
        return torch.complex(cosines[:, ::2], sines[:, ::2])[:, None, None]  # (T, 1, 1, hd/2)
