"""A robot that drives sideways through the benchmark's room, message by message, without a node.

Its references are those of every source at once; what a test wants of them comes before the
prediction or while the model works.
"""

from __future__ import annotations

import array
from typing import Any, NamedTuple

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from moving_lidar import timed
from rig import image_of
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.mounting import Mounting
from lotus2_ros.geometry.rigid import from_rotation_vector, inverse
from lotus2_ros.ros import scale_feeds
from lotus2_ros.ros.camera import Camera
from lotus2_ros.ros.plan import DEPTH_IMAGE, make_plan
from lotus2_ros.ros.products import Frame
from lotus2_ros.ros.scale import ScaleKeeper
from lotus2_ros.ros.scale_feeds import ReferenceFeeds
from lotus2_ros.ros.scale_history import PredictionHistory
from lotus2_ros.ros.scale_readings import stamp_ns
from lotus2_ros.ros.scale_sources import ScaleSources
from lotus2_ros.ros.scaled import Scaled
from lotus2_ros.ros.transforms import LateTransform, Transforms
from lotus2_ros.settings import NodeSettings
from lotus2_ros.tools.benchmark_room import (
    HEIGHT_M,
    LIDAR_TO_CAMERA,
    room_depth,
    room_picture,
    room_scan,
)

WIDTH, HEIGHT = 160, 120
CAMERA = Camera(Intrinsics.from_hfov(70.0, WIDTH, HEIGHT), None, 'test')
OPTICAL, LIDAR, BASE, ODOM = 'optical', 'lidar', 'base_footprint', 'odom'
A, B = 1.5, 0.1
STEP_NS, STEP_M = 50_000_000, 0.08
SCAN_NS, BEFORE_NS, AFTER_NS = -15_000_000, -10_000_000, 5_000_000
"""From an image to the scan that belongs to it, and to the poses around it."""

MOUNTED = Mounting(HEIGHT_M)
LIDAR_IN_BASE = MOUNTED.optical_to_base @ LIDAR_TO_CAMERA
SETTINGS = NodeSettings(
    camera_height=HEIGHT_M,
    lidar_x=float(LIDAR_IN_BASE[0, 3]),
    lidar_y=float(LIDAR_IN_BASE[1, 3]),
    lidar_z=float(LIDAR_IN_BASE[2, 3]),
)


class Moment(NamedTuple):
    """An image's context, what is predicted for it, and what the sensors say of the same moment."""

    frame: Frame
    disparity: np.ndarray
    depth: Image
    cloud: PointCloud2
    before: PoseStamped
    after: PoseStamped


def driven(stamp: int) -> np.ndarray:
    """Robot -> odom: to the right, where the camera's x axis points."""
    return from_rotation_vector(np.zeros(3), np.array([0.0, -STEP_M * stamp / STEP_NS, 0.0]))


class Tree(Transforms):
    """The robot's transforms, as far as they have come.

    Attributes:
        until: the last time that is known [ns].
    """

    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.until = 0

    def between(self, target: str, target_ns: int, source: str, source_ns: int, fixed: str) -> Any:
        del fixed
        if max(target_ns, source_ns) > self.until and {target, source} != {BASE, OPTICAL}:
            return LateTransform(f'late transform from {source} to {target}', self.until)
        return inverse(self._at(target, target_ns)) @ self._at(source, source_ns)

    def _at(self, frame: str, stamp: int) -> np.ndarray:
        mounted = {OPTICAL: MOUNTED.optical_to_base, LIDAR: LIDAR_IN_BASE}
        return np.eye(4) if frame == ODOM else driven(stamp) @ mounted.get(frame, np.eye(4))


def moments(settings: NodeSettings, count: int) -> list[Moment]:
    """The drive, always the same."""
    rng = np.random.default_rng(0)
    return [_moment(settings, number, rng) for number in range(1, count + 1)]


def _moment(settings: NodeSettings, number: int, rng: np.random.Generator) -> Moment:
    stamp = number * STEP_NS
    place = _place(stamp)
    depth = room_depth(CAMERA.intrinsics, place)
    header = _header(OPTICAL, stamp)
    plan = make_plan((DEPTH_IMAGE,), settings, '')
    frame = Frame(
        *(header, settings, plan, plan, CAMERA, None),
        epoch=0,
        received=0.0,
        picture=room_picture(CAMERA.intrinsics, depth, place[0]),
        size=(HEIGHT, WIDTH),
    )
    gain = float(np.exp(rng.normal(0, 0.02)))
    disparity = (gain * (1.0 / depth - B) / A).astype(np.float32)
    return Moment(
        frame,
        disparity,
        _image(depth, header),
        _cloud(room_scan(16, rng, _place(stamp + SCAN_NS)), _header(LIDAR, stamp + SCAN_NS)),
        _pose(stamp + BEFORE_NS),
        _pose(stamp + AFTER_NS),
    )


def _place(stamp: int) -> np.ndarray:
    """Of the camera in the room [m]."""
    return np.array([STEP_M * stamp / STEP_NS, 0.0, 0.0])


def _pose(stamp: int) -> PoseStamped:
    x, y, z = driven(stamp)[:3, 3]
    pose = Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=1.0))
    return PoseStamped(header=_header(ODOM, stamp), pose=pose)


def _image(depth: np.ndarray, header: Header) -> Image:
    image = image_of(depth, '32FC1')
    image.header = header
    return image


def _header(frame_id: str, stamp: int) -> Header:
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = divmod(stamp, 10**9)
    return header


def _cloud(points: np.ndarray, header: Header) -> PointCloud2:
    """With times: a sensor that turns within a millisecond."""
    cloud = PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=[
            PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
            for i, name in enumerate('xyz')
        ],
        point_step=12,
        row_step=12 * len(points),
        data=array.array('B', np.ascontiguousarray(points).tobytes()),
    )
    return timed(cloud, np.linspace(0.0, 1e-3, len(points)), 'ouster')


class Robot:
    """What the node has of one camera, without the node."""

    def __init__(self, settings: NodeSettings) -> None:
        self._callbacks: dict[str, Any] = {}
        feeds = ReferenceFeeds(
            lambda _, topic, callback: self._callbacks.update({topic: callback}),  # type: ignore[arg-type,return-value]
            lambda _: None,
        )
        feeds.apply(settings)
        history = PredictionHistory()
        self.tree = Tree()
        sources = ScaleSources(feeds, self.tree, history)
        self.causes: list[str] = []
        self.keeper = ScaleKeeper(
            sources, history, publish=lambda *_: None, count=self.causes.append
        )

    def sense(self, moment: Moment) -> None:
        """Let all come that is subscribed to."""
        self.hear(moment.depth, moment.cloud, moment.before, moment.after)
        self.know(moment)

    def hear(self, *messages: Image | PointCloud2 | PoseStamped) -> None:
        """Let references come, as far as they are subscribed to."""
        topics = {
            Image: scale_feeds.DEPTH,
            PointCloud2: scale_feeds.POINTS,
            PoseStamped: scale_feeds.ODOM_POSE,
        }
        for message in messages:
            self._callbacks.get(topics[type(message)], lambda _: None)(message)

    def know(self, moment: Moment) -> None:
        """Let transforms come."""
        self.tree.until = stamp_ns(moment.frame) + AFTER_NS

    def scaled(self, moment: Moment) -> Scaled:
        with self.keeper.answering(moment.frame):
            return self.keeper.of(moment.frame, moment.disparity, None, sharp=False)
