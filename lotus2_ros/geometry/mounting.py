"""Where a camera is on its robot: height over the ground, tilt, heading."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.ground_plane import GroundPlane

Float64Array = NDArray[np.float64]

_BODY_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""REP-103: x right, y down, z forward in the optical frame; x forward, y left, z up on a body."""


@dataclass(frozen=True, slots=True)
class Mounting:
    """Pose of a camera in a base frame (x forward, y left, z up) whose origin is on the ground.

    Angles are those of a URDF's rpy for the camera's body frame (x forward): about the fixed axes
    x, y, z in this order, so a positive pitch looks down.

    Attributes:
        height: over the ground, above 0 [m].
        x: forward of the origin [m].
        y: left of it [m].
        roll_deg: about the line of sight [deg].
        pitch_deg: downwards [deg].
        yaw_deg: to the left [deg].
    """

    height: float
    x: float = 0.0
    y: float = 0.0
    roll_deg: float = 0.0
    pitch_deg: float = 0.0
    yaw_deg: float = 0.0

    @classmethod
    def from_transform(cls, optical_to_base: Float64Array) -> Mounting:
        """The mounting with this `optical_to_base`.

        Args:
            optical_to_base: (4, 4) rigid.
        """
        turn = optical_to_base[:3, :3] @ _BODY_FROM_OPTICAL.T
        # Rz(yaw) Ry(pitch) Rx(roll); looking straight down or up, roll and yaw are one: roll is 0.
        level = math.hypot(turn[0, 0], turn[1, 0])
        pitch = math.atan2(-turn[2, 0], level)
        if level > 1e-9:
            roll = math.atan2(turn[2, 1], turn[2, 2])
            yaw = math.atan2(turn[1, 0], turn[0, 0])
        else:
            roll, yaw = 0.0, math.atan2(-turn[0, 1], turn[1, 1])
        x, y, height = (float(value) for value in optical_to_base[:3, 3])
        return cls(height, x, y, math.degrees(roll), math.degrees(pitch), math.degrees(yaw))

    @property
    def optical_to_base(self) -> Float64Array:
        """(4, 4), points in the optical frame to the base frame."""
        transform = self.body_to_base
        transform[:3, :3] = transform[:3, :3] @ _BODY_FROM_OPTICAL
        return transform

    @property
    def body_to_base(self) -> Float64Array:
        """(4, 4), points in the sensor's body frame (x forward, y left, z up) to the base frame."""
        return _body_to_base(self).copy()

    @property
    def plane(self) -> GroundPlane:
        """The ground, seen from the camera."""
        up = self.optical_to_base[2, :3]
        return GroundPlane((float(up[0]), float(up[1]), float(up[2])), self.height)

    @property
    def height_over_ground(self) -> Float64Array:
        """(a, b, c, d): a x + b y + c z + d is the height of a point of the optical frame [m]."""
        return np.asarray(self.optical_to_base[2], dtype=np.float64)


@lru_cache(maxsize=16)
def _body_to_base(mounting: Mounting) -> Float64Array:
    """See `Mounting.body_to_base`; asked for many times a frame."""
    transform = np.eye(4)
    turn = np.eye(3)
    angles = (mounting.roll_deg, mounting.pitch_deg, mounting.yaw_deg)
    for axis, angle in zip(np.eye(3), angles, strict=True):
        turn = cv2.Rodrigues(axis * np.radians(angle))[0] @ turn
    transform[:3, :3] = turn
    transform[:3, 3] = mounting.x, mounting.y, mounting.height
    return transform
