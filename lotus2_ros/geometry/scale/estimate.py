"""What sources of scale give: references to fit to, an estimate, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NoScale:
    """A frame without an estimate.

    Attributes:
        reason: a short name of the cause, the same for the same cause.
    """

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class ScaleEstimate:
    """Scale and shift of one frame: 1 / z = a d + b for predicted disparity d.

    Attributes:
        a: scale, above 0 [1/m].
        b: shift [1/m].
        covariance: (2, 2) of (log a, b).
        inlier_share: of the references, those that agree with the fit.
        samples: references that were fitted.
        residual: median relative error of 1 / z over the inliers.
        source: what the references came from: 'depth', 'points', 'ground' or 'odometry'.
    """

    a: float
    b: float
    covariance: Float64Array
    inlier_share: float
    samples: int
    residual: float
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """Pixels whose true depth a source knows.

    Attributes:
        disparity: (N,) predicted.
        inverse_depth: (N,) 1 / z [1/m].
        sigma: (N,) standard deviation of `inverse_depth` [1/m].
    """

    disparity: NDArray[np.floating]
    inverse_depth: NDArray[np.floating]
    sigma: NDArray[np.floating]
