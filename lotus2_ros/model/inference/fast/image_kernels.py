"""Triton kernels for the autoencoder's channels-last images: norms, sums on their way, softmax.

The sums are taken in an order that depends on the sizes alone: the same image, the same bytes.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def moments_kernel(
    image,  # (B, P, C): P pixels
    added,  # (B, P, C): added to the image first, where it is
    bias,  # (C,) float32: likewise
    partial,  # (B, programs, 2, C) float32: sums and sums of squares of a program's pixels
    pixels,  # P
    channels,  # C
    ADDED: tl.constexpr,
    BIASED: tl.constexpr,
    ROWS: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sums over ROWS * STEPS pixels of every channel of image + added + bias.

    Where there is something added, the image becomes the sum.
    """
    part = tl.program_id(0).to(tl.int64)
    batch = tl.program_id(1).to(tl.int64)
    channel = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)[None, :]
    known = channel < channels
    offset = tl.zeros((1, BLOCK), tl.float32)
    if BIASED:
        offset = tl.load(bias + channel, mask=known, other=0.0)
    total = tl.zeros((ROWS, BLOCK), tl.float32)
    squares = tl.zeros((ROWS, BLOCK), tl.float32)
    for step in range(STEPS):
        pixel = (part * STEPS + step) * ROWS + tl.arange(0, ROWS)[:, None]
        mask = known & (pixel < pixels)
        places = (batch * pixels + pixel) * channels + channel
        x = tl.load(image + places, mask=mask, other=0.0).to(tl.float32)
        if ADDED:
            x += tl.load(added + places, mask=mask, other=0.0).to(tl.float32)
        if BIASED:
            x += offset
        if ADDED:
            x = x.to(image.dtype.element_ty)
            tl.store(image + places, x, mask=mask)
            x = x.to(tl.float32)
        if BIASED:
            x = tl.where(mask, x, 0.0)
        total += x
        squares += x * x
    column = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    start = (batch * tl.num_programs(0) + part) * 2 * channels
    tl.store(partial + start + column, tl.sum(total, 0), mask=column < channels)
    tl.store(partial + start + channels + column, tl.sum(squares, 0), mask=column < channels)


@triton.jit
def factors_kernel(
    partial,  # (B, parts, 2, C)
    weight,  # (C,)
    shifts,  # (C,)
    bias,  # (C,) float32: still to be added to the image, where it is
    factors,  # (B, 2, C) float32: what to multiply by, what to add
    parts,
    channels,  # C
    each,  # channels of a group
    count,  # values of a group
    eps,
    BIASED: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Turn a group's sums into each channel's scale and shift."""
    group = tl.program_id(0)
    batch = tl.program_id(1).to(tl.int64)
    inside = tl.arange(0, BLOCK)
    known = inside < each
    channel = group * each + inside
    total = tl.zeros((PARTS, BLOCK), tl.float32)
    squares = tl.zeros((PARTS, BLOCK), tl.float32)
    for first in range(0, parts, PARTS):
        part = first + tl.arange(0, PARTS)[:, None]
        mask = (part < parts) & known[None, :]
        place = (batch * parts + part) * 2 * channels + channel[None, :]
        total += tl.load(partial + place, mask=mask, other=0.0)
        squares += tl.load(partial + place + channels, mask=mask, other=0.0)
    mean = tl.sum(tl.sum(total, 0), 0) / count
    variance = tl.maximum(tl.sum(tl.sum(squares, 0), 0) / count - mean * mean, 0.0)
    inverse = 1.0 / tl.sqrt(variance + eps)
    scale = tl.load(weight + channel, mask=known, other=0.0).to(tl.float32) * inverse
    if BIASED:
        mean -= tl.load(bias + channel, mask=known, other=0.0)
    shift = tl.load(shifts + channel, mask=known, other=0.0).to(tl.float32) - mean * scale
    tl.store(factors + batch * 2 * channels + channel, scale, mask=known)
    tl.store(factors + (batch * 2 + 1) * channels + channel, shift, mask=known)


@triton.jit
def scale_silu_kernel(
    image,  # (B, P, C)
    factors,  # (B, 2, C) float32
    out,  # (B, P, C)
    total,  # P * C
    channels,  # C
    ACTIVE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """silu(image * scale + shift)."""
    batch = tl.program_id(1).to(tl.int64)
    inside = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = inside < total
    channel = inside % channels
    x = tl.load(image + batch * total + inside, mask=mask, other=0.0).to(tl.float32)
    scale = tl.load(factors + batch * 2 * channels + channel, mask=mask, other=0.0)
    shift = tl.load(factors + (batch * 2 + 1) * channels + channel, mask=mask, other=0.0)
    y = x * scale + shift
    if ACTIVE:
        y = y * tl.sigmoid(y)
    tl.store(out + batch * total + inside, y.to(out.dtype.element_ty), mask=mask)


@triton.jit
def sum_kernel(
    image,  # (B, P, C): P pixels
    added,  # (B, P, C)
    bias,  # (C,) float32
    out,  # (B, P, C)
    total,  # B * P * C
    channels,  # C
    ADDED: tl.constexpr,
    BIASED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write image + added + bias."""
    places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = places < total
    x = _summed(image, added, bias, places, places % channels, mask, ADDED, BIASED)
    tl.store(out + places, x.to(out.dtype.element_ty), mask=mask)


@triton.jit
def pad_kernel(
    image,  # (B, H, W, C)
    added,  # (B, H, W, C)
    bias,  # (C,) float32
    out,  # (B, H + 1, W + 1, C)
    total,  # (H + 1) * (W + 1) * C
    height,  # H
    width,  # W
    channels,  # C
    ADDED: tl.constexpr,
    BIASED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write image + added + bias with a row of zeros below and a column of them at the right."""
    batch = tl.program_id(1).to(tl.int64)
    inside = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    channel = inside % channels
    pixel = inside // channels
    row = pixel // (width + 1)
    column = pixel % (width + 1)
    known = (row < height) & (column < width)
    source = ((batch * height + row) * width + column) * channels + channel
    x = _summed(image, added, bias, source, channel, known, ADDED, BIASED)
    x = tl.where(known, x, 0.0).to(out.dtype.element_ty)
    tl.store(out + batch * total + inside, x, mask=inside < total)


@triton.jit
def _summed(image, added, bias, places, channel, mask, ADDED: tl.constexpr, BIASED: tl.constexpr):
    x = tl.load(image + places, mask=mask, other=0.0).to(tl.float32)
    if ADDED:
        x += tl.load(added + places, mask=mask, other=0.0).to(tl.float32)
    if BIASED:
        x += tl.load(bias + channel, mask=mask, other=0.0)
    return x


@triton.jit
def softmax_kernel(
    scores,  # (N, T) float32
    out,  # (N, T)
    width,  # T
    factor,
    BLOCK: tl.constexpr,
):
    """softmax(scores * factor), a row a program."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < width
    x = tl.load(scores + row * width + columns, mask=mask, other=float('-inf')) * factor
    x = tl.exp(x - tl.max(x, 0))
    tl.store(out + row * width + columns, (x / tl.sum(x, 0)).to(out.dtype.element_ty), mask=mask)
