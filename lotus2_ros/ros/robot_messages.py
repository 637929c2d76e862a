"""Readings of the simulated robot as messages."""

from __future__ import annotations

from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, Transform, TransformStamped
from geometry_msgs.msg import Vector3 as Vector
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Imu, PointField
from std_msgs.msg import Header

from lotus2_ros.geometry.depth import depth_to_millimetres
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.lens import Lens
from lotus2_ros.geometry.rigid import rotation_vector
from lotus2_ros.ros.camera import camera_info_message
from lotus2_ros.ros.messages import image_message, table_message
from lotus2_ros.ros.publishing import Packed
from lotus2_ros.simulation.lidar import LidarScan
from lotus2_ros.simulation.motion import Twist
from lotus2_ros.simulation.robot import ImuReading
from lotus2_ros.types import Float32Array

Float64Array = NDArray[np.float64]

_POINT_STEP = 22
_POINT_FIELDS = (
    *(('x', 0, '<f4'), ('y', 4, '<f4'), ('z', 8, '<f4')),
    *(('intensity', 12, '<f4'), ('ring', 16, '<u2'), ('time', 18, '<f4')),
)
"""The layout that drivers of spinning lidars use; time is seconds since the header's stamp."""


def stamp_of(nanoseconds: int) -> Time:
    """A stamp."""
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def lens_info_message(camera: Intrinsics, lens: Lens, header: Header) -> CameraInfo:
    """CameraInfo of a raw image; rectified it has the same matrix, P = [K | 0]."""
    message = camera_info_message(camera, header)
    if not lens.is_pinhole:
        message.distortion_model = lens.model
        message.d = list(lens.coefficients)
    return message


def reference_message(depth: Float32Array, encoding: str, header: Header) -> Packed:
    """Depth with holes: 16UC1, millimetres and 0; or 32FC1, metres and NaN."""
    if encoding == '16UC1':
        return image_message(depth_to_millimetres(depth), encoding, header)
    return image_message(depth, encoding, header)


def lidar_message(scan: LidarScan, header: Header) -> Packed:
    """Points with intensity, ring and time, dense.

    Args:
        scan: a turn.
        header: stamped with its beginning.
    """
    names, offsets, formats = zip(*_POINT_FIELDS, strict=True)
    layout = np.dtype(
        {'names': names, 'formats': formats, 'offsets': offsets, 'itemsize': _POINT_STEP}
    )
    table = np.zeros(len(scan.points), dtype=layout)
    for axis, name in enumerate('xyz'):
        table[name] = scan.points[:, axis]
    table['intensity'], table['ring'], table['time'] = scan.intensity, scan.ring, scan.time
    kinds = {'<f4': int(PointField.FLOAT32), '<u2': int(PointField.UINT16)}
    fields = [(name, offset, kinds[kind]) for name, offset, kind in _POINT_FIELDS]
    return table_message(table.view(np.uint8), fields, _POINT_STEP, header)


def imu_message(reading: ImuReading, noise: float, force_noise: float, header: Header) -> Imu:
    """Orientation against the world, angular velocity, acceleration with gravity in it."""
    message = Imu(header=header)
    message.orientation = quaternion(reading.orientation)
    message.angular_velocity = _vector(reading.turn)
    message.linear_acceleration = _vector(reading.force)
    message.angular_velocity_covariance = (np.eye(3) * noise**2).ravel()
    message.linear_acceleration_covariance = (np.eye(3) * force_noise**2).ravel()
    return message


def pose_message(pose: Float64Array, header: Header) -> PoseStamped:
    """A pose in the header's frame."""
    return PoseStamped(header=header, pose=_pose(pose))


def odometry_message(
    kind: type, pose: Float64Array, twist: Twist, header: Header, child: str
) -> Any:
    """nav_msgs/Odometry.

    Args:
        kind: that type; see `optional_message`.
        pose: (4, 4), child frame to the header's.
        twist: of the child frame.
        header: stamp and frame of odometry.
        child: frame of the robot.
    """
    message = kind(header=header, child_frame_id=child)
    message.pose.pose = _pose(pose)
    message.twist.twist.linear.x = twist.forward
    message.twist.twist.angular.z = twist.turn
    return message


def transform_message(pose: Float64Array, header: Header, child: str) -> TransformStamped:
    """(4, 4), child frame to the header's."""
    return TransformStamped(
        header=header,
        child_frame_id=child,
        transform=Transform(translation=_vector(pose[:3, 3]), rotation=quaternion(pose[:3, :3])),
    )


def quaternion(rotation: Float64Array) -> Quaternion:
    """Of a rotation matrix."""
    vector = rotation_vector(rotation)
    angle = float(np.linalg.norm(vector))
    # sin(a / 2) / a, which is 1 / 2 at 0.
    x, y, z = (vector * (0.5 * np.sinc(angle / (2 * np.pi)))).tolist()
    return Quaternion(x=x, y=y, z=z, w=float(np.cos(angle / 2)))


def _pose(pose: Float64Array) -> Pose:
    x, y, z = pose[:3, 3].tolist()
    return Pose(position=Point(x=x, y=y, z=z), orientation=quaternion(pose[:3, :3]))


def _vector(values: Float64Array) -> Vector:
    x, y, z = (float(value) for value in values)
    return Vector(x=x, y=y, z=z)
