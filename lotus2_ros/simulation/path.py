"""A smooth closed path on the floor, driven at constant speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

_SAMPLES_PER_SPAN = 200


class PathPoint(NamedTuple):
    """A place on the path.

    Attributes:
        x: [m].
        y: [m].
        heading: direction of travel, counter-clockwise from x, not wrapped within a lap [rad].
        curvature: change of the heading along the way [rad/m].
    """

    x: float
    y: float
    heading: float
    curvature: float


class ClosedPath:
    """A closed uniform cubic B-spline: curvature is continuous, and it stays in its corners' hull.

    Attributes:
        length: of a lap [m].
    """

    length: float

    def __init__(self, corners: Sequence[tuple[float, float]]) -> None:
        """Prepare the table of lengths.

        Args:
            corners: control points (x, y) [m], at least four; the path cuts them short.
        """
        control = np.asarray(corners, dtype=np.float64)
        t = np.arange(_SAMPLES_PER_SPAN) / _SAMPLES_PER_SPAN
        basis, slope, bend = _basis(t)
        spans = np.stack([np.roll(control, -k, axis=0) for k in range(4)], axis=1)  # (N, 4, 2)
        place, first, second = (
            np.einsum('tk,nkd->ntd', weights, spans).reshape(-1, 2)
            for weights in (basis, slope, bend)
        )
        speed = np.hypot(first[:, 0], first[:, 1])
        # Trapezoids of the speed, closed: the last sample joins the first.
        steps = 0.5 * (speed + np.roll(speed, -1)) / _SAMPLES_PER_SPAN
        self._along = np.concatenate([[0.0], np.cumsum(steps)])
        self.length = float(self._along[-1])
        heading = np.unwrap(np.arctan2(first[:, 1], first[:, 0]))
        turn = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
        whole = 2 * np.pi * round(_whole_turns(heading))
        self._table = np.column_stack(
            [
                np.append(place[:, 0], place[0, 0]),
                np.append(place[:, 1], place[0, 1]),
                np.append(heading, heading[0] + whole),
                np.append(turn / speed**3, turn[0] / speed[0] ** 3),
            ]
        )

    def at(self, distance: float) -> PathPoint:
        """The place after a distance [m]; laps follow each other."""
        within = distance % self.length
        return PathPoint(*(float(np.interp(within, self._along, c)) for c in self._table.T))

    def points(self, spacing: float) -> Float64Array:
        """(N, 2) places about `spacing` apart [m]."""
        count = max(4, round(self.length / spacing))
        return np.array([self.at(self.length * k / count)[:2] for k in range(count)])


def _basis(t: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Uniform cubic B-spline weights of four control points, their slopes and second slopes."""
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1
    )
    slopes = np.stack(
        [-3 * (1 - t) ** 2, 9 * t**2 - 12 * t, -9 * t**2 + 6 * t + 3, 3 * t**2], axis=1
    )
    bends = np.stack([6 * (1 - t), 18 * t - 12, -18 * t + 6, 6 * t], axis=1)
    return weights / 6, slopes / 6, bends / 6


def _whole_turns(heading: Float64Array) -> float:
    """Turns of a closed curve from the headings of its samples."""
    last = heading[0] - heading[-1]
    closing = (last + np.pi) % (2 * np.pi) - np.pi
    return float((heading[-1] + closing - heading[0]) / (2 * np.pi))
