"""FLUX's blocks over rows: text and image in one matrix, joined where the products allow it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor

from lotus2_ros.model.inference.blocks import DoubleBlock, Heads, SingleBlock, Stream
from lotus2_ros.model.inference.fast.attention import attend
from lotus2_ros.model.inference.fast.linear import PlainLinear, RowLinear, row_linear
from lotus2_ros.model.inference.fast.operations import (
    Turns,
    gelu_join,
    gelu_quantize,
    norm_rotate,
    quantized,
)
from lotus2_ros.model.inference.fast.rows import Rows, Sequences
from lotus2_ros.model.inference.quantization import EightBitFormat


class FastDouble:
    """Image and text with weights of their own, attending to each other."""

    def __init__(self, block: DoubleBlock, eight_bits: EightBitFormat | None) -> None:
        """Take over a block's weights; quantise them if asked."""
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
        attended = attend(*_unbound(heads, sequences, turns), backend)
        joined = _forms(attended, self._image.out, self._text.out)
        return _both(joined, sequences, self._text.out, self._image.out)

    def feed_forward(self, rows: Rows, sequences: Sequences) -> Tensor:
        """What the feed forward branch brings (B * S, D)."""
        hidden = _activated(rows, sequences, self._text, self._image)
        return _both(hidden, sequences, self._text.down, self._image.down)


class _FastStream:
    """The layers of one stream."""

    def __init__(self, stream: Stream, eight_bits: EightBitFormat | None) -> None:
        self.qkv = row_linear(cast('Any', stream.heads.qkv), eight_bits)
        self.out = row_linear(cast('Any', stream.out), eight_bits)
        self.up = row_linear(cast('Any', stream.up), eight_bits)
        self.down = row_linear(cast('Any', stream.down), eight_bits)


class FastSingle:
    """Attention and feed forward side by side, on text and image in one row."""

    def __init__(self, block: SingleBlock, eight_bits: EightBitFormat | None) -> None:
        """Take over a block's weights; quantise them if asked."""
        heads: Heads = block.heads
        self._qkv = row_linear(cast('Any', heads.qkv), eight_bits)
        self._up = row_linear(cast('Any', block.up), eight_bits)
        self._down = row_linear(cast('Any', block.down), eight_bits)
        self._norms = heads.weight[:, 0].expand(2, 2, -1).contiguous()  # (2, 2, hd)
        self._eps, self._heads = heads.eps, heads.heads
        self._width = heads.qkv.in_features
        self.wanted = self._qkv.wanted | self._up.wanted

    def layers(self) -> Iterator[tuple[str, RowLinear]]:
        """Each layer by the name that it has in a `SingleBlock`."""
        yield from (('heads.qkv', self._qkv), ('up', self._up), ('down', self._down))

    def run(self, rows: Rows, sequences: Sequences, turns: Turns, backend: Any) -> Tensor:
        """What the block brings to all rows (B * S, D)."""
        heads = self._qkv(rows).view(-1, 3, self._heads, self._width // self._heads)
        norm_rotate(heads, sequences, self._norms, turns, self._eps)
        return self._finish(attend(*_unbound(heads, sequences, turns), backend), rows)

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
        queries, keys, values = _unbound(heads, sequences, turns)
        return self._finish(attend(queries[:, sequences.text :], keys, values, backend), image)

    def _finish(self, attended: Tensor, rows: Rows) -> Tensor:
        # GELU in a pass of its own: that pass has to join both halves anyway, and one product of
        # five widths is faster than two of one and four.
        hidden = self._up(rows)
        eight_bits = self._down.wanted.eight_bits
        if eight_bits is None:
            return self._down(Rows(gelu_join(attended, hidden)))
        return self._down(gelu_quantize(attended, hidden, eight_bits))


def _unbound(heads: Tensor, sequences: Sequences, turns: Turns) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (B, S, H, hd), keys and values (B, S', H, hd) of (B * S, 3, H, hd).

    Views, but for keys and values of tokens that stand for several.
    """
    each = heads.unflatten(0, (sequences.batch, sequences.length))
    queries, keys, values = each.unbind(2)
    if turns.copies is not None:
        keys, values = each[:, :, 1:].index_select(1, turns.copies).unbind(2)
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
    return Rows(values if wanted.plain else None, quantized(values, wanted))


def _activated(rows: Rows, sequences: Sequences, text: _FastStream, image: _FastStream) -> Rows:
    """Both streams through their first feed forward layer and GELU, as the second wants it."""
    wanted = image.down.wanted | text.down.wanted
    if wanted.eight_bits is not None and not wanted.plain:
        hidden = _both(rows, sequences, text.up, image.up)
        return gelu_quantize(None, hidden, wanted.eight_bits)
    if sequences.batch == 1 and all(isinstance(s.up, PlainLinear) for s in (text, image)):
        hidden = image.up.room(sequences.length)
        for stream, of_text in ((text, True), (image, False)):
            place = sequences.place(hidden, of_text=of_text)
            cast('PlainLinear', stream.up).activated(
                sequences.rows(rows, of_text=of_text), cast('Tensor', place)
            )
    else:
        hidden = gelu_join(None, _both(rows, sequences, text.up, image.up))
    return _forms(hidden, image.down, text.down)
