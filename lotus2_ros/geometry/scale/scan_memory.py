"""Scans of the way behind: what a lidar saw before it came too near, or out of view.

The lowest line of a lidar of few lines meets the floor some metres ahead, and nothing tells the
scale of what is nearer. But a robot that drives has scanned that floor a moment ago.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.rigid import inverse, rotation_vector, transform_points
from lotus2_ros.geometry.scale.choice import some

Float64Array = NDArray[np.float64]

_SPACING = 0.25
"""A scan is kept once the camera has moved so far since the last one that was [m]."""

_TURN = np.radians(15.0)
"""Or turned by so much [rad]."""

_EACH = 600
"""Points of a scan that are kept."""

_OLDEST = 30.0
"""What stood there may have gone [s]."""

_FASTEST = 20.0
_LEAST_JUMP = 1.0
"""A pose that is farther from the last than this, or than can be driven meanwhile, is a jump:
localisation began anew, and what was scanned before lies elsewhere now [m/s], [m]."""


class _Scan(NamedTuple):
    """Points (N, 3) in the fixed frame; the camera's pose there, when, and its way until then."""

    points: Float64Array
    pose: Float64Array
    time_s: float
    way: float


class ScanMemory:
    """Points of earlier scans, in a frame that does not move with the robot.

    Attributes:
        version: another one whenever something has changed.
    """

    def __init__(self) -> None:
        self._scans: deque[_Scan] = deque()
        self.version = 0
        self.clear()

    def __len__(self) -> int:
        """Number of scans."""
        return len(self._scans)

    def clear(self) -> None:
        """Forget everything."""
        self._scans.clear()
        self._time = -np.inf
        self._place: Float64Array | None = None
        self._way = 0.0
        self._kept = 0
        self.version += 1

    def look(self, pose: Float64Array, time_s: float, way: float) -> Float64Array:
        """What was scanned before, as the camera is now; changes nothing.

        Args:
            pose: (4, 4), optical frame at the time of the image -> fixed frame.
            time_s: of the image [s]; where it goes back, or the pose jumps, nothing of before
                counts.
            way: of the camera, over which scans count [m].

        Returns:
            (N, 3) points in the optical frame, maybe behind the camera [m].
        """
        step = self._step(pose, time_s)
        now = self._way + (step or 0.0)
        scans = [scan.points for scan in self._scans if not _is_gone(scan, time_s, now, way)]
        if step is None or not scans:
            return np.empty((0, 3))
        return transform_points(inverse(pose), np.concatenate(scans))

    def follow(self, pose: Float64Array, time_s: float, way: float) -> None:
        """The camera is there now: what no longer counts, see `look`, is forgotten."""
        step = self._step(pose, time_s)
        if step is None:
            self.clear()
        self._way += step or 0.0
        self._place, self._time = pose[:3, 3].copy(), time_s
        while self._scans and _is_gone(self._scans[0], time_s, self._way, way):
            self._scans.popleft()
        self.version += 1

    def earlier(self, pose: Float64Array, time_s: float, way: float) -> Float64Array:
        """What `look` gives, and `follow`."""
        found = self.look(pose, time_s, way)
        self.follow(pose, time_s, way)
        return found

    def keep(self, points: Float64Array, pose: Float64Array, time_s: float) -> None:
        """Keep some of a scan's points, unless the camera is where one was kept already.

        Args:
            points: (N, 3) in the optical frame [m].
            pose: see `look`; it must have been followed to there.
            time_s: likewise.
        """
        if self._scans and not _differs(self._scans[-1].pose, pose):
            return
        # Drawn by the number of the scan: the same scans give the same points.
        chosen = points[some(len(points), _EACH, self._kept)]
        self._kept += 1
        self.version += 1
        self._scans.append(_Scan(transform_points(pose, chosen), pose, time_s, self._way))

    def _step(self, pose: Float64Array, time_s: float) -> float | None:
        """The way since the last pose [m]; None for a jump."""
        if self._place is None:
            return 0.0
        step = float(np.linalg.norm(pose[:3, 3] - self._place))
        seconds = time_s - self._time
        return None if seconds < 0.0 or step > max(_LEAST_JUMP, _FASTEST * seconds) else step


class Drive(NamedTuple):
    """A robot whose motion is known, and what its lidar saw on the way.

    Attributes:
        memory: of earlier scans.
        pose: (4, 4), optical frame at the time of the image -> a frame that does not move.
        time_s: of the image [s].
        way: over which scans count [m].
    """

    memory: ScanMemory
    pose: Float64Array
    time_s: float
    way: float

    def earlier(self) -> Float64Array:
        """Points of earlier scans, (N, 3) in the optical frame; changes nothing."""
        return self.memory.look(self.pose, self.time_s, self.way)

    def keep(self, points: Float64Array) -> None:
        """Let a scan's points, (M, 3) in the optical frame, be those of an earlier one now."""
        self.memory.follow(self.pose, self.time_s, self.way)
        self.memory.keep(points, self.pose, self.time_s)


def _is_gone(scan: _Scan, time_s: float, now: float, way: float) -> bool:
    """Whether a scan is too old, or too far back on a way that is at `now`."""
    return time_s - scan.time_s > _OLDEST or now - scan.way > way


def _differs(one: Float64Array, other: Float64Array) -> bool:
    moved = float(np.linalg.norm(other[:3, 3] - one[:3, 3]))
    turned = float(np.linalg.norm(rotation_vector(one[:3, :3].T @ other[:3, :3])))
    return moved >= _SPACING or turned >= _TURN
