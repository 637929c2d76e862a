"""FLUX's transformer for prediction on a GPU: few, large kernels, ready to be recorded as a graph.

Text and image lie in one matrix from the first block to the last, so that norms, rotation and
attention run once for both; each matrix product writes where the next step reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotus2_ros.model.inference.blocks import DoubleBlock, SingleBlock
from lotus2_ros.model.inference.fast.attention import best_backend
from lotus2_ros.model.inference.fast.blocks import FastDouble, FastSingle
from lotus2_ros.model.inference.fast.constants import packed, unpacked
from lotus2_ros.model.inference.fast.linear import PLAIN, PlainLinear, RowLinear
from lotus2_ros.model.inference.fast.operations import Turns, Update, add_norm
from lotus2_ros.model.inference.fast.rows import Sequences
from lotus2_ros.model.inference.fast.text_merging import merge_text
from lotus2_ros.model.inference.quantization import INT8, EightBitFormat
from lotus2_ros.model.inference.recent import Recent
from lotus2_ros.model.inference.transformer import InferenceTransformer
from lotus2_ros.model.latents import image_ids, pack, unpack

_KEPT = 8


class FastTransformer:
    """Computes what an `InferenceTransformer` does, but for the order of roundings.

    The same inputs give the same bytes, whatever was computed before.
    """

    def __init__(
        self,
        network: InferenceTransformer,
        *,
        eight_bits: EightBitFormat | None = None,
        text_merging: float = 0.0,
    ) -> None:
        """Take over a network's weights.

        Args:
            network: on its device and in its precision; shares its weights with this one.
            eight_bits: multiply in this format, weights quantised here once; None leaves them as
                they are, in 8 bits or not.
            text_merging: compute text tokens once that differ by this share at most, see
                `merge_text`.

        Raises:
            ValueError: the network has no single block, which FLUX always has.
        """
        if not network.singles:
            raise ValueError('a FLUX transformer without single blocks')
        self._network = network
        self._doubles = [
            FastDouble(cast('DoubleBlock', block), eight_bits) for block in network.doubles
        ]
        self._singles = [
            FastSingle(cast('SingleBlock', block), eight_bits) for block in network.singles
        ]
        whole = cast('Tensor', network.text)[0]
        merged = merge_text(whole, text_merging)
        self._text = whole if merged is None else merged.tokens  # (L, D)
        self._groups = None if merged is None else merged.groups
        self._backend = best_backend(self._text.device, self._text.dtype)
        formats = {single.wanted.eight_bits for single in self._singles}
        formats |= {double.first.eight_bits for double in self._doubles}
        self._wide = INT8 in formats
        self._turns: Recent[tuple[int, int], Turns] = Recent(_KEPT)
        self._constants: Recent[float, Tensor] = Recent(4 * _KEPT)

    @property
    def plain(self) -> InferenceTransformer:
        """The network that it was made from, to be held against."""
        return self._network

    def layers(self) -> Iterator[tuple[str, RowLinear, nn.Module]]:
        """Every linear layer of the blocks: its name, and the plain network's own of that name."""
        for index, (double, block) in enumerate(
            zip(self._doubles, self._network.doubles, strict=True)
        ):
            for name, fast in double.layers():
                yield f'doubles.{index}.{name}', fast, block.get_submodule(name)
        for index, (single, block) in enumerate(
            zip(self._singles, self._network.singles, strict=True)
        ):
            for name, fast in single.layers():
                yield f'singles.{index}.{name}', fast, block.get_submodule(name)

    @torch.no_grad()
    def __call__(self, latent: Tensor, timestep: float) -> Tensor:
        """Run on a latent (B, 16, h, w), h and w even, at a timestep of 0 to 1000: same shape."""
        return self.run(latent, self.constants(timestep), self.turns(*latent.shape[2:]))

    @property
    def text_tokens(self) -> int:
        """Tokens that the text is computed with."""
        return len(self._text)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self._text.device

    @torch.no_grad()
    def constants(self, timestep: float) -> Tensor:
        """What a timestep of 0 to 1000 decides: (K, 2, D)."""
        return self._constants.get(timestep, lambda: packed(self._network.tables(timestep)))

    @torch.no_grad()
    def turns(self, height: int, width: int) -> Turns:
        """Rotations of the tokens of a latent h x w."""
        return self._turns.get((height, width), lambda: self._turn(height, width))

    @torch.no_grad()
    def run(self, latent: Tensor, constants: Tensor, turns: Turns) -> Tensor:
        """Run on a latent (B, 16, h, w); depends on nothing but weights and arguments.

        Args:
            latent: h and w even.
            constants: of a timestep, see `constants`.
            turns: of the latent's size, see `turns`.

        Returns:
            (B, 16, h, w).
        """
        batch, _, height, width = latent.shape
        steps = unpacked(constants, len(self._doubles))
        sequences = Sequences(batch, len(self._text), height * width // 4)
        tokens = self._embed(latent, sequences)
        update: Update | None = None
        for double, (attention, feed_forward) in zip(self._doubles, steps.doubles, strict=True):
            rows = add_norm(tokens, sequences, update, attention.affine, double.first)
            brought = double.attend(rows, sequences, turns, self._backend)
            update = Update(brought, attention.gate)
            rows = add_norm(tokens, sequences, update, feed_forward.affine, double.second)
            update = Update(double.feed_forward(rows, sequences), feed_forward.gate)
        for single, stage in zip(self._singles[:-1], steps.singles[:-1], strict=True):
            rows = add_norm(tokens, sequences, update, stage.affine, single.wanted)
            update = Update(single.run(rows, sequences, turns, self._backend), stage.gate)
        last, stage = self._singles[-1], steps.singles[-1]
        rows = add_norm(tokens, sequences, update, stage.affine, last.wanted)
        update = Update(last.run_image(rows, sequences, turns, self._backend), stage.gate)
        image = sequences.part(tokens, of_text=False)
        alone = Sequences(batch, 0, sequences.image)
        normed = add_norm(image, alone, update, steps.last, PLAIN)
        output = PlainLinear(self._network.proj_out.weight, self._network.proj_out.bias)(normed)
        return unpack(output.view(batch, sequences.image, -1), height, width)

    def _embed(self, latent: Tensor, sequences: Sequences) -> Tensor:
        """Text and image tokens (B * S, D) in one new matrix.

        Where products are of whole numbers it is in float32. Rounding the sum of all branches after
        each of them is most of bfloat16's own error, which those products leave less room for.
        """
        image = self._network.x_embedder(pack(latent))  # (B, T, D)
        text = self._text.expand(sequences.batch, -1, -1)
        tokens = torch.cat([text, image], 1).flatten(0, 1)
        return tokens.float() if self._wide else tokens

    def _turn(self, height: int, width: int) -> Turns:
        """Text lies at the origin and is not turned."""
        cosines, sines = self._network.positions(image_ids(height, width, device=self.device))
        text = (len(self._text), 0)
        copies = None
        if self._groups is not None:
            image = torch.arange(len(cosines), device=self.device) + len(self._text)
            copies = torch.cat([self._groups, image])
        return Turns(
            F.pad(cosines[:, ::2].float(), (0, 0, *text), value=1.0).contiguous(),
            F.pad(sines[:, ::2].float(), (0, 0, *text)).contiguous(),
            copies,
        )
