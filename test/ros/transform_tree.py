"""A tree of transforms over real topics, with the part of tf2_ros' interface that the node uses.

tf2_ros is not in the Python package index. Here a `TransformStamped` each comes on /tf and
/tf_static, where tf2_ros has arrays of them.
"""

from __future__ import annotations

import importlib.machinery
import types
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.time import Time

from lotus2_ros.geometry.rigid import inverse
from lotus2_ros.ros.scale_readings import pose_matrix, stamp_ns

STATIC_QOS = QoSProfile(depth=10, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


class TransformException(Exception):  # noqa: N818 (as tf2_ros has it)
    """There is no such transform at that time."""


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
        poses[stamp_ns(message)] = matrix
        if static:
            self._static.add(message.child_frame_id)

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
        """`frame` -> `to` by way of their root."""
        (root, one), (other_root, other) = self._to_root(frame, when), self._to_root(to, when)
        if root != other_root:
            raise TransformException(f'{frame} and {to} are in two trees')
        return inverse(other) @ one

    def _to_root(self, frame: str, when: int) -> tuple[str, np.ndarray]:
        pose = np.eye(4)
        while frame in self._edges:
            parent, poses = self._edges[frame]
            if frame in self._static:
                now = next(iter(poses.values()))
            else:
                if not min(poses) <= when <= max(poses):
                    raise TransformException(f'{frame} is not known at {when}')
                now = poses[min(poses, key=lambda stamp: abs(stamp - when))]
            frame, pose = parent, now @ pose
        return frame, pose


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


def as_module() -> types.ModuleType:
    """To stand in sys.modules for tf2_ros."""
    module: Any = types.ModuleType('tf2_ros')
    module.__spec__ = importlib.machinery.ModuleSpec('tf2_ros', None)
    module.Buffer, module.TransformListener = Buffer, TransformListener
    module.TransformException = TransformException
    return module


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
