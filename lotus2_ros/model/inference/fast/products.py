"""Matrix products in 8 bits: on a GPU by its tensor cores, the same arithmetic elsewhere."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lotus2_ros.model.inference.fast import operations
from lotus2_ros.model.inference.fast.rows import QuantizedRows

_SCALES_ALIGNED = 16
"""Bytes; cuBLAS refuses scales that begin elsewhere."""

_LEAST_ROWS = 128
"""With fewer, cuBLAS has no float8 product with a scale for each row at some widths of FLUX."""


class Tiles(NamedTuple):
    """What a program of the int8 product computes, and how.

    Attributes:
        rows: of its piece of the result; a power of two from 16 up.
        outputs: likewise.
        inputs: that it adds up at a time; a power of two from 32 up.
        warps: that share the work.
        stages: of inputs that are on their way at a time, each rows + outputs wide.
    """

    rows: int
    outputs: int
    inputs: int
    warps: int
    stages: int


TILES = (
    (64, Tiles(rows=64, outputs=64, inputs=128, warps=4, stages=4)),
    (None, Tiles(rows=128, outputs=128, inputs=128, warps=8, stages=3)),
)
"""Most rows of a product, and its tiles; the first that fits. Results do not depend on them.

The last is for FLUX's own products, the first for a text of which little is left. They take 64 KiB
of shared memory at most, on Hopper 96; a program may have 99 KiB on every GPU that runs them.
"""

_GROUP = 8
"""Rows of tiles that are worked on together, so that a weight is read once for all of them."""


def scaled_product(
    rows: QuantizedRows,
    weight: Tensor,
    scale: Tensor,
    sums: Tensor | None,
    bias: Tensor,
    out: Tensor | None,
) -> Tensor:
    """Multiply rows in 8 bits with a weight in the same format: (N, out) in the bias's precision.

    Args:
        rows: (N, in).
        weight: (out, in) in 8 bits, contiguous.
        scale: (1, out) float32 of its rows.
        sums: (out,) int32 of its rows, where it is of whole numbers.
        bias: (out,).
        out: written to where given, (N, out).
    """
    if rows.values.dtype != weight.dtype:
        raise ValueError(f'rows in {rows.values.dtype} meet a weight in {weight.dtype}')
    if rows.offsets is None or sums is None:
        return _floating_product(rows, weight, scale, bias, out)
    if operations.runs_kernels(rows.values):
        return _whole_product(rows, weight, scale, sums, bias, out)
    # float64 holds all whole numbers that a GPU's int32 does: no sum has an error.
    product = rows.values.double() @ weight.double().t()
    product += rows.offsets.double()[:, None] * sums.double()
    return _scaled(product.float(), rows, scale, bias, out)


def _scaled(
    product: Tensor, rows: QuantizedRows, scale: Tensor, bias: Tensor, out: Tensor | None
) -> Tensor:
    result = (product * rows.scales[:, None] * scale + bias.float()).to(bias.dtype)
    return result if out is None else out.copy_(result)


def _whole_product(
    rows: QuantizedRows,
    weight: Tensor,
    scale: Tensor,
    sums: Tensor,
    bias: Tensor,
    out: Tensor | None,
) -> Tensor:
    count, inputs = rows.values.shape
    outputs = len(weight)
    if out is None:
        out = bias.new_empty(count, outputs)
    if not (rows.values.is_contiguous() and weight.is_contiguous() and out.stride(1) == 1):
        raise ValueError('products of whole numbers want rows and weights without gaps')
    tiles = next(tiles for most, tiles in TILES if most is None or count <= most)
    kernels = importlib.import_module('lotus2_ros.model.inference.fast.product_kernels')
    kernels.int8_product_kernel[(-(-count // tiles.rows) * -(-outputs // tiles.outputs),)](
        rows.values,
        weight,
        rows.scales,
        rows.offsets,
        scale,
        sums,
        bias,
        out,
        count,
        outputs,
        inputs,
        out.stride(0),
        ROWS=tiles.rows,
        OUTPUTS=tiles.outputs,
        INPUTS=tiles.inputs,
        GROUP=_GROUP,
        EVEN=inputs % tiles.inputs == 0,
        num_warps=tiles.warps,
        num_stages=tiles.stages,
        enable_fp_fusion=False,  # scales and bias with the roundings that they have elsewhere
    )
    return out


def _floating_product(
    rows: QuantizedRows, weight: Tensor, scale: Tensor, bias: Tensor, out: Tensor | None
) -> Tensor:
    if not operations.runs_kernels(rows.values):
        return _scaled(rows.values.float() @ weight.float().t(), rows, scale, bias, out)
    count = len(rows.values)
    if count < _LEAST_ROWS:
        padded = _floating_product(_with_more_rows(rows), weight, scale, bias, None)[:count]
        return padded if out is None else out.copy_(padded)
    options: dict[str, Any] = {} if out is None else {'out': out}
    scales = rows.scales
    if scales.data_ptr() % _SCALES_ALIGNED:  # behind a text of an odd number of tokens
        scales = scales.clone()
    return torch._scaled_mm(
        rows.values,
        weight.t(),
        scale_a=scales[:, None],
        scale_b=scale,
        bias=bias,
        out_dtype=bias.dtype,
        use_fast_accum=True,
        **options,
    )


def _with_more_rows(rows: QuantizedRows) -> QuantizedRows:
    """Rows in float8 with others behind, whose results nobody reads."""
    count, width = rows.values.shape
    values = rows.values.new_empty(_LEAST_ROWS, width)
    scales = rows.scales.new_ones(_LEAST_ROWS)
    values.view(torch.uint8).zero_()
    values[:count].view(torch.uint8).copy_(rows.values.view(torch.uint8))
    scales[:count].copy_(rows.scales)
    return QuantizedRows(values, scales, None)
