"""FLUX's transformer for prediction on a GPU: few, large kernels, ready to be recorded as a graph.

Text and image lie in one matrix from the first block to the last, so that norms, rotation and
attention run once for both; each matrix product writes where the next step reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotus2_ros.model.inference.blocks import DoubleBlock, Heads, SingleBlock, Stream
from lotus2_ros.model.inference.fast.attention import attend, best_backend
from lotus2_ros.model.inference.fast.linear import (
    PLAIN,
    PlainLinear,
    QuantizedLinear,
    RowLinear,
    row_linear,
)
from lotus2_ros.model.inference.fast.operations import (
    Affine,
    Turns,
    Update,
    add_norm,
    gelu_quantize,
    norm_rotate,
    quantize,
)
from lotus2_ros.model.inference.fast.rows import Rows, Sequences
from lotus2_ros.model.inference.modulation import Branch, DoubleTable, StreamTable, Tables
from lotus2_ros.model.inference.recent import Recent
from lotus2_ros.model.inference.transformer import InferenceTransformer
from lotus2_ros.model.latents import image_ids, pack, unpack

_KEPT = 8


class _Stage(NamedTuple):
    """Constants of one residual branch, for text rows and for image rows."""

    affine: Affine
    gate: Tensor  # (2, D)


class _Steps(NamedTuple):
    """All residual branches in the order in which they come, and the last norm."""

    doubles: list[tuple[_Stage, _Stage]]
    singles: list[_Stage]
    last: Affine


class FastTransformer:
    """Computes what an `InferenceTransformer` does, but for the order of roundings.

    The same inputs give the same bytes, whatever was computed before.
    """

    def __init__(self, network: InferenceTransformer, *, eight_bits: bool = False) -> None:
        """Take over a network's weights.

        Args:
            network: on its device and in its precision; shares its weights with this one.
            eight_bits: multiply in float8, weights quantised here once.

        Raises:
            ValueError: the network has no single block, which FLUX always has.
        """
        if not network.singles:
            raise ValueError('a FLUX transformer without single blocks')
        self._network = network
        self._doubles = [
            _FastDouble(cast('DoubleBlock', block), eight_bits) for block in network.doubles
        ]
        self._singles = [
            _FastSingle(cast('SingleBlock', block), eight_bits) for block in network.singles
        ]
        self._text = cast('Tensor', network.text)[0]  # (L, D)
        self._backend = best_backend(self._text.device, self._text.dtype)
        self._turns: Recent[tuple[int, int], Turns] = Recent(_KEPT)
        self._steps: Recent[float, _Steps] = Recent(4 * _KEPT)

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
        batch, _, height, width = latent.shape
        steps = self._steps.get(timestep, lambda: _steps(self._network.tables(timestep)))
        turns = self._turns.get((height, width), lambda: self._turn(height, width, latent.device))
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
        """Text and image tokens (B * S, D) in one new matrix."""
        image = self._network.x_embedder(pack(latent))  # (B, T, D)
        text = self._text.expand(sequences.batch, -1, -1)
        return torch.cat([text, image], 1).flatten(0, 1)

    def _turn(self, height: int, width: int, device: torch.device) -> Turns:
        """Rotations of a sequence's positions: text lies at the origin and is not turned."""
        cosines, sines = self._network.positions(image_ids(height, width, device=device))
        text = (len(self._text), 0)
        return Turns(
            F.pad(cosines[:, ::2].float(), (0, 0, *text), value=1.0).contiguous(),
            F.pad(sines[:, ::2].float(), (0, 0, *text)).contiguous(),
        )


class _FastDouble:
    """Image and text with weights of their own, attending to each other."""

    def __init__(self, block: DoubleBlock, eight_bits: bool) -> None:
        self._image = _FastStream(block.image, eight_bits)
        self._text = _FastStream(block.text, eight_bits)
        heads = block.image.heads
        self._norms = torch.stack([block.text.heads.weight, heads.weight])[:, :, 0]  # (2, 2, hd)
        self._eps, self._heads = heads.eps, heads.heads
        self.first = self._image.qkv.wanted | self._text.qkv.wanted
        self.second = self._image.up.wanted | self._text.up.wanted

    def layers(self) -> Iterator[tuple[str, RowLinear]]:
        """Each layer by the name that it has in a `DoubleBlock`."""
        for name, stream in (('image', self._image), ('text', self._text)):
            yield f'{name}.heads.qkv', stream.qkv
            yield from ((f'{name}.{part}', getattr(stream, part)) for part in ('out', 'up', 'down'))

    def attend(self, rows: Rows, sequences: Sequences, turns: Turns, backend: Any) -> Tensor:
        """What attention brings (B * S, D)."""
        heads = _both(rows, sequences, self._text.qkv, self._image.qkv)
        heads = heads.view(len(heads), 3, self._heads, -1)
        norm_rotate(heads, sequences, self._norms, turns, self._eps)
        attended = attend(*_unbound(heads, sequences), backend)
        joined = _forms(attended, self._image.out, self._text.out)
        return _both(joined, sequences, self._text.out, self._image.out)

    def feed_forward(self, rows: Rows, sequences: Sequences) -> Tensor:
        """What the feed forward branch brings (B * S, D)."""
        hidden = _activated(rows, sequences, self._text.up, self._image.up, self._image.down)
        return _both(hidden, sequences, self._text.down, self._image.down)


class _FastStream:
    """The layers of one stream."""

    def __init__(self, stream: Stream, eight_bits: bool) -> None:
        self.qkv = row_linear(cast('Any', stream.heads.qkv), eight_bits=eight_bits)
        self.out = row_linear(cast('Any', stream.out), eight_bits=eight_bits)
        self.up = row_linear(cast('Any', stream.up), eight_bits=eight_bits)
        self.down = row_linear(cast('Any', stream.down), eight_bits=eight_bits)


class _FastSingle:
    """Attention and feed forward side by side, on text and image in one row."""

    def __init__(self, block: SingleBlock, eight_bits: bool) -> None:
        heads: Heads = block.heads
        self._qkv = row_linear(cast('Any', heads.qkv), eight_bits=eight_bits)
        self._up = row_linear(cast('Any', block.up), eight_bits=eight_bits)
        self._down = row_linear(cast('Any', block.down), eight_bits=eight_bits)
        self._norms = heads.weight[:, 0].expand(2, 2, -1).contiguous()  # (2, 2, hd)
        self._eps, self._heads = heads.eps, heads.heads
        self._width = heads.qkv.in_features
        self.wanted = self._qkv.wanted | self._up.wanted
        if isinstance(self._down, PlainLinear):
            self._parts = self._down.inputs(0, self._width), self._down.inputs(self._width)

    def layers(self) -> Iterator[tuple[str, RowLinear]]:
        """Each layer by the name that it has in a `SingleBlock`."""
        yield from (('heads.qkv', self._qkv), ('up', self._up), ('down', self._down))

    def run(self, rows: Rows, sequences: Sequences, turns: Turns, backend: Any) -> Tensor:
        """What the block brings to all rows (B * S, D)."""
        heads = self._qkv(rows).view(-1, 3, self._heads, self._width // self._heads)
        norm_rotate(heads, sequences, self._norms, turns, self._eps)
        return self._finish(attend(*_unbound(heads, sequences), backend), rows)

    def run_image(self, rows: Rows, sequences: Sequences, turns: Turns, backend: Any) -> Tensor:
        """What the block brings to the image's rows (B * T, D); nobody reads the text's."""
        count = sequences.batch * sequences.length
        # The text's queries are never written and never read.
        heads = torch.empty(
            count, 3 * self._width, dtype=self._norms.dtype, device=self._norms.device
        )
        text, image = (sequences.rows(rows, of_text=kind) for kind in (True, False))
        keys_and_values = self._qkv.outputs(self._width)(text)
        each = heads.view(sequences.batch, sequences.length, -1)
        goal = each[:, : sequences.text, self._width :]
        goal.copy_(keys_and_values.view(goal.shape))
        sequences.put(heads, self._qkv(image), of_text=False)
        heads = heads.view(count, 3, self._heads, -1)
        norm_rotate(heads, sequences, self._norms, turns, self._eps)
        queries, keys, values = _unbound(heads, sequences)
        return self._finish(attend(queries[:, sequences.text :], keys, values, backend), image)

    def _finish(self, attended: Tensor, rows: Rows) -> Tensor:
        if isinstance(self._down, PlainLinear):
            first, second = self._parts
            hidden = _through_gelu(self._up, rows)
            # The two halves of the joined input are multiplied in turn: it is never written.
            return second.added(Rows(hidden), first(Rows(attended)))
        return self._down(gelu_quantize(attended, self._up(rows)))


def _steps(tables: Tables) -> _Steps:
    return _Steps(
        [(_double(table, 'attention'), _double(table, 'feed_forward')) for table in tables.doubles],
        [_stage(table, table) for table in tables.singles],
        Affine(
            torch.stack([tables.last.scale, tables.last.scale]),
            torch.stack([tables.last.shift, tables.last.shift]),
        ),
    )


def _double(table: DoubleTable, branch: str) -> _Stage:
    def chosen(stream: StreamTable) -> Branch:
        return cast('Branch', getattr(stream, branch))

    return _stage(chosen(table.text), chosen(table.image))


def _stage(text: Branch, image: Branch) -> _Stage:
    return _Stage(
        Affine(
            torch.stack([text.affine.scale, image.affine.scale]),
            torch.stack([text.affine.shift, image.affine.shift]),
        ),
        torch.stack([text.gate, image.gate]),
    )


def _unbound(heads: Tensor, sequences: Sequences) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (B, S, H, hd) of (B * S, 3, H, hd), as views."""
    queries, keys, values = heads.unflatten(0, (sequences.batch, sequences.length)).unbind(2)
    return queries, keys, values


def _both(rows: Rows, sequences: Sequences, text: RowLinear, image: RowLinear) -> Tensor:
    """Text rows through one layer and image rows through the other: (B * S, out)."""
    first = sequences.rows(rows, of_text=True)
    second = sequences.rows(rows, of_text=False)
    if sequences.batch > 1:
        halves = [text(first), image(second)]
        whole = torch.cat([part.view(sequences.batch, -1, part.shape[1]) for part in halves], 1)
        return whole.flatten(0, 1)
    whole = image.room(sequences.length)
    text(first, sequences.place(whole, of_text=True))
    image(second, sequences.place(whole, of_text=False))
    return whole


def _forms(values: Tensor, *layers: RowLinear) -> Rows:
    """Rows in the forms that layers read."""
    wanted = layers[0].wanted
    for layer in layers[1:]:
        wanted |= layer.wanted
    return Rows(
        values if wanted.plain else None,
        *(quantize(values) if wanted.quantized else (None, None)),
    )


def _through_gelu(layer: RowLinear, rows: Rows) -> Tensor:
    """A layer and GELU; in the precision of the tokens the product computes it on its way out."""
    if isinstance(layer, PlainLinear):
        return layer.activated(rows)
    return F.gelu(layer(rows), approximate='tanh')


def _activated(
    rows: Rows, sequences: Sequences, text: RowLinear, image: RowLinear, down: RowLinear
) -> Rows:
    """Both streams through their first feed forward layer and GELU, as the second wants it."""
    if isinstance(down, QuantizedLinear):
        return gelu_quantize(None, _both(rows, sequences, text, image))
    halves = [
        _through_gelu(layer, sequences.rows(rows, of_text=of_text))
        for layer, of_text in ((text, True), (image, False))
    ]
    each = [part.view(sequences.batch, -1, part.shape[1]) for part in halves]
    return _forms(torch.cat(each, 1).flatten(0, 1), down)
