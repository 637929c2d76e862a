"""Tokens as rows of a matrix, in the precision that matrix products want, and their sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from lotus2_ros.model.inference.quantization import EightBitFormat


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which forms of a result the next matrix products read.

    Attributes:
        plain: in the precision of the tokens.
        eight_bits: in this format, with a scale for each row; None where nobody reads 8 bits.
    """

    plain: bool
    eight_bits: EightBitFormat | None = None

    def __or__(self, other: Wanted) -> Wanted:
        mine, theirs = self.eight_bits, other.eight_bits
        if mine is not None and theirs is not None and mine != theirs:
            raise ValueError(f'products in {mine.name} and in {theirs.name} read the same rows')
        return Wanted(self.plain or other.plain, mine or theirs)


class QuantizedRows(NamedTuple):
    """N tokens of D features in 8 bits: scales * (values + offsets).

    Attributes:
        values: (N, D) in one of `EIGHT_BIT_FORMATS`.
        scales: (N,) float32.
        offsets: (N,) int32, -127 to 127; None where numbers have floating points.
    """

    values: Tensor
    scales: Tensor
    offsets: Tensor | None


@dataclass(frozen=True, slots=True)
class Rows:
    """N tokens of D features.

    Attributes:
        plain: (N, D), or None where nobody reads it.
        quantized: likewise.
    """

    plain: Tensor | None
    quantized: QuantizedRows | None = None


@dataclass(frozen=True, slots=True)
class Sequences:
    """B sequences of S tokens in a row, the first L of each being text.

    Attributes:
        batch: B.
        text: L.
        image: S - L.
    """

    batch: int
    text: int
    image: int

    @property
    def length(self) -> int:
        """S."""
        return self.text + self.image

    def part(self, values: Tensor, *, of_text: bool) -> Tensor:
        """The text's or the image's rows (B * L or B * T, ...) of (B * S, ...).

        A view where there is one sequence, else a copy.
        """
        each = values.view(self.batch, self.length, *values.shape[1:])
        chosen = each[:, : self.text] if of_text else each[:, self.text :]
        return chosen.reshape(-1, *values.shape[1:])

    def rows(self, rows: Rows, *, of_text: bool) -> Rows:
        """`part` of every form."""

        def chosen(values: Tensor | None) -> Tensor | None:
            return None if values is None else self.part(values, of_text=of_text)

        narrow = rows.quantized
        if narrow is not None:
            values, scales = (self.part(x, of_text=of_text) for x in (narrow.values, narrow.scales))
            narrow = QuantizedRows(values, scales, chosen(narrow.offsets))
        return Rows(chosen(rows.plain), narrow)

    def place(self, whole: Tensor, *, of_text: bool) -> Tensor | None:
        """Where a matrix product may write the part's rows itself; None with several sequences."""
        if self.batch > 1:
            return None
        return whole[: self.text] if of_text else whole[self.text :]

    def put(self, whole: Tensor, part: Tensor, *, of_text: bool) -> None:
        """Write the part's rows (B * L or B * T, D) into (B * S, D)."""
        each = whole.view(self.batch, self.length, -1)
        goal = each[:, : self.text] if of_text else each[:, self.text :]
        goal.copy_(part.view(goal.shape))
