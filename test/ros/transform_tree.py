"""tf2_ros, or where it is not installed the part of its interface that the node and tests use.

tf2_ros is not in the Python package index. In its place a `TransformStamped` each comes on /tf and
/tf_static, where tf2_ros has arrays of them.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import types
from collections.abc import Iterable
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.time import Time

from lotus2_ros.geometry.rigid import from_rotation_vector, inverse, rotation_vector
from lotus2_ros.ros.scale_readings import pose_matrix, stamp_ns

STATIC_QOS = QoSProfile(depth=10, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)

_CACHE_NS = 10 * 10**9
"""How long poses are kept; what is older than that when it comes is refused."""


class TransformException(Exception):  # noqa: N818 (as tf2_ros has it)
    """There is no such transform."""


class ExtrapolationException(TransformException):
    """There is none at that time."""


class Buffer:
    """Edges from child to parent, each with its poses by time; nothing is extrapolated."""

    def __init__(self) -> None:
        self._edges: dict[str, tuple[str, dict[int, np.ndarray]]] = {}
        self._static: set[str] = set()

    def add(self, message: TransformStamped, *, static: bool) -> None:
        p, q = message.transform.translation, message.transform.rotation
        matrix = pose_matrix((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
        assert matrix is not None
        _, poses = self._edges.setdefault(message.child_frame_id, (message.header.frame_id, {}))
        if static:
            self._static.add(message.child_frame_id)
        elif stamp_ns(message) < max(poses, default=0) - _CACHE_NS:
            return
        poses[stamp_ns(message)] = matrix

    def clear(self) -> None:
        for child, (_, poses) in self._edges.items():
            if child not in self._static:
                poses.clear()

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time
    ) -> TransformStamped:
        """With time 0, at the newest time at which both are known."""
        edges = self._edges_between(target_frame, source_frame)
        times = [
            max(self._edges[edge][1], default=0)
            for edge in edges[0] + edges[1]
            if edge not in self._static
        ]
        when = time.nanoseconds or min(times, default=0)
        pose = self._between(target_frame, source_frame, when)
        return stamped(pose, target_frame, source_frame, when)

    def lookup_transform_full(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
    ) -> TransformStamped:
        source = self._between(fixed_frame, source_frame, source_time.nanoseconds)
        target = self._between(fixed_frame, target_frame, target_time.nanoseconds)
        return stamped(inverse(target) @ source, target_frame, source_frame)

    def _between(self, to: str, frame: str, when: int) -> np.ndarray:
        """`frame` -> `to` by way of the frame that both hang on."""
        up, down = self._edges_between(frame, to)
        return inverse(self._chain(down, when)) @ self._chain(up, when)

    def _chain(self, edges: list[str], when: int) -> np.ndarray:
        pose = np.eye(4)
        for edge in edges:
            _, poses = self._edges[edge]
            if edge in self._static:
                now = next(iter(poses.values()))
            else:
                if not poses or not min(poses) <= when <= max(poses):
                    raise ExtrapolationException(f'{edge} is not known at {when}')
                now = pose_at(poses, when)
            pose = now @ pose
        return pose

    def _edges_between(self, one: str, other: str) -> tuple[list[str], list[str]]:
        """From each frame up to the first one above both."""
        ways = self._above(one), self._above(other)
        if ways[0][-1] != ways[1][-1]:
            raise TransformException(f'{one} and {other} are in two trees')
        first, second = (
            [frame for frame in way if frame not in beside] for way, beside in (ways, ways[::-1])
        )
        return first, second

    def _above(self, frame: str) -> list[str]:
        """The frame and those that it hangs on, to the root."""
        frames = [frame]
        while frames[-1] in self._edges:
            frames.append(self._edges[frames[-1]][0])
        return frames


class TransformListener:
    """Fills a buffer from /tf and /tf_static."""

    def __init__(self, buffer: Buffer, node: Node) -> None:
        self._node = node
        self._subscriptions = [
            node.create_subscription(
                TransformStamped, '/tf', lambda message: buffer.add(message, static=False), 100
            ),
            node.create_subscription(
                TransformStamped,
                '/tf_static',
                lambda message: buffer.add(message, static=True),
                STATIC_QOS,
            ),
        ]

    def unregister(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)


class TransformBroadcaster:
    """Publishes poses at their times."""

    def __init__(self, node: Node) -> None:
        self._publisher = node.create_publisher(TransformStamped, '/tf', 100)

    def sendTransform(self, transforms: Iterable[TransformStamped]) -> None:  # noqa: N802
        for transform in transforms:
            self._publisher.publish(transform)


class StaticTransformBroadcaster:
    """Publishes poses that hold at any time, for those who come later, too."""

    def __init__(self, node: Node) -> None:
        self._publisher = node.create_publisher(TransformStamped, '/tf_static', STATIC_QOS)

    def sendTransform(self, transforms: Iterable[TransformStamped]) -> None:  # noqa: N802
        for transform in transforms:
            self._publisher.publish(transform)


def tf2_module() -> Any:
    """tf2_ros itself where it is installed; elsewhere what stands in sys.modules for it."""
    if importlib.util.find_spec('tf2_ros') is not None:
        return importlib.import_module('tf2_ros')
    module: Any = types.ModuleType('tf2_ros')
    module.__spec__ = importlib.machinery.ModuleSpec('tf2_ros', None)
    for kind in (
        *(Buffer, TransformListener, TransformBroadcaster, StaticTransformBroadcaster),
        *(TransformException, ExtrapolationException),
    ):
        setattr(module, kind.__name__, kind)
    return module


def pose_at(poses: dict[int, np.ndarray], when: int) -> np.ndarray:
    """The pose at a time between the first and the last one, at steady speed between two."""
    before, after = max(t for t in poses if t <= when), min(t for t in poses if t >= when)
    one, other = poses[before], poses[after]
    part = (when - before) / max(after - before, 1)
    turn = rotation_vector(one[:3, :3].T @ other[:3, :3])
    turned = one[:3, :3] @ from_rotation_vector(part * turn, np.zeros(3))[:3, :3]
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turned, one[:3, 3] + part * (other[:3, 3] - one[:3, 3])
    return pose


def stamped(matrix: np.ndarray, parent: str, child: str, nanoseconds: int = 0) -> TransformStamped:
    """The message of a transform child -> parent."""
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 10**9)
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = (float(value) for value in matrix[:3, 3])
    q.x, q.y, q.z, q.w = quaternion(matrix[:3, :3])
    return message


def quaternion(rotation: np.ndarray) -> tuple[float, float, float, float]:
    """(x, y, z, w), by the eigenvector of the largest eigenvalue (Bar-Itzhack 2000)."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    table = np.array(
        [
            [xx - yy - zz, 0, 0, 0],
            [yx + xy, yy - xx - zz, 0, 0],
            [zx + xz, zy + yz, zz - xx - yy, 0],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    x, y, z, w = np.linalg.eigh(table)[1][:, -1]
    return float(x), float(y), float(z), float(w)
