"""Text tokens that are nearly equal, computed once: an experiment, exact where they are equal.

The empty prompt is padding, nearly all of it, and 30 % of the tokens of a 640x480 image. Text lies
at the origin, so that equal tokens stay equal through all blocks: their rows and queries are
computed once, and attention sees their keys and values as often as they were there.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ROWS_TOGETHER = 4
"""Scales of rows in 8 bits are read 16 bytes at a time: the image begins at such a place."""


class MergedText(NamedTuple):
    """Text tokens and what stands for each.

    Attributes:
        tokens: (U, D) representatives, the means of their groups; the last is there several times
            where that makes U a multiple of `ROWS_TOGETHER`.
        groups: (L,) for every token the number of its representative.
    """

    tokens: Tensor
    groups: Tensor


def merge_text(text: Tensor, tolerance: float) -> MergedText | None:
    """Group the tokens of a text (L, D), in their order, by how far they are from a group's first.

    Args:
        text: embedded.
        tolerance: most that a token may differ from the first of its group, relative to that one's
            norm; 0 merges nothing.

    Returns:
        What to compute with; None where that is no fewer tokens.
    """
    if tolerance <= 0:
        return None
    wide = text.float()
    groups = torch.full((len(text),), -1, dtype=torch.int64, device=text.device)
    count = 0
    for index in range(len(text)):
        if groups[index] >= 0:
            continue
        distance = torch.linalg.vector_norm(wide - wide[index], dim=1)
        near = distance <= tolerance * torch.linalg.vector_norm(wide[index])
        near[index] = True  # zeros are near themselves too
        groups[near & (groups < 0)] = count
        count += 1
    filled = count + -count % ROWS_TOGETHER
    if filled >= len(text):
        return None
    sums = torch.zeros(count, text.shape[1], device=text.device).index_add_(0, groups, wide)
    sizes = torch.bincount(groups, minlength=count)[:, None]
    tokens = (sums / sizes).to(text.dtype)
    filling = tokens[-1:].expand(filled - count, -1)
    return MergedText(torch.cat([tokens, filling]), groups)
