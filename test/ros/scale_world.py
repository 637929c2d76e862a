"""A running node whose references follow a world of a known scale.

The bundled model predicts; what it predicts is turned into what sensors would say if the world
were a times that disparity plus b, so that the true scale is known.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rig import FRAME, Rig, image_of, info_of, pixels, wait_until
from sensor_msgs.msg import Image, Imu, PointCloud2, PointField
from std_msgs.msg import Header

from lotus2_ros.geometry.rigid import inverse
from lotus2_ros.photographs import SAMPLES, photographs_in, read_photograph
from lotus2_ros.ros.messages import optional_message

WIDTH, HEIGHT = 320, 240
A, B = 1.6, 0.12
HOLD_S = 1.5
DEPTH, POINTS = '/reference/depth', '/reference/points'
LIDAR = 'lidar'

LIDAR_AT_CAMERA = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""Lidar (x forward, y left, z up) -> optical frame, at the same place."""

NODE: dict[str, Any] = {
    'model': 'nano',
    'tasks': ['depth'],
    'load_sharpener': False,
    'cpu_threads': 1,
    'max_image_age_s': 0.0,
    'stale_timeout_s': 20.0,
    'diagnostics_rate_hz': 20.0,
}


def photograph() -> np.ndarray:
    rgb = read_photograph(photographs_in(SAMPLES)[1])
    return cv2.resize(rgb, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


class World:
    """A rig whose references follow the truth, or what a test makes of it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.rgb = photograph()
        # Images of a while ago: how much time passes between them is up to the test.
        self.now_ns = rig.peer.get_clock().now().nanoseconds - 10**12
        rig.send_info(info_of(WIDTH, HEIGHT))
        self.scales: list[Any] = []
        rig.peer.create_subscription(
            DiagnosticArray,
            '/depth_node/scale',
            self.scales.append,
            QoSProfile(depth=5, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL),
        )
        rig.listen('depth/disparity')
        stamp = rig.send(image_of(self.rgb), stamp=self.stamp())
        self.disparity = pixels(rig.get('depth/disparity', stamp)).copy()
        self.depth = (1.0 / (A * self.disparity + B)).astype(np.float32)

    def begin(self, **settings: Any) -> None:
        """Forget the scale and set parameters."""
        self.rig.set(scale_mode='relative')
        assert self.rig.set(scale_mode='depth', **settings) == (True, '')
        self.rig.node.session.scale.reset('begun')
        self.rig.forget_counts()

    def stamp(self, gap_s: float = 0.1) -> Time:
        """Of the next image, so long after the last one."""
        self.now_ns += round(gap_s * 1e9)
        return Time(sec=self.now_ns // 10**9, nanosec=self.now_ns % 10**9)

    def frame(
        self,
        *references: Any,
        rgb: np.ndarray | None = None,
        late_s: float = 0.0,
        gap_s: float = 0.1,
    ) -> dict[str, str]:
        """Send references and then the image of one moment; the report on ~/scale of it."""
        stamp = self.stamp(gap_s)
        for reference in references:
            self.send(reference, stamp, late_s)
        self.rig.send(image_of(self.rgb if rgb is None else rgb), stamp=stamp)
        self.rig.get('depth/disparity', stamp)
        return self.report(stamp)

    def send(self, reference: Any, stamp: Any, late_s: float = 0.0) -> None:
        topic = {Image: DEPTH, PointCloud2: POINTS, Imu: '/imu', PoseStamped: '/odom/pose'}
        topic |= {optional_message('nav_msgs', 'Odometry') or object: '/odom'}
        when = stamp.sec * 10**9 + stamp.nanosec - round(late_s * 1e9)
        reference.header.stamp.sec, reference.header.stamp.nanosec = divmod(when, 10**9)
        self.rig.publisher(topic[type(reference)], type(reference)).publish(reference)

    def report(self, stamp: Any) -> dict[str, str]:
        found = wait_until(
            lambda: [m for m in self.scales if m.header.stamp == stamp], what='~/scale'
        )
        [status] = found[-1].status
        assert found[-1].header.frame_id == FRAME
        return {v.key: v.value for v in status.values}

    def lock(self, *make: Callable[[], Any]) -> dict[str, str]:
        for _ in range(6):
            report = self.frame(*(one() for one in make or (self.depth_image,)))
            if report['state'] == 'locked':
                return report
        raise AssertionError(report)

    # Sensors

    def depth_image(self, depth: np.ndarray | None = None, encoding: str = '32FC1') -> Image:
        values = self.depth if depth is None else depth
        if encoding == '16UC1':
            values = np.nan_to_num(values * 1000.0, posinf=0.0).astype(np.uint16)
        message = image_of(np.ascontiguousarray(values), encoding)
        message.step = values.shape[1] * values.dtype.itemsize
        return message

    def cloud(self, to_lidar: np.ndarray | None = None, depth: np.ndarray | None = None) -> Any:
        """Every fifth pixel as a point of a lidar, by default at the camera (x forward)."""
        z = (self.depth if depth is None else depth)[::5, ::5]
        rows, columns = np.mgrid[:HEIGHT:5, :WIDTH:5]
        k = info_of(WIDTH, HEIGHT).k
        x, y = (columns - k[2]) / k[0] * z, (rows - k[5]) / k[4] * z
        optical = np.stack([x, y, z, np.ones_like(z)], axis=-1).reshape(-1, 4)
        to_lidar = inverse(LIDAR_AT_CAMERA) if to_lidar is None else to_lidar
        points = np.ascontiguousarray((optical @ to_lidar.T)[:, :3].astype(np.float32))
        return PointCloud2(
            header=Header(frame_id=LIDAR),
            height=1,
            width=len(points),
            fields=[
                PointField(name=n, offset=4 * i, datatype=PointField.FLOAT32, count=1)
                for i, n in enumerate('xyz')
            ],
            point_step=12,
            row_step=12 * len(points),
            data=array.array('B', points.tobytes()),
        )


@contextmanager
def running_world() -> Iterator[World]:
    """A node of its own that has loaded the model; what its callbacks raise fails the test."""
    rig = Rig(NODE)
    try:
        rig.wait_ready()
        yield World(rig)
        assert rig.node_errors == [], rig.node_errors
    finally:
        rig.close()
