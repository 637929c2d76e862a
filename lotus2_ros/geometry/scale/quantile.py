"""Quantiles of a few thousand values, many times a frame.

NumPy's own interpolate between two values, and take several times as long for it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def quantiles(values: NDArray[np.floating], *shares: float) -> tuple[float, ...]:
    """The values at these shares of the order, each one of the values themselves.

    Args:
        values: (N,) finite, at least one.
        shares: from 0 to 1; 0.5 is the upper median.
    """
    ranks = [int(share * (len(values) - 1) + 0.5) for share in shares]
    ordered = np.partition(values, ranks)
    return tuple(float(ordered[rank]) for rank in ranks)


def median(values: NDArray[np.floating]) -> float:
    """The upper median.

    Args:
        values: (N,) finite, at least one.
    """
    middle = len(values) // 2
    return float(np.partition(values, middle)[middle])
