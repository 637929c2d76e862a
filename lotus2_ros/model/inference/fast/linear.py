"""Linear layers over rows, in the precision of the tokens or in 8 bits."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotus2_ros.errors import DeviceError
from lotus2_ros.model.inference.eight_bits import EightBitLinear
from lotus2_ros.model.inference.fast.products import scaled_product
from lotus2_ros.model.inference.fast.rows import Rows, Wanted
from lotus2_ros.model.inference.low_rank import LowRankLinear
from lotus2_ros.model.inference.quantization import (
    INT8,
    EightBitFormat,
    format_of,
    quantize_rows,
)

PLAIN = Wanted(plain=True)


class RowLinear(Protocol):
    """A linear layer over rows."""

    @property
    def wanted(self) -> Wanted:
        """Forms of the rows that it reads."""

    def room(self, count: int) -> Tensor:
        """An unwritten matrix for the outputs (count, out)."""

    def __call__(self, rows: Rows, out: Tensor | None = None) -> Tensor:
        """(N, in) to (N, out), written to `out` where given."""

    def outputs(self, start: int, end: int | None = None) -> RowLinear:
        """The layer's outputs from `start` to before `end`, as a layer that shares its weights."""


class PlainLinear:
    """In the precision of the tokens."""

    wanted = PLAIN

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Take a weight (out, in) and a bias (out,)."""
        self.weight, self.bias = weight, bias

    def __call__(self, rows: Rows, out: Tensor | None = None) -> Tensor:
        """(N, in) to (N, out)."""
        assert rows.plain is not None
        if self.bias is None:
            return torch.mm(rows.plain, self.weight.t(), out=out)
        return torch.addmm(self.bias, rows.plain, self.weight.t(), out=out)

    def room(self, count: int) -> Tensor:
        """See `RowLinear`."""
        return self.weight.new_empty(count, len(self.weight))

    def activated(self, rows: Rows, out: Tensor) -> Tensor:
        """(N, in) to (N, out) through GELU, which the matrix product computes on its way out."""
        assert rows.plain is not None
        assert self.bias is not None
        if not rows.plain.is_cuda:  # there it is the other GELU, by the error function
            return out.copy_(F.gelu(self(rows), approximate='tanh'))
        weight = self.weight.t()
        return torch._addmm_activation(self.bias, rows.plain, weight, use_gelu=True, out=out)

    def outputs(self, start: int, end: int | None = None) -> PlainLinear:
        """See `RowLinear`."""
        return PlainLinear(
            self.weight[start:end], None if self.bias is None else self.bias[start:end]
        )


class QuantizedLinear:
    """Weights in 8 bits with a scale for each output, rows in the same with a scale for each."""

    def __init__(
        self, weight: Tensor, scale: Tensor, bias: Tensor, sums: Tensor | None = None
    ) -> None:
        """Take a weight.

        Args:
            weight: (out, in) in 8 bits.
            scale: (out,) float32.
            bias: (out,).
            sums: (out,) int32 of a weight of whole numbers, which offsets of rows are multiplied
                with; taken here where they are not given.
        """
        self.weight, self.scale, self.bias = weight, scale.view(1, -1), bias
        kind = format_of(weight)
        self.wanted = Wanted(plain=False, eight_bits=kind)
        if kind is INT8 and sums is None:
            sums = weight.sum(1, dtype=torch.int32)
        self.sums = sums

    @classmethod
    def rounded(cls, weight: Tensor, bias: Tensor, kind: EightBitFormat) -> QuantizedLinear:
        """Quantise a weight (out, in)."""
        return cls(*quantize_rows(weight.float(), kind), bias)

    def __call__(self, rows: Rows, out: Tensor | None = None) -> Tensor:
        """(N, in) to (N, out)."""
        assert rows.quantized is not None
        return scaled_product(rows.quantized, self.weight, self.scale, self.sums, self.bias, out)

    def room(self, count: int) -> Tensor:
        """See `RowLinear`."""
        return self.bias.new_empty(count, len(self.weight))

    def outputs(self, start: int, end: int | None = None) -> QuantizedLinear:
        """See `RowLinear`."""
        some = slice(start, end)
        sums = None if self.sums is None else self.sums[some]
        return QuantizedLinear(self.weight[some], self.scale[0, some], self.bias[some], sums)


class DifferenceLinear:
    """A layer of either kind plus a difference of low rank, in the precision of the tokens."""

    def __init__(self, base: PlainLinear | QuantizedLinear, down: Tensor, up: Tensor) -> None:
        """Take a layer and its difference.

        Args:
            base: shared with other networks.
            down: (G * R, in), of the G layers that are joined.
            up: (out, R).
        """
        self._base, self._down, self._up = base, down, up
        self.wanted = base.wanted | PLAIN

    def __call__(self, rows: Rows, out: Tensor | None = None) -> Tensor:
        """(N, in) to (N, out)."""
        assert rows.plain is not None
        result = self._base(rows, out)
        rank = self._up.shape[1]
        groups = len(self._down) // rank
        factors = torch.mm(rows.plain, self._down.t())  # (N, G * R)
        each = len(self._up) // groups
        for group in range(groups):
            chosen = slice(group * each, (group + 1) * each)
            part = factors[:, group * rank : (group + 1) * rank]
            result[:, chosen].addmm_(part, self._up[chosen].t())
        return result

    def room(self, count: int) -> Tensor:
        """See `RowLinear`."""
        return self._base.room(count)

    def outputs(self, start: int, end: int | None = None) -> DifferenceLinear:
        """See `RowLinear`; both ends lie where a joined layer begins."""
        rank = self._up.shape[1]
        each = len(self._up) // (len(self._down) // rank)
        stop = len(self._up) if end is None else end
        rows = slice(start // each * rank, stop // each * rank)
        return DifferenceLinear(
            self._base.outputs(start, end), self._down[rows], self._up[start:end]
        )


def row_linear(
    layer: nn.Linear | EightBitLinear | LowRankLinear, eight_bits: EightBitFormat | None = None
) -> PlainLinear | QuantizedLinear | DifferenceLinear:
    """A layer over rows with a module's weights.

    Args:
        layer: its tensors are shared, unless its weight is quantised here.
        eight_bits: quantise it to this format, where its widths allow; what is stored in 8 bits
            stays as it is anyway.

    Raises:
        DeviceError: its weight is stored in 8 bits and products of the format do not take its
            widths.
    """
    base: PlainLinear | QuantizedLinear
    widths = layer.in_features, layer.out_features
    if isinstance(layer, EightBitLinear | LowRankLinear) and layer.weight_scale is not None:
        kind = format_of(layer.weight)
        if not kind.takes(*widths):
            msg = (
                f'a layer of {widths[0]} to {widths[1]} features cannot be multiplied in'
                f' {kind.name}, which takes multiples of {kind.inputs} to multiples of'
                f' {kind.outputs}; set acceleration to off'
            )
            raise DeviceError(msg)
        base = QuantizedLinear(layer.weight, layer.weight_scale, layer.bias)
    elif eight_bits is not None and eight_bits.takes(*widths):
        base = QuantizedLinear.rounded(layer.weight, layer.bias, eight_bits)
    else:
        base = PlainLinear(layer.weight, layer.bias)
    if isinstance(layer, LowRankLinear):
        return DifferenceLinear(base, layer.down, layer.up)
    return base
