"""FLUX's rotary positions: the angles by which queries and keys are turned."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

THETA = 10000.0


class RotaryPositions:
    """Cosines and sines of each token's angles; to the bit those of diffusers' `FluxPosEmbed`.

    Source: RoFormer (arXiv 2104.09864), on FLUX's three axes.
    """

    def __init__(self, axes: Sequence[int]) -> None:
        """Take the number of features (even) of each axis; together they make a head."""
        self._axes = tuple(axes)

    def __call__(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each (T, hd) float32 with every value twice, of positions (T, 3)."""
        places = ids.float()
        angles = torch.cat(
            [torch.outer(places[:, i], _rates(size, ids)) for i, size in enumerate(self._axes)], 1
        )  # (T, hd/2), double: at float32 the angle of a far token loses digits
        turns = angles.repeat_interleave(2, dim=1)
        return turns.cos().float(), turns.sin().float()


def _rates(size: int, like: Tensor) -> Tensor:
    steps = torch.arange(0, size, 2, dtype=torch.float64, device=like.device)
    return 1.0 / (THETA ** (steps / size))  # (size/2,)
