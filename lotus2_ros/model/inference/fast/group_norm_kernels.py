"""Triton kernels for the autoencoder: group norm and SiLU of channels-last images in two passes.

The sums are taken in an order that depends on the sizes alone: the same image, the same bytes.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def moments_kernel(
    image,  # (B, P, C): P pixels
    added,  # (B, P, C): added to the image first, where it is
    partial,  # (B, programs, 2, C) float32: sums and sums of squares of a program's pixels
    pixels,  # P
    channels,  # C
    ADDED: tl.constexpr,
    ROWS: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sums over ROWS * STEPS pixels of every channel; the image becomes image + added."""
    part = tl.program_id(0).to(tl.int64)
    batch = tl.program_id(1).to(tl.int64)
    channel = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)[None, :]
    known = channel < channels
    total = tl.zeros((ROWS, BLOCK), tl.float32)
    squares = tl.zeros((ROWS, BLOCK), tl.float32)
    for step in range(STEPS):
        pixel = (part * STEPS + step) * ROWS + tl.arange(0, ROWS)[:, None]
        mask = known & (pixel < pixels)
        places = (batch * pixels + pixel) * channels + channel
        x = tl.load(image + places, mask=mask, other=0.0).to(tl.float32)
        if ADDED:
            x += tl.load(added + places, mask=mask, other=0.0).to(tl.float32)
            x = x.to(image.dtype.element_ty)
            tl.store(image + places, x, mask=mask)
            x = x.to(tl.float32)
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
    bias,  # (C,)
    factors,  # (B, 2, C) float32: what to multiply by, what to add
    parts,
    channels,  # C
    each,  # channels of a group
    count,  # values of a group
    eps,
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
    shift = tl.load(bias + channel, mask=known, other=0.0).to(tl.float32) - mean * scale
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
