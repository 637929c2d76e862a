"""A lidar that scans while its robot drives, as its driver and the world's truth say."""

from __future__ import annotations

import array

import numpy as np
from scale_world import World
from sensor_msgs.msg import PointCloud2, PointField

from lotus2_ros.geometry.rigid import from_rotation_vector, inverse

SCAN_S = 0.1


def timed(message: PointCloud2, seconds: np.ndarray, how: str) -> PointCloud2:
    """The cloud with a time of each point, as a driver would say it."""
    stamp = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
    name, datatype, values = {
        'ouster': ('t', PointField.UINT32, (seconds * 1e9).astype('<u4')),
        'velodyne': ('time', PointField.FLOAT32, seconds.astype('<f4')),
        'hesai': ('timestamp', PointField.FLOAT64, (seconds + stamp).astype('<f8')),
        'livox': ('timestamp', PointField.FLOAT64, ((seconds + stamp) * 1e9).astype('<f8')),
    }[how]
    points = np.frombuffer(message.data, np.uint8).reshape(-1, message.point_step)
    table = np.ascontiguousarray(
        np.hstack([points, values.view(np.uint8).reshape(len(points), -1)])
    )
    message.fields = [
        *message.fields,
        PointField(name=name, offset=message.point_step, datatype=datatype, count=1),
    ]
    message.point_step, message.row_step = table.shape[1], table.size
    message.data = array.array('B', table.tobytes())
    return message


def driven(seconds: float) -> np.ndarray:
    """Robot -> odom at a time from the image on: 15 degrees and 20 cm during a scan."""
    part = seconds / SCAN_S
    return from_rotation_vector(
        np.array([0.0, 0.0, part * np.radians(15.0)]), np.array([part * 0.2, 0.0, 0.0])
    )


def scanned_on_the_way(world: World) -> PointCloud2:
    """What a lidar sees that turns once while its robot drives, until the image is taken."""
    cloud = world.cloud()
    still = np.frombuffer(cloud.data, np.float32).reshape(-1, 3)
    # Around once, from right to left, as its azimuth says.
    azimuth = np.arctan2(still[:, 1], still[:, 0])
    seconds = SCAN_S * (azimuth - azimuth.min()) / np.ptp(azimuth)
    moving = np.stack(
        [
            (inverse(driven(when - SCAN_S)) @ [*point, 1.0])[:3]
            for when, point in zip(seconds, still, strict=True)
        ]
    )
    cloud.data = array.array('B', moving.astype(np.float32).tobytes())
    return timed(cloud, seconds, 'ouster')


def scale_error(world: World, report: dict[str, str]) -> float:
    """AbsRel of metres by a report; infinite if there are none."""
    if report['state'] != 'locked':
        return np.inf
    found = float(report['a [1/m]']) * world.disparity + float(report['b [1/m]'])
    return float(np.mean(np.abs(1.0 / found / world.depth - 1.0)))
