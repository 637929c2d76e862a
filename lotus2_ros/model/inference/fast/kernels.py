"""Triton kernels for what lies between the matrix products: each chain in one pass over memory.

All of them see tokens as rows of one contiguous matrix and compute in float32. Rows of text and of
image may have constants of their own: a row's kind follows from its place in its sequence.
"""

from __future__ import annotations

import triton
import triton.language as tl

FP8_LARGEST: tl.constexpr = tl.constexpr(448.0)
"""What the largest magnitude of a row becomes."""

INT8_LARGEST: tl.constexpr = tl.constexpr(127.0)
"""What the largest number of a row becomes; the least becomes its negative."""

TO_WHOLE: tl.constexpr = tl.constexpr(12582912.0)  # 1.5 * 2^23
"""A float32 of this size has no digits behind the point."""

NO_SIGN: tl.constexpr = tl.constexpr(0x7FFFFFFF)
"""The bits of a float32 but for its sign."""

SMALLEST_SCALE: tl.constexpr = tl.constexpr(1e-12)
"""Of a row of zeros, which has no scale."""

GELU_SLOPE: tl.constexpr = tl.constexpr(1.5957691216057308)  # 2 sqrt(2 / pi)
GELU_CUBIC: tl.constexpr = tl.constexpr(0.044715)


@triton.jit
def gelu(x):
    """GELU by its tanh approximation: (1 + tanh(y)) / 2 = sigmoid(2 y)."""
    return x * tl.sigmoid((x + x * x * x * GELU_CUBIC) * GELU_SLOPE)


@triton.jit
def to_whole(x):
    """Round magnitudes below 2^22 to whole numbers, halves to even."""
    return x + TO_WHOLE - TO_WHOLE


@triton.jit
def in_order(bits):
    """Bits of a float32 to whole numbers in the same order, and back: what is no number is last."""
    return bits ^ ((bits >> 31) & NO_SIGN)


@triton.jit
def store_quantized(values, mask, places, out, scales, offsets, row):
    """Write a row in the 8 bits of `out`, its scale, and its offset where those are whole numbers.

    What is not finite makes such a scale: whole numbers cannot say so themselves, and a maximum of
    float32 leaves out what is no number.
    """
    bits = tl.where(mask, values, 0.0).to(tl.int32, bitcast=True)
    if out.dtype.element_ty == tl.int8:
        bits = in_order(bits)
        least = in_order(tl.minimum(tl.min(bits, 0), 0)).to(tl.float32, bitcast=True)
        most = in_order(tl.maximum(tl.max(bits, 0), 0)).to(tl.float32, bitcast=True)
        scale = tl.div_rn(most - least, 2 * INT8_LARGEST)
        scale = tl.where(scale < SMALLEST_SCALE, SMALLEST_SCALE, scale)
        # `div_rn` rounds by itself: no compiler makes one operation of it and a sum that follows.
        offset = to_whole(tl.div_rn((most + least) * 0.5, scale))
        tl.store(offsets + row, offset.to(tl.int32))
        scaled = to_whole(tl.div_rn(values, scale)) - offset
        scaled = tl.minimum(tl.maximum(scaled, -INT8_LARGEST), INT8_LARGEST)
    else:
        peak = tl.max(bits & NO_SIGN, 0).to(tl.float32, bitcast=True)
        scale = tl.div_rn(peak, FP8_LARGEST)
        scale = tl.where(scale < SMALLEST_SCALE, SMALLEST_SCALE, scale)
        scaled = values / scale
    tl.store(scales + row, scale)
    tl.store(out + places, scaled.to(out.dtype.element_ty), mask=mask)


@triton.jit
def add_norm_kernel(
    tokens,  # (N, D), overwritten with the sum where there is an update
    update,  # (N, D): what a branch brought
    gate,  # (2, D): of text rows, of image rows
    scale,  # (2, D): one is added already
    shift,  # (2, D)
    out,  # (N, D): modulated, in the type of the tokens
    quantized,  # (N, D) in 8 bits, modulated
    scales,  # (N,) float32, of the rows of `quantized`
    offsets,  # (N,) int32, likewise, where those are whole numbers
    sequence,  # rows of one sequence
    text,  # the first so many rows of a sequence are text
    width,  # D
    eps,
    UPDATED: tl.constexpr,
    NORMED: tl.constexpr,
    PLAIN: tl.constexpr,
    QUANTIZED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """tokens += gate * update; out = layer_norm(tokens) * scale + shift, one row a program."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < width
    places = row * width + columns
    constants = tl.where(row % sequence < text, 0, 1) * width + columns
    x = tl.load(tokens + places, mask=mask, other=0.0).to(tl.float32)
    if UPDATED:
        added = tl.load(update + places, mask=mask, other=0.0).to(tl.float32)
        x += tl.load(gate + constants, mask=mask, other=0.0).to(tl.float32) * added
        x = x.to(tokens.dtype.element_ty)
        tl.store(tokens + places, x, mask=mask)
        x = x.to(tl.float32)
    if NORMED:
        centred = tl.where(mask, x - tl.sum(x, 0) / width, 0.0)
        inverse = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / width + eps)
        factor = tl.load(scale + constants, mask=mask, other=0.0).to(tl.float32)
        offset = tl.load(shift + constants, mask=mask, other=0.0).to(tl.float32)
        y = centred * inverse * factor + offset
        if PLAIN:
            tl.store(out + places, y.to(out.dtype.element_ty), mask=mask)
        if QUANTIZED:
            store_quantized(y, mask, places, quantized, scales, offsets, row)


@triton.jit
def norm_rotate_kernel(
    heads,  # (N, 3, H, hd): queries and keys are overwritten
    weights,  # (2, 2, hd): of text and image; of queries and keys
    cosines,  # (sequence, hd / 2) float32
    sines,  # (sequence, hd / 2) float32
    sequence,
    text,
    count,  # H
    eps,
    HALF: tl.constexpr,  # hd / 2, a power of two
    HEADS: tl.constexpr,  # a power of two of at least H
):
    """Divide by the root mean square, weigh, turn neighbouring pairs: a row's queries or keys."""
    row = tl.program_id(0).to(tl.int64)
    which = tl.program_id(1)
    position = row % sequence
    head = tl.arange(0, HEADS)[:, None]
    feature = tl.arange(0, 2 * HALF)[None, :]
    mask = (head < count) & (feature < 2 * HALF)
    places = ((row * 3 + which) * count + head) * (2 * HALF) + feature
    x = tl.load(heads + places, mask=mask, other=0.0).to(tl.float32)
    inverse = 1.0 / tl.sqrt(tl.sum(x * x, 1) / (2 * HALF) + eps)
    kind = tl.where(position < text, 0, 1)
    weight = tl.load(weights + (kind * 2 + which) * (2 * HALF) + feature).to(tl.float32)
    x = x * inverse[:, None] * weight
    even, odd = tl.split(tl.reshape(x, (HEADS, HALF, 2)))
    pair = tl.arange(0, HALF)[None, :]
    cosine = tl.load(cosines + position * HALF + pair)
    sine = tl.load(sines + position * HALF + pair)
    turned = tl.join(even * cosine - odd * sine, even * sine + odd * cosine)
    turned = tl.reshape(turned, (HEADS, 2 * HALF))
    tl.store(heads + places, turned.to(heads.dtype.element_ty), mask=mask)


@triton.jit
def gelu_quantize_kernel(
    attended,  # (N, A): goes first into a row; A may be 0
    hidden,  # (N, F): goes through GELU and comes behind
    out,  # (N, A + F) in 8 bits
    scales,  # (N,) float32
    offsets,  # (N,) int32, of whole numbers
    before,  # A
    behind,  # F
    BLOCK: tl.constexpr,
):
    """Join what attention gave with the activated hidden features, and quantise the row."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    first = columns < before
    mask = columns < before + behind
    a = tl.load(attended + row * before + columns, mask=first, other=0.0).to(tl.float32)
    second = mask & (columns >= before)
    h = tl.load(hidden + row * behind + columns - before, mask=second, other=0.0).to(tl.float32)
    values = tl.where(first, a, gelu(h))
    places = row * (before + behind) + columns
    store_quantized(values, mask, places, out, scales, offsets, row)


@triton.jit
def gelu_join_kernel(
    attended,  # (N, A): goes first into a row; A may be 0
    hidden,  # (N, F): goes through GELU and comes behind
    out,  # (N, A + F)
    before,  # A
    behind,  # F
    BLOCK: tl.constexpr,
):
    """Join what attention gave with the activated hidden features."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    first = columns < before
    mask = columns < before + behind
    a = tl.load(attended + row * before + columns, mask=first, other=0.0).to(tl.float32)
    second = mask & (columns >= before)
    h = tl.load(hidden + row * behind + columns - before, mask=second, other=0.0).to(tl.float32)
    values = tl.where(first, a, gelu(h)).to(out.dtype.element_ty)
    tl.store(out + row * (before + behind) + columns, values, mask=mask)


@triton.jit
def quantize_kernel(
    rows,  # (N, D), rows `pitch` apart
    out,  # (N, D) in 8 bits
    scales,  # (N,) float32
    offsets,  # (N,) int32, of whole numbers
    pitch,
    width,
    BLOCK: tl.constexpr,
):
    """Quantise rows."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < width
    values = tl.load(rows + row * pitch + columns, mask=mask, other=0.0).to(tl.float32)
    store_quantized(values, mask, row * width + columns, out, scales, offsets, row)
