"""Weights of iteratively reweighted least squares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

_TUKEY = 4.685
"""Tukey's constant: 95% efficiency for normal errors (Huber and Ronchetti 2009)."""


def tukey_weights(sizes: Float64Array, scale: float) -> Float64Array:
    """(N,) Tukey's biweight, 0 for what is far off; it takes the place of the sizes.

    Args:
        sizes: (N,) of the residuals, without sign.
        scale: their standard deviation.
    """
    sizes *= 1.0 / (_TUKEY * scale)
    np.minimum(sizes, 1.0, out=sizes)
    np.multiply(sizes, sizes, out=sizes)
    np.subtract(1.0, sizes, out=sizes)
    return np.multiply(sizes, sizes, out=sizes)
