"""Where a lidar was while it scanned, seen from the camera at the time of its image."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2

from lotus2_ros.geometry.mounting import Mounting
from lotus2_ros.geometry.rigid import inverse
from lotus2_ros.geometry.scale.estimate import NoScale
from lotus2_ros.geometry.scale.lidar_points import LidarScan
from lotus2_ros.ros.mounting import mounting
from lotus2_ros.ros.scale_feeds import ReferenceFeeds
from lotus2_ros.ros.scale_history import Taken
from lotus2_ros.ros.scale_readings import read_point_times, read_points, stamp_ns
from lotus2_ros.ros.transforms import LateTransform, Transforms
from lotus2_ros.settings import NodeSettings
from lotus2_ros.types import Float32Array

Float64Array = NDArray[np.float64]


class Cloud(NamedTuple):
    """What is read of a cloud, wherever its lidar was.

    Attributes:
        points: (N, 3) in the frame of the lidar [m]; or why there are none.
        span: first and last time of a point, after the stamp [s]; None without such times.
        fraction: (N,) time of each point, 0 at the first and 1 at the last; None likewise.
        lacking: why there are no times; empty if there are.
    """

    points: Float32Array | NoScale
    span: tuple[float, float] | None = None
    fraction: Float64Array | None = None
    lacking: str = ''


class PlacedScan(NamedTuple):
    """A scan with its poses, and what is known of the motion during it, for people."""

    scan: LidarScan
    motion: str


def read_cloud(message: PointCloud2) -> Cloud:
    """Points, and when each of them was measured."""
    points = read_points(message)
    if isinstance(points, NoScale):
        return Cloud(points)
    times = read_point_times(message)
    if times is None:
        return Cloud(points, lacking='the cloud has no time for each point')
    if isinstance(times, NoScale):
        return Cloud(points, lacking=times.reason)
    first, last = float(np.nanmin(times)), float(np.nanmax(times))
    if not first < last:
        return Cloud(points, lacking='all points have one time')
    return Cloud(points, (first, last), (times - first) / (last - first))


def placed_scan(
    message: PointCloud2,
    read: Callable[[PointCloud2], Cloud],
    image: Taken,
    feeds: ReferenceFeeds,
    transforms: Transforms,
) -> PlacedScan | NoScale:
    """The points of a cloud, with the poses of the lidar at the beginning and the end of its scan.

    By TF, or by parameters and, where it comes, odometry. Without the motion, or without a time for
    each point, the points are taken to be of one moment.

    Args:
        message: the cloud.
        read: `read_cloud`, or what remembers what that gave.
        image: that it belongs to.
        feeds: with the odometry.
        transforms: from TF.

    Returns:
        The scan; or why there is none: 'reference in another frame', what `read_points` says, what
        TF lacks for the stamp of the cloud, or a `LateTransform` for any time of the scan.
    """
    settings = image.frame.settings
    if settings.lidar_frame not in ('', message.header.frame_id):
        return NoScale('reference in another frame')
    poses = _Poses(message.header.frame_id, image, feeds, transforms)
    stamp = stamp_ns(message)
    once = poses.at(stamp)
    if isinstance(once, LateTransform):
        return once  # it is asked for again: points are read when it has come
    cloud = read(message)
    if isinstance(cloud.points, NoScale):
        return cloud.points
    if isinstance(once, NoScale):
        if settings.scale_extrinsics == 'tf':
            return once
        fixed = inverse(mounting(settings).optical_to_base) @ lidar_to_base(settings)
        return PlacedScan(LidarScan(cloud.points, fixed), f'not compensated: {once.reason}')
    if cloud.span is None:
        return _of_one_moment(cloud.points, once, cloud.lacking)
    begin, end = (poses.at(stamp + round(seconds * 1e9)) for seconds in cloud.span)
    for pose in (begin, end):
        if isinstance(pose, LateTransform):
            return pose
    if isinstance(begin, NoScale):
        return _of_one_moment(cloud.points, once, begin.reason)
    if isinstance(end, NoScale):
        return _of_one_moment(cloud.points, once, end.reason)
    return PlacedScan(LidarScan(cloud.points, begin, end, cloud.fraction), 'compensated')


def _of_one_moment(points: Float32Array, pose: Float64Array, why: str) -> PlacedScan:
    return PlacedScan(
        LidarScan(points, pose), f'compensated between scan and image, not within the scan: {why}'
    )


def camera_place(
    image: Taken, feeds: ReferenceFeeds, transforms: Transforms
) -> Float64Array | NoScale:
    """(4, 4), optical frame at the time of an image -> fixed frame; or why it is not known."""
    settings = image.frame.settings
    if settings.scale_extrinsics == 'tf':
        fixed, camera = settings.fixed_frame, image.frame.header.frame_id
        return transforms.between(fixed, image.stamp, camera, image.stamp, fixed)
    return camera_by_odometry(image.stamp, settings, feeds)


def camera_by_odometry(
    stamp: int, settings: NodeSettings, feeds: ReferenceFeeds
) -> Float64Array | NoScale:
    """(4, 4), optical frame at a time [ns] -> fixed frame, by odometry and parameters; or why not.

    Args:
        stamp: the time.
        settings: of the image.
        feeds: with the odometry.
    """
    pose = feeds.pose_at(stamp, settings.fixed_frame, settings.scale_sync_s)
    return pose if isinstance(pose, NoScale) else pose @ mounting(settings).optical_to_base


class _Poses(NamedTuple):
    """Asks for the pose of the lidar at a time."""

    frame_id: str
    image: Taken
    feeds: ReferenceFeeds
    transforms: Transforms

    def at(self, stamp: int) -> Float64Array | NoScale:
        """(4, 4), lidar at a time [ns] -> optical frame at the time of the image."""
        settings, image = self.image.frame.settings, self.image.stamp
        if settings.scale_extrinsics == 'tf':
            frame_id = self.image.frame.header.frame_id
            return self.transforms.between(
                frame_id, image, self.frame_id, stamp, settings.fixed_frame
            )
        camera = camera_by_odometry(image, settings, self.feeds)
        if isinstance(camera, NoScale):
            return camera
        robot = self.feeds.pose_at(stamp, settings.fixed_frame, settings.scale_sync_s)
        if isinstance(robot, NoScale):
            return robot
        return np.asarray(inverse(camera) @ robot @ lidar_to_base(settings))


def lidar_to_base(settings: NodeSettings) -> Float64Array:
    """(4, 4), lidar (x forward, y left, z up) -> base_frame, by parameters."""
    return Mounting(
        height=settings.lidar_z,
        x=settings.lidar_x,
        y=settings.lidar_y,
        roll_deg=settings.lidar_roll_deg,
        pitch_deg=settings.lidar_pitch_deg,
        yaw_deg=settings.lidar_yaw_deg,
    ).body_to_base
