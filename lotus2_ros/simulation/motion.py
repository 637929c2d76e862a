"""Where the robot is, what its IMU feels and what its odometry believes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.rigid import from_rotation_vector, rotation_vector
from lotus2_ros.simulation.path import ClosedPath

Float64Array = NDArray[np.float64]

GRAVITY = 9.81
_STEP = 0.04
"""Of the differences that stand for derivatives, and so the IMU's bandwidth; the table of the path
is a chain of chords of a centimetre, which a shorter step would feel [s]."""

_SWAY_HZ = (1.1, 0.7)
"""Of pitch and roll."""

_ODOMETRY_STEP = 0.02
"""Between the poses of the table of a lap [m]."""


class Twist(NamedTuple):
    """Velocity in the robot's own frame.

    Attributes:
        forward: [m/s].
        turn: counter-clockwise [rad/s].
    """

    forward: float
    turn: float


class Drive:
    """A robot on a path at constant speed, swaying a little.

    Args:
        path: on the floor.
        speed: [m/s]; at 0 nothing moves, nothing sways.
        start: where it begins, as a share of the path.
        sway_deg: amplitude of pitch and roll of the body [deg].
    """

    def __init__(self, path: ClosedPath, speed: float, start: float, sway_deg: float) -> None:
        self.path = path
        self.speed = speed
        self._start = start * path.length
        self._sway = math.radians(sway_deg) if speed else 0.0

    def way(self, time: float) -> float:
        """Distance along the path, laps added up [m]."""
        return self._start + self.speed * time

    def base(self, time: float) -> Float64Array:
        """(4, 4), base_footprint (level, on the ground) to the world."""
        here = self.path.at(self.way(time))
        return planar(here.x, here.y, here.heading)

    def sway(self, time: float) -> Float64Array:
        """(4, 4), the robot's body to base_footprint."""
        pitch, roll = (self._sway * math.sin(2 * math.pi * f * time) for f in _SWAY_HZ)
        turn_y = from_rotation_vector(np.array([0.0, pitch, 0.0]), np.zeros(3))
        return turn_y @ from_rotation_vector(np.array([roll, 0.0, 0.0]), np.zeros(3))

    def body(self, time: float) -> Float64Array:
        """(4, 4), the robot's body to the world."""
        return self.base(time) @ self.sway(time)

    def twist(self, time: float) -> Twist:
        """Of base_footprint."""
        return Twist(self.speed, self.speed * self.path.at(self.way(time)).curvature)


def felt(drive: Drive, mounting: Float64Array, time: float) -> tuple[Float64Array, Float64Array]:
    """What an ideal IMU measures.

    Args:
        drive: moves it.
        mounting: (4, 4), IMU to the robot's body.
        time: [s].

    Returns:
        Angular velocity (3,) [rad/s] and specific force (3,) [m/s2], in the IMU's frame; at rest
        the force points up with 9.81.
    """
    before, now, after = (drive.body(time + k * _STEP) @ mounting for k in (-1, 0, 1))
    turn = rotation_vector(before[:3, :3].T @ after[:3, :3]) / (2 * _STEP)
    acceleration = (after[:3, 3] - 2 * now[:3, 3] + before[:3, 3]) / _STEP**2
    return turn, now[:3, :3].T @ (acceleration + np.array([0.0, 0.0, GRAVITY]))


class Odometry:
    """Pose by adding up wheel motion whose scale is a little wrong, and that drifts aside.

    Args:
        drive: the truth.
        error: share by which distances are wrong, and drift of the heading [rad/m].
        rng: decides both signs.
    """

    def __init__(self, drive: Drive, error: float, rng: np.random.Generator) -> None:
        self._drive = drive
        scale = 1 + error * float(rng.choice([-1.0, 1.0]))
        drift = error * float(rng.choice([-1.0, 1.0]))
        path = drive.path
        count = math.ceil(path.length / _ODOMETRY_STEP)
        self._step = path.length / count
        marks = drive.way(0.0) + self._step * np.arange(count + 1)
        places = np.array([path.at(float(mark)) for mark in marks])
        heading = np.unwrap(places[:, 2])
        turned = heading - heading[0] + drift * self._step * np.arange(count + 1)
        # Each step goes along the heading in its middle.
        middle = 0.5 * (turned[1:] + turned[:-1])
        steps = scale * np.linalg.norm(np.diff(places[:, :2], axis=0), axis=1)
        x = np.concatenate([[0.0], np.cumsum(steps * np.cos(middle))])
        y = np.concatenate([[0.0], np.cumsum(steps * np.sin(middle))])
        self._table = np.column_stack([x, y, turned])
        self._lap = planar(x[-1], y[-1], turned[-1])

    def pose(self, time: float) -> Float64Array:
        """(4, 4), base_footprint to the odometry frame, which is where the robot began."""
        way = self._drive.way(time) - self._drive.way(0.0)
        laps, within = divmod(way / self._step, len(self._table) - 1)
        marks = np.arange(len(self._table))
        x, y, heading = (float(np.interp(within, marks, column)) for column in self._table.T)
        return np.asarray(np.linalg.matrix_power(self._lap, int(laps)) @ planar(x, y, heading))


def planar(x: float, y: float, heading: float) -> Float64Array:
    """(4, 4) of a place on the floor."""
    pose = np.eye(4)
    pose[:2, :2] = [
        [math.cos(heading), -math.sin(heading)],
        [math.sin(heading), math.cos(heading)],
    ]
    pose[:2, 3] = x, y
    return pose
