"""Where the camera is, by parameters."""

from __future__ import annotations

from lotus2_ros.geometry.mounting import Mounting
from lotus2_ros.settings import NodeSettings


def mounting(settings: NodeSettings) -> Mounting:
    """The pose over base_frame that the camera_... parameters say."""
    return Mounting(
        height=settings.camera_height,
        x=settings.camera_x,
        y=settings.camera_y,
        roll_deg=settings.camera_roll_deg,
        pitch_deg=settings.camera_pitch_deg,
        yaw_deg=settings.camera_yaw_deg,
    )
