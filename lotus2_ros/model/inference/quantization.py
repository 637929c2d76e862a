"""Numbers in 8 bits, floating point or whole, with a scale for each row of a matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SCALE = '.weight_scale'
"""End of the key beside `<layer>.weight`."""


@dataclass(frozen=True, slots=True)
class EightBitFormat:
    """How a matrix is kept in 8 bits, beside a float32 scale for each of its rows.

    Attributes:
        name: of a precision, as people call it.
        dtype: of the numbers.
        largest: magnitude that the largest of a weight's row becomes.
        capability: least compute capability of a GPU that multiplies them.
        inputs: products take layers whose inputs are a multiple of this.
        outputs: likewise.
    """

    name: str
    dtype: torch.dtype
    largest: float
    capability: tuple[int, int]
    inputs: int
    outputs: int

    def takes(self, inputs: int, outputs: int) -> bool:
        """Whether products take a layer of these widths."""
        return inputs % self.inputs == 0 and outputs % self.outputs == 0

    def rounded(self, scaled: Tensor) -> Tensor:
        """Numbers that are divided by their rows' scales, to the nearest, halves to even."""
        scaled = scaled.clamp(-self.largest, self.largest)
        return (scaled if self.dtype.is_floating_point else scaled.round_()).to(self.dtype)


FP8 = EightBitFormat(
    name='fp8',
    dtype=torch.float8_e4m3fn,
    largest=torch.finfo(torch.float8_e4m3fn).max,
    capability=(8, 9),
    inputs=16,
    outputs=16,
)
"""Floating point, e4m3: three bits of mantissa, whatever the magnitude."""

INT8 = EightBitFormat(
    name='int8',
    dtype=torch.int8,
    largest=127.0,
    capability=(8, 0),
    inputs=16,
    outputs=1,
)
"""Whole numbers from -127 to 127: even steps, whose size a row's range sets.

Inputs have an offset beside their scale, so that rows that lie to one side of zero, as GELU's do,
have all steps too. Products read 16 numbers at a time.
"""

EIGHT_BIT_FORMATS = {kind.name: kind for kind in (FP8, INT8)}
"""By name."""


def eight_bit_format(precision: str | None) -> EightBitFormat | None:
    """The format that weights of a precision are in; None if that is none of 8 bits."""
    return EIGHT_BIT_FORMATS.get(precision or '')


def format_of(weight: Tensor) -> EightBitFormat:
    """The format that a weight is in.

    Raises:
        ValueError: none of 8 bits.
    """
    for kind in EIGHT_BIT_FORMATS.values():
        if kind.dtype == weight.dtype:
            return kind
    raise ValueError(f'a weight with scales is {weight.dtype}, which is no format of 8 bits')


def quantize_rows(weight: Tensor, kind: EightBitFormat) -> tuple[Tensor, Tensor]:
    """Round a weight (out, in) to 8 bits, the largest value of each row to the largest there is.

    Args:
        weight: float32, so that it is rounded once.
        kind: to round to.

    Returns:
        (out, in) in the format, and (out,) float32 that its rows are multiplied by. A row with a
        number that is not finite has such a scale.
    """
    peak = weight.abs().amax(dim=1)
    scale = peak / kind.largest
    scale = torch.where(scale == 0, 1.0, scale)
    return kind.rounded(weight / scale[:, None]), scale


def dequantize_rows(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """The weight (out, in) that an 8-bit one stands for, rounded to a precision."""
    return (weight.float() * scale[:, None]).to(dtype)
