"""Symmetric matrices of two by two, by hand: a general routine takes several times as long."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


def inverse(matrix: Float64Array) -> Float64Array:
    """(2, 2) of a (2, 2) symmetric matrix; not finite where there is none."""
    (a, b), (_, d) = matrix.tolist()
    determinant = a * d - b * b
    per = 1.0 / determinant if determinant != 0.0 else math.inf
    return np.array([[d * per, -b * per], [-b * per, a * per]])


def least_eigenvalue(matrix: Float64Array) -> float:
    """Of a (2, 2) symmetric matrix."""
    (a, b), (_, d) = matrix.tolist()
    return float(0.5 * (a + d) - math.hypot(0.5 * (a - d), b))
