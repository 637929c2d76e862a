"""Subscriptions to reference sensors, and which of their messages belongs to which image."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image, Imu, PointCloud2

from lotus2_ros.geometry.rigid import from_rotation_vector, rotation_vector
from lotus2_ros.geometry.scale.estimate import NoScale
from lotus2_ros.ros.messages import optional_message
from lotus2_ros.ros.scale_history import Predicted, PredictionHistory, Taken
from lotus2_ros.ros.scale_readings import read_pose, stamp_ns
from lotus2_ros.settings import NodeSettings

Asked = TypeVar('Asked', bound=Taken)
Float64Array = NDArray[np.float64]

DEPTH, POINTS, IMU, ODOM, ODOM_POSE = (
    *('reference/depth', 'reference/points', 'imu'),
    *('odom', 'odom/pose'),
)
"""Relative, remappable names of the inputs."""

_WAITING = 6
"""Messages of a sensor that wait for their image; a camera may be slower than a sensor."""

_POSES = 400
_TIMES = 32
"""Between poses of which results are remembered."""

_OTHER_CLOCK_NS = 10_000_000_000
"""Stamps farther apart are no delay."""

_GRAVITY_MEMORY = 0.05
"""Share of a new reading of acceleration: what the robot's own motion does averages out."""

_LEAST_GRAVITY = 5.0
_MOST_GRAVITY = 15.0


class Match(NamedTuple, Generic[Asked]):
    """A reference and the image that it belongs to."""

    message: Any
    entry: Asked


class _Pose(NamedTuple):
    stamp: int
    frame_id: str
    pose: Float64Array | None


class ReferenceFeeds:
    """Messages come on the executor's thread and are asked for on the receiver's.

    Args:
        subscribe: creates a subscription (type, relative topic, callback) with the input profile.
        destroy: destroys one.
    """

    def __init__(
        self,
        subscribe: Callable[[Any, str, Callable[[Any], None]], Subscription[Any]],
        destroy: Callable[[Subscription[Any]], Any],
    ) -> None:
        self._subscribe = subscribe
        self._destroy = destroy
        self._lock = threading.Lock()
        self._subscriptions: dict[str, Subscription[Any]] = {}
        self._waiting: dict[str, deque[Any]] = {
            topic: deque(maxlen=_WAITING) for topic in (DEPTH, POINTS)
        }
        self._poses: deque[_Pose] = deque(maxlen=_POSES)
        self._remembered: dict[int, tuple[_Pose, _Pose, Float64Array]] = {}
        self._up: Float64Array | None = None

    def apply(self, settings: NodeSettings) -> None:
        """Subscribe to what these settings need, and to nothing else; on the executor's thread."""
        wanted = _topics(settings)
        for topic in [topic for topic in self._subscriptions if topic not in wanted]:
            self._destroy(self._subscriptions.pop(topic))
        for topic, (kind, callback) in self._inputs().items():
            if topic in wanted and topic not in self._subscriptions and kind is not None:
                self._subscriptions[topic] = self._subscribe(kind, topic, callback)

    def close(self) -> None:
        """Destroy all subscriptions."""
        for subscription in self._subscriptions.values():
            self._destroy(subscription)
        self._subscriptions.clear()
        self.clear()

    def clear(self) -> None:
        """Forget all messages."""
        with self._lock:
            for waiting in self._waiting.values():
                waiting.clear()
            self._poses.clear()
            self._up = None

    def match(
        self, topic: str, history: PredictionHistory, sync_s: float
    ) -> Match[Predicted] | NoScale | None:
        """The reference on a topic that belongs to the newest possible prediction; used up by it.

        Returns:
            The match; None if nothing has come; 'reference from another clock' or 'reference
            matches no image'.
        """
        entries = history.all()
        if not entries:
            return None
        sync = round(sync_s * 1e9)
        problem: NoScale | None = None
        with self._lock:
            messages = list(self._waiting[topic])
            self._waiting[topic].clear()
            for message in messages:
                stamp = stamp_ns(message)
                apart = abs(stamp - _nearest(stamp, entries).stamp)
                if apart > _OTHER_CLOCK_NS:
                    problem = NoScale('reference from another clock')
                elif apart > sync and stamp > entries[-1].stamp:
                    self._waiting[topic].append(message)  # its image may be under way
                elif apart > sync:
                    problem = problem or NoScale('reference matches no image')
        return _best(messages, entries, sync) or problem

    def likely(
        self, topic: str, history: PredictionHistory, coming: Taken, sync_s: float
    ) -> Match[Taken] | None:
        """What `match` would give if an image were predicted now; nothing is used up."""
        with self._lock:
            messages = list(self._waiting[topic])
        return _best(messages, history.with_coming(coming), round(sync_s * 1e9))

    def pose_at(self, stamp: int, fixed_frame: str, sync_s: float) -> Float64Array | NoScale:
        """(4, 4), robot at a time [ns] -> fixed frame, between the two poses around it.

        Returns:
            The pose; or 'no odometry', 'odometry in another frame', 'odometry late', 'bad
            odometry'.
        """
        with self._lock:
            poses = list(self._poses)
        if not poses:
            return NoScale('no odometry')
        if poses[-1].frame_id != fixed_frame:
            return NoScale('odometry in another frame')
        after = bisect_right(poses, stamp, key=lambda pose: pose.stamp)
        one, other = poses[max(0, after - 1)], poses[min(after, len(poses) - 1)]
        if min(abs(one.stamp - stamp), abs(other.stamp - stamp)) > sync_s * 1e9:
            return NoScale('odometry late')
        if one.pose is None or other.pose is None:
            return NoScale('bad odometry')
        if other.stamp <= one.stamp:
            return one.pose
        # Asked for the same few times again and again, while an image is worked on.
        known = self._remembered.get(stamp)
        if known is not None and known[0] is one and known[1] is other:
            return known[2]
        part = min(1.0, max(0.0, (stamp - one.stamp) / (other.stamp - one.stamp)))
        pose = _between(one.pose, other.pose, part)
        if len(self._remembered) >= _TIMES:
            self._remembered.clear()
        self._remembered[stamp] = one, other, pose
        return pose

    def may_move(self, image: Taken) -> bool:
        """Whether the pose at the time of an image may become another one once more odometry comes.

        It is between two poses once there is one after it; before, the last one stands for it.
        """
        with self._lock:
            newest = self._poses[-1].stamp if self._poses else None
        by_odometry = image.frame.settings.scale_extrinsics == 'parameters'
        return by_odometry and newest is not None and newest < image.stamp

    def up(self) -> Float64Array | NoScale:
        """(3,) against gravity in the frame of the IMU; or 'no imu'."""
        with self._lock:
            return NoScale('no imu') if self._up is None else self._up.copy()

    def _inputs(self) -> dict[str, tuple[Any, Callable[[Any], None]]]:
        return {
            DEPTH: (Image, lambda message: self._keep(DEPTH, message)),
            POINTS: (PointCloud2, lambda message: self._keep(POINTS, message)),
            IMU: (Imu, self._on_imu),
            ODOM: (odometry_type(), lambda message: self._on_pose(message, message.pose.pose)),
            ODOM_POSE: (PoseStamped, lambda message: self._on_pose(message, message.pose)),
        }

    def _keep(self, topic: str, message: Any) -> None:
        with self._lock:
            self._waiting[topic].append(message)

    def _on_pose(self, message: Any, pose: Any) -> None:
        entry = _Pose(stamp_ns(message), message.header.frame_id, read_pose(pose))
        with self._lock:
            last = self._poses[-1].stamp if self._poses else -1
            if entry.stamp == last:
                return  # the same pose on both topics
            if entry.stamp < last:
                self._poses.clear()  # a clock that was set back: what is there is of another time
            self._poses.append(entry)

    def _on_imu(self, message: Imu) -> None:
        a = message.linear_acceleration
        reading = np.array([a.x, a.y, a.z])
        # At rest an accelerometer shows what keeps it from falling: 9.8 m/s2 upwards.
        if not _LEAST_GRAVITY < float(np.linalg.norm(reading)) < _MOST_GRAVITY:
            return
        with self._lock:
            known = self._up
            self._up = reading if known is None else known + _GRAVITY_MEMORY * (reading - known)


def odometry_type() -> Any | None:
    """nav_msgs/Odometry, or None where it is not installed; poses come on odom/pose there."""
    return optional_message('nav_msgs', 'Odometry')


def _topics(settings: NodeSettings) -> set[str]:
    sources = settings.references()
    topics = {
        topic for source, topic in (('depth', DEPTH), ('points', POINTS)) if source in sources
    }
    # A lidar's points are moved by what the robot moved since; without odometry they stay.
    moves = 'odometry' in sources or 'points' in sources
    if moves and settings.scale_extrinsics == 'parameters':
        topics |= {ODOM, ODOM_POSE}
    if 'ground' in sources and settings.gravity_source == 'imu':
        topics.add(IMU)
    return topics


def _nearest(stamp: int, images: Sequence[Asked]) -> Asked:
    return min(images, key=lambda image: abs(image.stamp - stamp))


def _best(messages: Sequence[Any], images: Sequence[Asked], sync: int) -> Match[Asked] | None:
    """The message and the image of the same moment [ns] of which the image is the newest."""
    best: Match[Asked] | None = None
    for message in messages:
        stamp = stamp_ns(message)
        found = Match(message, _nearest(stamp, images))
        if abs(found.entry.stamp - stamp) <= sync and (best is None or _better(found, best)):
            best = found
    return best


def _better(one: Match[Asked], other: Match[Asked]) -> bool:
    """For a newer image; for the same one, nearer in time."""
    if one.entry is not other.entry:
        return one.entry.stamp > other.entry.stamp
    stamp = one.entry.stamp
    return abs(stamp_ns(one.message) - stamp) < abs(stamp_ns(other.message) - stamp)


def _between(one: Float64Array, other: Float64Array, part: float) -> Float64Array:
    turn = rotation_vector(one[:3, :3].T @ other[:3, :3])
    result = np.eye(4)
    result[:3, :3] = one[:3, :3] @ from_rotation_vector(part * turn, np.zeros(3))[:3, :3]
    result[:3, 3] = one[:3, 3] + part * (other[:3, 3] - one[:3, 3])
    return result
