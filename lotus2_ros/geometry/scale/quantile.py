"""Quantiles of a few thousand values, many times a frame.

NumPy's own interpolate between two values, and take several times as long for it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MEDIAN_TO_SIGMA = 1.4826


def quantiles(values: NDArray[np.floating], *shares: float) -> tuple[float, ...]:
    """The values at these shares of the order, each one of the values themselves.

    Args:
        values: (N,) finite, at least one.
        shares: from 0 to 1; 0.5 is the upper median.
    """
    ranks = [int(share * (len(values) - 1) + 0.5) for share in shares]
    ordered = values.copy()
    ordered.partition(ranks)
    return tuple(float(ordered[rank]) for rank in ranks)


def median(values: NDArray[np.floating]) -> float:
    """The upper median.

    Args:
        values: (N,) finite, at least one.
    """
    middle = len(values) // 2
    ordered = values.copy()
    ordered.partition(middle)
    return float(ordered[middle])


def robust_sigma(sizes: NDArray[np.floating]) -> float:
    """Standard deviation that the median size of normal errors stands for.

    Args:
        sizes: (N,) of the errors, without sign; finite, at least one.
    """
    return _MEDIAN_TO_SIGMA * median(sizes)
