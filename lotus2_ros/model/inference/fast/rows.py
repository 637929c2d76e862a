"""Tokens as rows of a matrix, in the precision that matrix products want, and their sequences."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which forms of a result the next matrix products read.

    Attributes:
        plain: in the precision of the tokens.
        quantized: in float8, with a scale for each row.
    """

    plain: bool
    quantized: bool

    def __or__(self, other: Wanted) -> Wanted:
        return Wanted(self.plain or other.plain, self.quantized or other.quantized)


@dataclass(frozen=True, slots=True)
class Rows:
    """N tokens of D features.

    Attributes:
        plain: (N, D), or None where nobody reads it.
        quantized: (N, D) float8 e4m3, or None likewise.
        scales: (N,) float32 that the rows of `quantized` are multiplied by.
    """

    plain: Tensor | None
    quantized: Tensor | None = None
    scales: Tensor | None = None


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

        return Rows(chosen(rows.plain), chosen(rows.quantized), chosen(rows.scales))

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
