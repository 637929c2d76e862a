"""A Triton kernel for products of whole numbers in 8 bits; no library has them with scales."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=['count'])  # differs from image to image
def int8_product_kernel(
    rows,  # (N, K) int8
    weight,  # (M, K) int8
    row_scales,  # (N,) float32
    row_offsets,  # (N,) int32
    weight_scales,  # (M,) float32
    weight_sums,  # (M,) int32: of its rows
    bias,  # (M,)
    out,  # (N, M), rows `pitch` apart
    count,  # N
    outputs,  # M
    inputs,  # K: a multiple of 16, at most 66 000, so that int32 holds the sums
    pitch,
    ROWS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr,
    GROUP: tl.constexpr,
    EVEN: tl.constexpr,  # K is a multiple of INPUTS
):
    """out = (rows + row_offsets) @ weight.T * row_scales * weight_scales + bias, in pieces.

    The sums are exact, so that neither sizes nor order of the pieces change a result.
    """
    # GROUP pieces below each other, then those to their right: what they read stays in the cache.
    program = tl.program_id(0)
    down, right = tl.cdiv(count, ROWS), tl.cdiv(outputs, OUTPUTS)
    first = program // (GROUP * right) * GROUP
    high = tl.minimum(down - first, GROUP)
    row = (first + program % (GROUP * right) % high) * ROWS + tl.arange(0, ROWS)
    column = program % (GROUP * right) // high * OUTPUTS + tl.arange(0, OUTPUTS)

    # Behind the end come rows from the beginning, whose products nobody stores: no mask is needed.
    inside = tl.arange(0, INPUTS)
    left = rows + (row % count).to(tl.int64)[:, None] * inputs + inside[None, :]
    above = weight + (column % outputs).to(tl.int64)[None, :] * inputs + inside[:, None]
    # What offsets bring comes first: behind the products it would take registers of its own, and
    # only half as many programs would run beside each other on an H100.
    is_row, is_column = row < count, column < outputs
    offset = tl.load(row_offsets + row, mask=is_row, other=0)
    weight_sum = tl.load(weight_sums + column, mask=is_column, other=0)
    sums = offset[:, None] * weight_sum[None, :]
    for start in range(0, inputs, INPUTS):
        if EVEN:
            a, b = tl.load(left), tl.load(above)
        else:
            a = tl.load(left, mask=inside[None, :] < inputs - start, other=0)
            b = tl.load(above, mask=inside[:, None] < inputs - start, other=0)
        sums = tl.dot(a, b, sums, out_dtype=tl.int32)
        left += INPUTS
        above += INPUTS

    scale = tl.load(row_scales + row, mask=is_row, other=0.0)
    weight_scale = tl.load(weight_scales + column, mask=is_column, other=0.0)
    added = tl.load(bias + column, mask=is_column, other=0.0).to(tl.float32)
    values = sums.to(tl.float32) * scale[:, None] * weight_scale[None, :] + added[None, :]
    places = row.to(tl.int64)[:, None] * pitch + column[None, :]
    tl.store(
        out + places, values.to(out.dtype.element_ty), mask=is_row[:, None] & is_column[None, :]
    )
