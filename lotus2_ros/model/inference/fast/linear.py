"""Linear layers over rows, in the precision of the tokens or in float8."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotus2_ros.errors import DeviceError
from lotus2_ros.model.inference.eight_bits import EightBitLinear
from lotus2_ros.model.inference.fast.operations import scaled_product
from lotus2_ros.model.inference.fast.rows import Rows, Wanted
from lotus2_ros.model.inference.low_rank import LowRankLinear
from lotus2_ros.model.inference.quantization import quantize_rows

PLAIN = Wanted(plain=True, quantized=False)
QUANTIZED = Wanted(plain=False, quantized=True)
EVEN_MULTIPLE = 16
"""float8 products want widths that are multiples of this."""


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
    """Weights in float8 with a scale for each output, rows in float8 with a scale for each row."""

    wanted = QUANTIZED

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor) -> None:
        """Take a weight (out, in) e4m3, its scales (out,) float32, and a bias (out,)."""
        self.weight, self.scale, self.bias = weight, scale.view(1, -1), bias

    @classmethod
    def rounded(cls, weight: Tensor, bias: Tensor) -> QuantizedLinear:
        """Quantise a weight (out, in)."""
        return cls(*quantize_rows(weight.float()), bias)

    def __call__(self, rows: Rows, out: Tensor | None = None) -> Tensor:
        """(N, in) to (N, out)."""
        return scaled_product(rows, self.weight, self.scale, self.bias, out)

    def room(self, count: int) -> Tensor:
        """See `RowLinear`."""
        return self.bias.new_empty(count, len(self.weight))

    def outputs(self, start: int, end: int | None = None) -> QuantizedLinear:
        """See `RowLinear`."""
        return QuantizedLinear(
            self.weight[start:end], self.scale[0, start:end], self.bias[start:end]
        )


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
    layer: nn.Linear | EightBitLinear | LowRankLinear, *, eight_bits: bool
) -> PlainLinear | QuantizedLinear | DifferenceLinear:
    """A layer over rows with a module's weights.

    Args:
        layer: its tensors are shared, unless its weight is quantised here.
        eight_bits: quantise it, where its widths allow; what is stored in 8 bits stays so anyway.

    Raises:
        DeviceError: its weight is stored in 8 bits and its widths do not allow products in float8.
    """
    base: PlainLinear | QuantizedLinear
    even = layer.in_features % EVEN_MULTIPLE == 0 and layer.out_features % EVEN_MULTIPLE == 0
    if isinstance(layer, EightBitLinear | LowRankLinear) and layer.weight_scale is not None:
        if not even:
            msg = (
                f'a layer of {layer.in_features} to {layer.out_features} features cannot be'
                f' multiplied in float8, which takes multiples of {EVEN_MULTIPLE}; set'
                ' acceleration to off'
            )
            raise DeviceError(msg)
        base = QuantizedLinear(layer.weight, layer.weight_scale, layer.bias)
    elif eight_bits and even:
        base = QuantizedLinear.rounded(layer.weight, layer.bias)
    else:
        base = PlainLinear(layer.weight, layer.bias)
    if isinstance(layer, LowRankLinear):
        return DifferenceLinear(base, layer.down, layer.up)
    return base
