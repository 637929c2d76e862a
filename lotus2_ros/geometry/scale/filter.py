"""Scale and shift over time: a Kalman filter on (log a, b) whose transition is the network's own.

Each step first carries the state along with the network's normalisation (see `Transition`), then
lets it drift by the process noise, more so while the picture moves, then takes an estimate if it is
not too far off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.scale.estimate import ScaleEstimate
from lotus2_ros.geometry.scale.transition import Transition
from lotus2_ros.geometry.scale.two_by_two import inverse, least_eigenvalue

Float64Array = NDArray[np.float64]

_IDENTITY = np.eye(2)
_GATE = 18.4
"""Squared Mahalanobis distance in two dimensions that one in 10,000 good estimates exceeds."""

_WHOLLY_UNKNOWN = 2.0
"""Standard deviation of log a, and of b as a multiple of a, where nothing carries over."""


@dataclass(frozen=True, slots=True)
class FilterNoise:
    """What makes the filter slow or quick.

    Attributes:
        process: standard deviation by which log a drifts in a second, and b as a multiple of a
            (disparity has a range of about 1) [1/sqrt(s)].
        estimate: of every estimate beyond what its own covariance says, likewise: what the network
            gets wrong about the shape of a scene is in no covariance.
        motion: as `process`, while the picture moves on by its own width instead of in a second:
            another view has another error of shape, and so another best scale.
    """

    process: float = 0.02
    estimate: float = 0.02
    motion: float = 0.5


class ScaleFilter:
    """State and covariance.

    Args:
        estimate: where to begin.
        noise: see `FilterNoise`.
    """

    def __init__(self, estimate: ScaleEstimate, noise: FilterNoise) -> None:
        self._noise = noise
        self.a, self.b = estimate.a, estimate.b
        self.covariance = _measured(estimate, noise)

    @property
    def sigma_log_a(self) -> float:
        """Standard deviation of log a."""
        return math.sqrt(self.covariance[0, 0])

    @property
    def sigma_b(self) -> float:
        """Standard deviation of b [1/m]."""
        return math.sqrt(self.covariance[1, 1])

    def predict(self, seconds: float, transition: Transition | None = None) -> None:
        """Go on to another frame.

        Args:
            seconds: since the frame before.
            transition: between the predictions of both; None if it was not measured.
        """
        if transition is not None:
            self.a, self.b, self.covariance = transition.carry(self.a, self.b, self.covariance)
        moved = 0.0 if transition is None else transition.moved
        drift = math.hypot(
            self._noise.process * math.sqrt(max(0.0, seconds)),
            self._noise.motion * math.sqrt(moved),
        )
        self.covariance = self.covariance + _isotropic(drift, self.a)

    def forget(self) -> None:
        """Let the next estimate decide alone: nothing relates this frame to the one before."""
        self.covariance = _isotropic(_WHOLLY_UNKNOWN, self.a)

    def distance(self, estimate: ScaleEstimate) -> float:
        """Squared Mahalanobis distance of an estimate from the state."""
        innovation = self._innovation(estimate)
        total = self.covariance + _measured(estimate, self._noise)
        return float(innovation @ inverse(total) @ innovation)

    def accepts(self, estimate: ScaleEstimate) -> bool:
        """Whether an estimate is near enough to be one of the same scale."""
        return self.distance(estimate) <= _GATE

    def correct(self, estimate: ScaleEstimate) -> None:
        """Take an estimate."""
        measured = _measured(estimate, self._noise)
        gain = self.covariance @ inverse(self.covariance + measured)
        change = gain @ self._innovation(estimate)
        # Joseph's form keeps the covariance symmetric and positive.
        left = _IDENTITY - gain
        self.covariance = left @ self.covariance @ left.T + gain @ measured @ gain.T
        self.a *= math.exp(change[0])
        self.b += float(change[1])

    def _innovation(self, estimate: ScaleEstimate) -> Float64Array:
        return np.array([math.log(estimate.a / self.a), estimate.b - self.b])


def is_sound(estimate: ScaleEstimate) -> bool:
    """Whether all numbers are finite, a is above 0, and the covariance is one."""
    matrix = np.asarray(estimate.covariance, dtype=np.float64)
    numbers = [estimate.a, estimate.b, *matrix.ravel().tolist()]
    if not all(map(math.isfinite, numbers)) or estimate.a <= 0.0 or matrix.shape != (2, 2):
        return False
    return least_eigenvalue(matrix) >= -1e-9 * max(map(abs, numbers[2:]))


def _measured(estimate: ScaleEstimate, noise: FilterNoise) -> Float64Array:
    return estimate.covariance + _isotropic(noise.estimate, estimate.a)


def _isotropic(sigma: float, a: float) -> Float64Array:
    """Covariance of independent errors of log a and of b / a, all of one size."""
    return np.array([[sigma**2, 0.0], [0.0, (sigma * a) ** 2]])
