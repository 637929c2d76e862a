"""Disparity that keeps its scale and shift from frame to frame, where nothing gives metres."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lotus2_ros.geometry.scale.transition import NoTransition, Transition
from lotus2_ros.types import Float32Array

_RETURN = 0.01
"""Share by which each frame goes back to the network's own normalisation, so that errors of many
frames do not add up."""


class SteadyMap(NamedTuple):
    """steady disparity = gain d + offset, for one frame's predicted d.

    Attributes:
        gain: above 0.
        offset: of disparity.
    """

    gain: float = 1.0
    offset: float = 0.0

    def apply(self, disparity: Float32Array) -> Float32Array:
        """A new image; the same where nothing changes."""
        if self == (1.0, 0.0):
            return disparity
        return np.asarray(
            np.float32(self.gain) * disparity + np.float32(self.offset), dtype=np.float32
        )

    def scale(self, a: float, b: float) -> tuple[float, float]:
        """(a', b') with 1 / z = a' d' + b' for the steady d', from a, b of the predicted d."""
        return a / self.gain, b - a / self.gain * self.offset


class Steadier:
    """Follows the network's normalisation and takes its changes back."""

    def __init__(self) -> None:
        self._map = SteadyMap()

    def reset(self) -> None:
        """The next frame is taken as it is predicted."""
        self._map = SteadyMap()

    def update(self, transition: Transition | NoTransition) -> SteadyMap:
        """The map of the next frame.

        Args:
            transition: from the last frame's prediction to this one's; without one, as on a cut,
                the frame is taken as it is predicted.
        """
        if isinstance(transition, NoTransition):
            self._map = SteadyMap()
            return self._map
        gain = self._map.gain / transition.scale
        offset = self._map.offset - gain * transition.shift
        # In log gain: the way back is as long from twice as from half.
        gain *= math.exp(-_RETURN * math.log(gain))
        self._map = SteadyMap(gain, (1.0 - _RETURN) * offset)
        return self._map
