"""Where the camera is over the ground: by parameters, or by TF."""

from __future__ import annotations

from lotus2_ros.geometry.mounting import Mounting
from lotus2_ros.geometry.scale.estimate import NoScale
from lotus2_ros.ros.transforms import LateTransform, Transforms
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


def mounting_at(
    settings: NodeSettings, frame_id: str, stamp: int, transforms: Transforms
) -> Mounting | NoScale:
    """The pose over base_frame at a time, from where `scale_extrinsics` says.

    Where TF is later than the image, its newest pose counts if it is within `scale_sync_s`.

    Args:
        settings: the node's.
        frame_id: of the camera's images.
        stamp: [ns].
        transforms: asked if poses are to come from TF.

    Returns:
        The pose, at a height above 0; or 'camera_height is 0', 'the camera is not above ... by
        TF', or what `Transforms.between` lacks.
    """
    if settings.scale_extrinsics == 'parameters':
        return mounting(settings) if settings.camera_height > 0.0 else NoScale('camera_height is 0')
    base = settings.base_frame
    pose = transforms.between(base, stamp, frame_id, stamp, base)
    if isinstance(pose, LateTransform) and stamp - pose.known_ns <= settings.scale_sync_s * 1e9:
        # A body sways little in so short a time, and this image's outputs do not wait.
        pose = transforms.between(base, pose.known_ns, frame_id, pose.known_ns, base)
    if isinstance(pose, NoScale):
        return pose
    if pose[2, 3] <= 0.0:
        return NoScale(f'the camera is not above {base} by TF')
    return Mounting.from_transform(pose)
