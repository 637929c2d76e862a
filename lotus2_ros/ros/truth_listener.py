"""Results of a depth node beside the truth of the simulated robot, brought together by stamp."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.ros import plan
from lotus2_ros.ros.listening import Listening
from lotus2_ros.ros.outputs import message_type
from lotus2_ros.ros.scale_message import scale_qos
from lotus2_ros.ros.scale_readings import read_pose, stamp_ns
from lotus2_ros.types import AnyArray, Float32Array, UInt8Array

JUDGED = (
    *(plan.DEPTH_IMAGE, plan.DISPARITY, plan.NORMALS_IMAGE),
    *(plan.POINTS, plan.NAV_POINTS, plan.SCAN),
)
"""Topics of the node that are compared with the truth."""

_SETTLED_S = 1.0
"""A moment is complete when nothing has come for it for this long."""

_FORGOTTEN_S = 60.0
"""Truth whose image the node never answered."""

_CHANNELS = {'32FC1': ('<f4', 1), '32FC3': ('<f4', 3), 'rgb8': ('u1', 3)}


class Scan(NamedTuple):
    """A LaserScan.

    Attributes:
        ranges: (N,) float32 [m].
        angle_min: bearing of the first beam [rad].
        increment: between beams [rad].
        range_max: [m].
    """

    ranges: Float32Array
    angle_min: float
    increment: float
    range_max: float


@dataclass
class Moment:
    """All that is known about one image.

    Attributes:
        stamp: of the image [ns].
        depth: (H, W) true depth [m], infinite in the sky.
        normals: (H, W, 3) true normals, NaN where none, or None.
        camera: of both.
        on_base: (4, 4), optical frame to the base frame.
        image: (H, W, 3) uint8 RGB or None.
        results: topic to what the node made: an array, a `Scan`.
        latencies: topic to seconds from the stamp to the arrival.
        scale: what ~/scale said about it, name to value; empty if nothing.
        touched: when something last came for it, on the steady clock [s].
    """

    stamp: int
    depth: Float32Array | None = None
    normals: Float32Array | None = None
    camera: Intrinsics | None = None
    on_base: NDArray[np.float64] | None = None
    image: UInt8Array | None = None
    results: dict[str, Any] = field(default_factory=dict)
    latencies: dict[str, float] = field(default_factory=dict)
    scale: dict[str, str] = field(default_factory=dict)
    touched: float = 0.0

    @property
    def known(self) -> bool:
        """Whether the truth about it has come."""
        return self.depth is not None and self.camera is not None and self.on_base is not None


class TruthListener(Listening):
    """Keeps what comes until it is taken, until `close`.

    Args:
        node: resolved name of the depth node.
        image: resolved name of the image topic.
        truth: namespace of the truth, for example /truth.
        domain: ROS domain.
    """

    def __init__(self, node: str, image: str, truth: str, *, domain: int) -> None:
        super().__init__('truth_listener', domain)
        self._moments: dict[int, Moment] = {}
        self.counts = dict.fromkeys((f'{truth}/depth', *(f'{node}/{t}' for t in JUDGED)), 0)
        subscribe = self._subscribe
        subscribe(Image, f'{truth}/depth', lambda m, x: setattr(m, 'depth', _pixels(x)))
        subscribe(Image, f'{truth}/normals', lambda m, x: setattr(m, 'normals', _pixels(x)))
        subscribe(CameraInfo, f'{truth}/camera_info', lambda m, x: setattr(m, 'camera', _camera(x)))
        subscribe(PoseStamped, f'{truth}/camera_pose', _keep_pose)
        subscribe(Image, image, lambda m, x: setattr(m, 'image', _pixels(x)))
        for topic in JUDGED:
            subscribe(message_type(topic), f'{node}/{topic}', self._keeper(topic))
        subscribe(DiagnosticArray, f'{node}/scale', _keep_scale, scale_qos())
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self._listen()

    def take(self) -> list[Moment]:
        """Complete moments that have truth and a result, oldest first; each once."""
        now = time.monotonic()
        with self._lock:
            settled = [m for m in self._moments.values() if now - m.touched > _SETTLED_S]
            done = [m for m in settled if m.known and m.results]
            old = [m for m in settled if now - m.touched > _FORGOTTEN_S]
            for moment in (*done, *old):
                self._moments.pop(moment.stamp, None)
        return sorted(done, key=lambda m: m.stamp)

    def _subscribe(
        self,
        kind: type,
        topic: str,
        keep: Callable[[Moment, Any], None],
        qos: QoSProfile | None = None,
    ) -> None:
        def receive(message: Any) -> None:
            stamp = stamp_ns(message)
            with self._lock:
                moment = self._moments.setdefault(stamp, Moment(stamp))
                moment.touched = time.monotonic()
                keep(moment, message)
                if topic in self.counts:
                    self.counts[topic] += 1

        self._node.create_subscription(kind, topic, receive, qos or QoSProfile(depth=5))

    def _keeper(self, topic: str) -> Callable[[Moment, Any], None]:
        def keep(moment: Moment, message: Any) -> None:
            now = self._node.get_clock().now().nanoseconds
            moment.latencies[topic] = (now - moment.stamp) / 1e9
            moment.results[topic] = _READERS[type(message)](message)

        return keep

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        with self._lock:
            self._keep_state(message)


def _keep_scale(moment: Moment, message: DiagnosticArray) -> None:
    for status in message.status:
        moment.scale = {v.key: v.value for v in status.values}


def _keep_pose(moment: Moment, message: PoseStamped) -> None:
    moment.on_base = read_pose(message.pose)


def _pixels(message: Image) -> AnyArray:
    kind, channels = _CHANNELS[message.encoding]
    values = np.frombuffer(message.data, kind).reshape(message.height, message.width, channels)
    return values[..., 0] if channels == 1 else values


def _camera(message: CameraInfo) -> Intrinsics:
    k = message.k
    return Intrinsics(k[0], k[4], k[2], k[5], message.width, message.height)


def _points(message: PointCloud2) -> Float32Array:
    """(H, W, 3) of a cloud whose first fields are x, y and z."""
    table = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, -1)
    return np.ascontiguousarray(table[..., :12]).view('<f4')


def _scan(message: LaserScan) -> Scan:
    ranges = np.array(message.ranges, dtype=np.float32)
    return Scan(ranges, message.angle_min, message.angle_increment, message.range_max)


_READERS: dict[type, Callable[[Any], Any]] = {
    Image: _pixels,
    PointCloud2: _points,
    LaserScan: _scan,
}
