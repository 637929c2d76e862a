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
from lotus2_ros.model.inference.fast.rows import QuantizedRows, Rows, Sequences, Wanted
from lotus2_ros.model.inference.quantization import INT8, EightBitFormat

SMALLEST_SCALE = 1e-12

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
        tokens: (N, D), contiguous; overwritten with the sum. They may be in float32 while all else
            is not.
        sequences: where text and image lie.
        update: what is added; None adds nothing.
        affine: of the modulation; its precision is that of the result's plain form.
        wanted: forms of the result.
    """
    if runs_kernels(tokens):
        return _add_norm_kernel(tokens, sequences, update, affine, wanted)
    index = _kinds(sequences, tokens.device)
    if update is not None:
        tokens += (update.gate.float()[index] * update.values.float()).to(tokens.dtype)
    normed = F.layer_norm(tokens.float(), tokens.shape[1:], eps=LAYER_NORM_EPS)
    result = normed * affine.scale.float()[index] + affine.shift.float()[index]
    plain = result.to(affine.scale.dtype) if wanted.plain else None
    return Rows(plain, quantized(result, wanted))


def _add_norm_kernel(
    tokens: Tensor, sequences: Sequences, update: Update | None, affine: Affine, wanted: Wanted
) -> Rows:
    count, width = tokens.shape
    plain = affine.scale.new_empty(tokens.shape) if wanted.plain else None
    narrow = None
    if wanted.eight_bits is not None:
        narrow = _room(count, width, wanted.eight_bits, tokens.device)
    _kernels().add_norm_kernel[(count,)](
        tokens,
        tokens if update is None else update.values,
        affine.scale if update is None else update.gate,
        affine.scale,
        affine.shift,
        tokens if plain is None else plain,
        *_places(narrow, tokens),
        sequences.length,
        sequences.text,
        width,
        LAYER_NORM_EPS,
        UPDATED=update is not None,
        NORMED=wanted.plain or narrow is not None,
        PLAIN=wanted.plain,
        QUANTIZED=narrow is not None,
        BLOCK=_power_of_two(width),
        num_warps=8,
    )
    return Rows(plain, narrow)


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


def gelu_quantize(attended: Tensor | None, hidden: Tensor, kind: EightBitFormat) -> Rows:
    """Join (N, A) with the activated (N, F) and quantise the rows (N, A + F).

    Args:
        attended: comes first, as it is; None where there is nothing before.
        hidden: goes through GELU, by its tanh approximation.
        kind: to quantise to.
    """
    before = 0 if attended is None else attended.shape[1]
    count, behind = hidden.shape
    if not runs_kernels(hidden):
        active = F.gelu(hidden.float(), approximate='tanh')
        joined = active if attended is None else torch.cat([attended.float(), active], 1)
        return Rows(None, quantize(joined, kind))
    narrow = _room(count, before + behind, kind, hidden.device)
    _kernels().gelu_quantize_kernel[(count,)](
        hidden if attended is None else attended,
        hidden,
        *_places(narrow, hidden),
        before,
        behind,
        BLOCK=_power_of_two(before + behind),
        num_warps=16,
    )
    return Rows(None, narrow)


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


def quantized(rows: Tensor, wanted: Wanted) -> QuantizedRows | None:
    """`quantize` rows (N, D) to the format that is wanted, if one is."""
    return None if wanted.eight_bits is None else quantize(rows, wanted.eight_bits)


def quantize(rows: Tensor, kind: EightBitFormat) -> QuantizedRows:
    """Round rows (N, D) to 8 bits.

    In floating point the largest magnitude of a row becomes the largest number there is. As whole
    numbers its least and its largest become -127 and 127, where zero counts as one of them.
    """
    if runs_kernels(rows):
        count, width = rows.shape
        narrow = _room(count, width, kind, rows.device)
        _kernels().quantize_kernel[(count,)](
            rows,
            *_places(narrow, rows),
            rows.stride(0),
            width,
            BLOCK=_power_of_two(width),
            num_warps=8,
        )
        return narrow
    wide = rows.float()
    if kind is not INT8:
        scales = (wide.abs().amax(1) / kind.largest).clamp_min(SMALLEST_SCALE)
        return QuantizedRows(kind.rounded(wide / scales[:, None]), scales, None)
    least, most = wide.amin(1).clamp_max(0), wide.amax(1).clamp_min(0)
    scales = ((most - least) / (2 * kind.largest)).clamp_min(SMALLEST_SCALE)
    offsets = ((most + least) * 0.5 / scales).round_()
    values = (wide / scales[:, None]).round_() - offsets[:, None]
    return QuantizedRows(kind.rounded(values), scales, offsets.to(torch.int32))


def _kinds(sequences: Sequences, device: torch.device) -> Tensor:
    """0 for a row of text, 1 for one of an image: (N,)."""
    positions = torch.arange(sequences.batch * sequences.length, device=device)
    return (positions % sequences.length >= sequences.text).long()


def _room(count: int, width: int, kind: EightBitFormat, device: torch.device) -> QuantizedRows:
    return QuantizedRows(
        torch.empty(count, width, dtype=kind.dtype, device=device),
        torch.empty(count, dtype=torch.float32, device=device),
        torch.empty(count, dtype=torch.int32, device=device) if kind is INT8 else None,
    )


def _places(narrow: QuantizedRows | None, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where a kernel writes rows in 8 bits, with another tensor for what it does not write."""
    if narrow is None:
        return other, other, other
    return narrow.values, narrow.scales, other if narrow.offsets is None else narrow.offsets


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _kernels() -> Any:
    """The kernels, imported where there is a GPU: Triton comes with torch's CUDA builds only."""
    return importlib.import_module('lotus2_ros.model.inference.fast.kernels')
