"""What lies between the matrix products: Triton kernels on a GPU, the same arithmetic elsewhere.

Elsewhere is for tests, which hold the kernels to it: each chain is computed in float32 and rounded
where the kernel rounds.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.model.inference.arithmetic import LAYER_NORM_EPS
from lotus2_ros.model.inference.fast.rows import Rows, Sequences, Wanted
from lotus2_ros.model.inference.quantization import EIGHT_BITS, LARGEST

SMALLEST_SCALE = 1e-12

_SCALES_ALIGNED = 16
"""Bytes; cuBLAS refuses scales that begin elsewhere."""

_LEAST_ROWS = 128
"""With fewer, cuBLAS has no float8 product with a scale for each row at some widths of FLUX."""

_JOINED = 2048
"""Features of a row that a program joins."""


class Affine(NamedTuple):
    """What follows a layer norm, for text rows and for image rows: each (2, D).

    Attributes:
        scale: one is added already.
        shift: as it is.
    """

    scale: Tensor
    shift: Tensor


class Update(NamedTuple):
    """What a branch brought (N, D), and its gates (2, D) for text rows and for image rows."""

    values: Tensor
    gate: Tensor


def runs_kernels(values: Tensor) -> bool:
    """Whether the kernels do what is to be done with these values."""
    return values.is_cuda


def add_norm(
    tokens: Tensor, sequences: Sequences, update: Update | None, affine: Affine, wanted: Wanted
) -> Rows:
    """Add a gated branch to the tokens, in place, then normalise and modulate them.

    Args:
        tokens: (N, D), contiguous; overwritten with the sum.
        sequences: where text and image lie.
        update: what is added; None adds nothing.
        affine: of the modulation.
        wanted: forms of the result.
    """
    if runs_kernels(tokens):
        return _add_norm_kernel(tokens, sequences, update, affine, wanted)
    index = _kinds(sequences, tokens.device)
    if update is not None:
        tokens += (update.gate.float()[index] * update.values.float()).to(tokens.dtype)
    normed = F.layer_norm(tokens.float(), tokens.shape[1:], eps=LAYER_NORM_EPS)
    result = normed * affine.scale.float()[index] + affine.shift.float()[index]
    plain = result.to(tokens.dtype) if wanted.plain else None
    return Rows(plain, *(quantize(result) if wanted.quantized else (None, None)))


def _add_norm_kernel(
    tokens: Tensor, sequences: Sequences, update: Update | None, affine: Affine, wanted: Wanted
) -> Rows:
    count, width = tokens.shape
    plain = torch.empty_like(tokens) if wanted.plain else None
    quantized, scales = _room(count, width, tokens.device) if wanted.quantized else (None, None)
    _kernels().add_norm_kernel[(count,)](
        tokens,
        tokens if update is None else update.values,
        affine.scale if update is None else update.gate,
        affine.scale,
        affine.shift,
        tokens if plain is None else plain,
        tokens if quantized is None else quantized,
        tokens if scales is None else scales,
        sequences.length,
        sequences.text,
        width,
        LAYER_NORM_EPS,
        UPDATED=update is not None,
        NORMED=wanted.plain or wanted.quantized,
        PLAIN=wanted.plain,
        QUANTIZED=wanted.quantized,
        BLOCK=_power_of_two(width),
        num_warps=8,
    )
    return Rows(plain, quantized, scales)


class Turns(NamedTuple):
    """Where tokens are.

    Attributes:
        cosines: (S, hd / 2) float32 of each position's angles; text is not turned.
        sines: likewise.
        copies: (S',) for every key that attention sees the row that it is a copy of; None where
            each row is one key. See `MergedText`.
    """

    cosines: Tensor
    sines: Tensor
    copies: Tensor | None = None


def norm_rotate(
    heads: Tensor, sequences: Sequences, weights: Tensor, turns: Turns, eps: float
) -> None:
    """Normalise queries and keys by their root mean square and turn them, in place.

    Args:
        heads: (N, 3, H, hd): queries, keys, values; contiguous.
        sequences: where text and image lie.
        weights: (2, 2, hd): of text and image; of queries and keys.
        turns: rotations of a sequence's positions.
        eps: added to the mean square.
    """
    count, _, number, width = heads.shape
    if runs_kernels(heads):
        _kernels().norm_rotate_kernel[(count, 2)](
            heads,
            weights,
            turns.cosines,
            turns.sines,
            sequences.length,
            sequences.text,
            number,
            eps,
            HALF=width // 2,
            HEADS=_power_of_two(number),
            num_warps=4,
        )
        return
    kinds = _kinds(sequences, heads.device)
    positions = torch.arange(count, device=heads.device) % sequences.length
    both = heads[:, :2].float()
    both = both * torch.rsqrt(both.square().mean(-1, keepdim=True) + eps)
    both = both * weights.float()[kinds][:, :, None]
    even, odd = both.unflatten(-1, (-1, 2)).unbind(-1)
    cosine = turns.cosines[positions][:, None, None]
    sine = turns.sines[positions][:, None, None]
    turned = torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).flatten(-2)
    heads[:, :2] = turned.to(heads.dtype)


def gelu_quantize(attended: Tensor | None, hidden: Tensor) -> Rows:
    """Join (N, A) with the activated (N, F) and quantise the rows (N, A + F).

    Args:
        attended: comes first, as it is; None where there is nothing before.
        hidden: goes through GELU, by its tanh approximation.
    """
    before = 0 if attended is None else attended.shape[1]
    count, behind = hidden.shape
    if not runs_kernels(hidden):
        active = F.gelu(hidden.float(), approximate='tanh')
        joined = active if attended is None else torch.cat([attended.float(), active], 1)
        return Rows(None, *quantize(joined))
    quantized, scales = _room(count, before + behind, hidden.device)
    _kernels().gelu_quantize_kernel[(count,)](
        hidden if attended is None else attended,
        hidden,
        quantized,
        scales,
        before,
        behind,
        BLOCK=_power_of_two(before + behind),
        num_warps=16,
    )
    return Rows(None, quantized, scales)


def gelu_join(attended: Tensor | None, hidden: Tensor) -> Tensor:
    """Join (N, A) with the activated (N, F): (N, A + F).

    Args:
        attended: comes first, as it is; None where there is nothing before.
        hidden: goes through GELU, by its tanh approximation.
    """
    if not runs_kernels(hidden):
        active = F.gelu(hidden.float(), approximate='tanh').to(hidden.dtype)
        return active if attended is None else torch.cat([attended, active], 1)
    before = 0 if attended is None else attended.shape[1]
    count, behind = hidden.shape
    out = hidden.new_empty(count, before + behind)
    _kernels().gelu_join_kernel[(count, -(-(before + behind) // _JOINED))](
        hidden if attended is None else attended,
        hidden,
        out,
        before,
        behind,
        BLOCK=_JOINED,
        num_warps=4,
    )
    return out


def quantize(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Round rows (N, D) to float8, the largest magnitude of each to the largest number there is.

    Returns:
        (N, D) e4m3, and (N,) float32 that its rows are multiplied by.
    """
    if runs_kernels(rows):
        count, width = rows.shape
        quantized, scales = _room(count, width, rows.device)
        _kernels().quantize_kernel[(count,)](
            rows,
            quantized,
            scales,
            rows.stride(0),
            width,
            BLOCK=_power_of_two(width),
            num_warps=8,
        )
        return quantized, scales
    wide = rows.float()
    scales = (wide.abs().amax(1) / LARGEST).clamp_min(SMALLEST_SCALE)
    return (wide / scales[:, None]).to(EIGHT_BITS), scales


def scaled_product(
    rows: Rows, weight: Tensor, scale: Tensor, bias: Tensor, out: Tensor | None
) -> Tensor:
    """Multiply rows in float8 with a weight in float8: (N, out) in the bias's precision.

    Args:
        rows: with the quantised form.
        weight: (out, in) e4m3, contiguous.
        scale: (1, out) float32 of its rows.
        bias: (out,).
        out: written to where given, (N, out).
    """
    assert rows.quantized is not None
    assert rows.scales is not None
    if rows.quantized.is_cuda:
        count = len(rows.quantized)
        if count < _LEAST_ROWS:
            padded = scaled_product(_with_more_rows(rows), weight, scale, bias, None)[:count]
            return padded if out is None else out.copy_(padded)
        options: dict[str, Any] = {} if out is None else {'out': out}
        scales = rows.scales
        if scales.data_ptr() % _SCALES_ALIGNED:  # behind a text of an odd number of tokens
            scales = scales.clone()
        return torch._scaled_mm(
            rows.quantized,
            weight.t(),
            scale_a=scales[:, None],
            scale_b=scale,
            bias=bias,
            out_dtype=bias.dtype,
            use_fast_accum=True,
            **options,
        )
    product = (rows.quantized.float() @ weight.float().t()) * rows.scales[:, None] * scale
    result = (product + bias.float()).to(bias.dtype)
    return result if out is None else out.copy_(result)


def _with_more_rows(rows: Rows) -> Rows:
    """Rows in float8 with others behind, whose results nobody reads."""
    assert rows.quantized is not None
    assert rows.scales is not None
    count, width = rows.quantized.shape
    quantized, scales = _room(_LEAST_ROWS, width, rows.quantized.device)
    quantized.view(torch.uint8).zero_()
    quantized[:count].view(torch.uint8).copy_(rows.quantized.view(torch.uint8))
    scales.fill_(1.0)
    scales[:count].copy_(rows.scales)
    return Rows(None, quantized, scales)


def _kinds(sequences: Sequences, device: torch.device) -> Tensor:
    """0 for a row of text, 1 for one of an image: (N,)."""
    positions = torch.arange(sequences.batch * sequences.length, device=device)
    return (positions % sequences.length >= sequences.text).long()


def _room(count: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    return (
        torch.empty(count, width, dtype=EIGHT_BITS, device=device),
        torch.empty(count, dtype=torch.float32, device=device),
    )


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _kernels() -> Any:
    """The kernels, imported where there is a GPU: Triton comes with torch's CUDA builds only."""
    return importlib.import_module('lotus2_ros.model.inference.fast.kernels')
