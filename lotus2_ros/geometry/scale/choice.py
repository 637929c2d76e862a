"""Random choices that are the same every time.

They are drawn once: to make a generator costs as much as a step of a fit.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=32)
def draws(count: int, seed: int) -> NDArray[np.float64]:
    """(count,) numbers from 0 to below 1, read-only."""
    drawn = np.random.default_rng(seed).random(count)
    drawn.flags.writeable = False
    return drawn


def some(count: int, most: int, seed: int) -> NDArray[np.intp]:
    """Ascending places, at most `most` of `count`: one of each run, so that nothing is left out.

    Args:
        count: of what is chosen from.
        most: of what is chosen.
        seed: the same gives the same choice.
    """
    if count <= most:
        return np.arange(count)
    places: NDArray[np.intp] = ((np.arange(most) + draws(most, seed)) * (count / most)).astype(
        np.intp
    )
    return places
