"""Subscribes to everything a depth node puts out, counts it, times it, keeps a picture of each.

Plain data comes out of it, so that a report can be written without ROS messages at hand.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, PointCloud2

from lotus2_ros.ros import plan
from lotus2_ros.ros.codecs import decode_image
from lotus2_ros.ros.listening import Listening
from lotus2_ros.ros.outputs import message_type
from lotus2_ros.types import Float32Array, UInt8Array

DIAGNOSTICS = '/diagnostics'
_PICTURED = (plan.DEPTH_COLOR, plan.NORMALS_COLOR, plan.POINTS)
_NANOSECONDS = 1_000_000_000
_POINT_FIELD = {7: '<f4'}


class TopicReport(NamedTuple):
    """What came on one topic.

    Attributes:
        name: resolved name.
        kind: message type, for example sensor_msgs/Image.
        encoding: of an image; the fields of a cloud; empty for other messages, or if none came.
        size: width x height; empty where there is none.
        received: seconds on the listener's clock at which messages came.
        latencies: seconds between each message's stamp, that of its image, and its arrival.
    """

    name: str
    kind: str
    encoding: str
    size: str
    received: list[float]
    latencies: list[float]


@dataclass
class Scene:
    """One picture that the camera showed, and the results for it.

    Attributes:
        rgb: (H, W, 3) uint8, the picture.
        messages: topic, `~/` left out, to the last result for it.
    """

    rgb: UInt8Array
    messages: dict[str, Any] = field(default_factory=dict)

    def picture(self, topic: str) -> UInt8Array | None:
        """(H, W, 3) uint8 RGB of an rgb8 result, or None if there is none."""
        message = self.messages.get(topic)
        return None if message is None else _pixels(message)

    def cloud(self, topic: str = plan.POINTS) -> tuple[Float32Array, UInt8Array] | None:
        """(N, 3) points [m] and (N, 3) uint8 colours of a coloured cloud, or None."""
        message = self.messages.get(topic)
        return None if message is None else read_cloud(message)


@dataclass
class _Log:
    kind: str
    last: Any = None
    received: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)


class OutputListener(Listening):
    """Counts and keeps what comes, until `close`.

    Args:
        node: resolved name of the depth node, for example /depth_node.
        image: resolved name of the image topic that the depth node subscribes to.
        domain: ROS domain.
    """

    def __init__(self, node: str, image: str, *, domain: int) -> None:
        super().__init__('output_listener', domain)
        self._logs: dict[str, _Log] = {}
        self._pictures: dict[tuple[int, int], int] = {}
        self._scenes: dict[int, Scene] = {}
        # Two results of every topic may wait here while another one is taken.
        qos = QoSProfile(depth=2)
        self._subscribe(Image, image, qos, self._on_image)
        self._subscribe(DiagnosticArray, DIAGNOSTICS, QoSProfile(depth=10), self._keep_state)
        for prefix in ('', 'sharp/'):
            for topic in plan.TOPICS:
                kind = message_type(topic)
                keep = self._keeper(prefix + topic) if topic in _PICTURED else _nothing
                self._subscribe(kind, f'{node}/{prefix}{topic}', qos, keep)
        self._outputs = [name for name in self._logs if name != image]
        self._listen()

    def missing(self) -> list[str]:
        """Output topics on which nothing has come since the last `restart`, but should have."""
        with self._lock:
            return [
                name
                for name in self._outputs
                if not self._logs[name].received and not name.endswith(plan.MAY_BE_SILENT)
            ]

    def received(self, name: str) -> int:
        """How many messages came on a topic since the last `restart`."""
        with self._lock:
            return len(self._logs[name].received)

    def restart(self) -> None:
        """Count and time from now on."""
        with self._lock:
            for log in self._logs.values():
                log.received, log.latencies = [], []

    def reports(self) -> list[TopicReport]:
        """Every output topic, in the order of publication."""
        with self._lock:
            return [self._report(name, self._logs[name]) for name in self._outputs]

    def scenes(self) -> list[Scene]:
        """Every different picture that came, in the order of arrival."""
        with self._lock:
            return list(self._scenes.values())

    def _subscribe(
        self, kind: type, name: str, qos: QoSProfile, keep: Callable[[Any], None]
    ) -> None:
        package, _, _ = kind.__module__.partition('.')
        self._logs[name] = log = _Log(f'{package}/{kind.__name__}')

        def receive(message: Any) -> None:
            now = self._node.get_clock().now().nanoseconds
            stamp = message.header.stamp
            with self._lock:
                log.last = message
                log.received.append(now / _NANOSECONDS)
                sent = stamp.sec * _NANOSECONDS + stamp.nanosec
                log.latencies.append((now - sent) / _NANOSECONDS)
                keep(message)

        self._node.create_subscription(kind, name, receive, qos)

    def _on_image(self, message: Image) -> None:
        # The same picture is shown many times; its pixels tell it from the others.
        identity = zlib.crc32(message.data)
        self._pictures[_stamp(message)] = identity
        if identity not in self._scenes:
            self._scenes[identity] = Scene(_pixels(message))

    def _keeper(self, topic: str) -> Callable[[Any], None]:
        def keep(message: Any) -> None:
            identity = self._pictures.get(_stamp(message))
            if identity is not None:
                self._scenes[identity].messages[topic] = message

        return keep

    def _report(self, name: str, log: _Log) -> TopicReport:
        encoding = size = ''
        if log.last is not None and log.received:
            if hasattr(log.last, 'encoding'):
                encoding = log.last.encoding
            elif hasattr(log.last, 'fields'):
                encoding = ' '.join(f.name for f in log.last.fields)
            elif hasattr(log.last, 'ranges'):
                size = f'{len(log.last.ranges)} beams'
            if hasattr(log.last, 'width'):
                size = f'{log.last.width}x{log.last.height}'
        return TopicReport(name, log.kind, encoding, size, list(log.received), list(log.latencies))


def read_cloud(message: PointCloud2) -> tuple[Float32Array, UInt8Array]:
    """(N, 3) points and (N, 3) uint8 colours of a cloud with x, y, z and rgb."""
    layout = np.dtype(
        {
            'names': [f.name for f in message.fields],
            'formats': [
                '<u4' if f.name == 'rgb' else _POINT_FIELD[f.datatype] for f in message.fields
            ],
            'offsets': [f.offset for f in message.fields],
            'itemsize': message.point_step,
        }
    )
    table = np.frombuffer(message.data, layout)
    points = np.stack([table['x'], table['y'], table['z']], axis=-1)
    packed = table['rgb']
    colors = np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=-1)
    return points, colors.astype(np.uint8)


def _pixels(message: Image) -> UInt8Array:
    rgb = np.empty((message.height, message.width, 3), dtype=np.uint8)
    decode_image(message, rgb)
    return rgb


def _stamp(message: Any) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec


def _nothing(message: Any) -> None:
    """Topics that are counted only."""
