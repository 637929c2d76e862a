"""Where the camera is over the ground, by TF or by parameters, as ~/scan and ~/ground take it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pytest
from rig import FRAME, Rig, image_of, info_of, pixels, points, wait_until
from scale_world import NODE
from sensor_msgs.msg import LaserScan
from transform_tree import quaternion, stamped, tf2_module

from lotus2_ros.geometry.mounting import Mounting
from lotus2_ros.geometry.rigid import from_rotation_vector
from lotus2_ros.ros.scale_readings import pose_matrix

WIDTH, HEIGHT = 160, 120
BASE = 'base_footprint'
PLACE = {'height': 0.6, 'x': 0.2, 'y': -0.1, 'roll_deg': 2.0, 'pitch_deg': 8.0, 'yaw_deg': 25.0}


def turn(degrees: float) -> np.ndarray:
    """Of the mast about its base, to the left."""
    return from_rotation_vector(np.array([0.0, 0.0, np.radians(degrees)]), np.zeros(3))


class Robot:
    """A node with scan, ground and heights, and a robot that says where its camera is."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.rgb = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        self.now_ns = rig.peer.get_clock().now().nanoseconds
        tf2 = tf2_module()
        self._tf = tf2.TransformBroadcaster(rig.peer)
        self._static = tf2.StaticTransformBroadcaster(rig.peer)
        self.bearing = Mounting(**PLACE).optical_to_base

    def say_mast(self) -> None:
        """The camera sits on a mast that can turn."""
        self.say_fixed(self.bearing, 'mast', FRAME)

    def say_fixed(self, matrix: np.ndarray, parent: str, child: str) -> None:
        self._static.sendTransform([stamped(matrix, parent, child)])

    def say_turn(self, degrees: float, nanoseconds: int) -> None:
        self._tf.sendTransform([stamped(turn(degrees), BASE, 'mast', nanoseconds)])

    def scan(self, *, turned_deg: float | None = None) -> LaserScan:
        """The scan of a new image, at the time of which the mast was turned so far."""
        stamp = self.rig.stamp()
        when = stamp.sec * 10**9 + stamp.nanosec
        if turned_deg is not None:
            for late in (10**8, 0, -(10**8)):
                self.say_turn(turned_deg + (late / 1e8) * 30.0, when - late)
            wait_until(lambda: self._known(when), what='the node knows the transforms')
        self.rig.send(image_of(self.rgb), stamp=stamp)
        return self.rig.get('scan', stamp)

    def _known(self, when: int) -> bool:
        found = self.rig.node.session.scale._sources.transforms.between(
            BASE, when, FRAME, when, BASE
        )
        return isinstance(found, np.ndarray)


@pytest.fixture(scope='module')
def robot() -> Iterator[Robot]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, 'tf2_ros', tf2_module())
        rig = Rig(
            {
                **NODE,
                'scale_mode': 'fixed',
                'disparity_shift': 0.1,
                'nav_height': True,
            }
        )
        try:
            rig.wait_ready()
            rig.send_info(info_of(WIDTH, HEIGHT))
            rig.listen('depth/disparity', 'scan', 'ground', 'points/nav')
            yield Robot(rig)
            assert rig.node_errors == [], rig.node_errors
        finally:
            rig.close()


def by_parameters(robot: Robot, turned_deg: float = 0.0) -> LaserScan:
    place = asdict(Mounting.from_transform(turn(turned_deg) @ robot.bearing))
    named = {f'camera_{name}': value for name, value in place.items()}
    assert robot.rig.set(scale_extrinsics='parameters', **named) == (True, '')
    return robot.scan()


def test_the_pose_is_taken_from_tf_at_the_time_of_the_image(robot: Robot) -> None:
    rig = robot.rig
    expected = by_parameters(robot)
    assert rig.status()[2]['camera pose'] == 'parameters'
    turned = by_parameters(robot, 40.0)
    heights = points(rig.get('points/nav', turned.header.stamp))
    labels = pixels(rig.get('ground', turned.header.stamp))

    # Parameters have no say now, not even those that withhold.
    assert rig.set(scale_extrinsics='tf', camera_height=0.0, camera_yaw_deg=0.0) == (True, '')
    count = len(rig.of('scan'))
    stamp = robot.rig.send(image_of(robot.rgb))
    rig.get('depth/disparity', stamp)
    reason = f'no transform from {FRAME} to {BASE}'
    wait_until(lambda: rig.status()[2]['camera pose'] == f'none: {reason}', what='it is said')
    values = rig.wait_state('OK')
    for topic in ('scan', 'ground', 'points/nav'):
        assert values[f'withheld: ~/{topic}'] == f'the camera has no pose: {reason}'
    assert len(rig.of('scan')) == count
    assert rig.counts()[f'camera pose: {reason}'] >= 1

    robot.say_mast()
    np.testing.assert_allclose(robot.scan(turned_deg=0.0).ranges, expected.ranges, rtol=1e-3)
    assert rig.status()[2]['camera pose'] == f'TF, {BASE} <- {FRAME}'
    found = robot.scan(turned_deg=40.0)
    assert found.header.frame_id == BASE
    np.testing.assert_allclose(found.ranges, turned.ranges, rtol=1e-3)
    assert found.angle_min == pytest.approx(turned.angle_min)
    assert found.angle_min != pytest.approx(expected.angle_min)
    cloud = points(rig.get('points/nav', found.header.stamp))
    np.testing.assert_allclose(cloud, heights, atol=1e-4)
    same = pixels(rig.get('ground', found.header.stamp)) == labels
    assert same.mean() > 0.999
    assert 'withheld: ~/scan' not in rig.status()[2]


def test_a_pose_a_little_older_than_the_image_counts(robot: Robot) -> None:
    rig = robot.rig
    expected = by_parameters(robot, 20.0)
    robot.say_mast()
    assert rig.set(scale_extrinsics='tf', scale_sync_s=0.05) == (True, '')
    stamp = rig.stamp()
    when = stamp.sec * 10**9 + stamp.nanosec
    robot.say_turn(20.0, when - 40_000_000)
    wait_until(lambda: robot._known(when - 40_000_000), what='the node knows the transforms')
    rig.send(image_of(robot.rgb), stamp=stamp)
    np.testing.assert_allclose(rig.get('scan', stamp).ranges, expected.ranges, rtol=1e-3)

    assert rig.set(scale_sync_s=0.03) == (True, '')
    reason = f'none: late transform from {FRAME} to {BASE}'

    def said() -> bool:
        rig.get('depth/disparity', rig.send(image_of(robot.rgb)))
        return rig.status()[2]['camera pose'] == reason

    wait_until(said, what=reason)
    assert rig.set(scale_sync_s=0.05, scale_extrinsics='parameters') == (True, '')


def test_a_camera_below_the_ground_is_told(robot: Robot) -> None:
    rig = robot.rig
    robot.say_mast()
    above = np.eye(4)
    above[2, 3] = 3.0
    robot.say_fixed(above, BASE, 'roof')
    assert rig.set(scale_extrinsics='tf', base_frame='roof') == (True, '')
    wanted = 'none: the camera is not above roof by TF'

    def said() -> bool:
        stamp = rig.stamp()
        robot.say_turn(0.0, stamp.sec * 10**9 + stamp.nanosec)
        rig.get('depth/disparity', rig.send(image_of(robot.rgb), stamp=stamp))
        return rig.status()[2]['camera pose'] == wanted

    wait_until(said, what=wanted)
    assert rig.set(base_frame=BASE, scale_extrinsics='parameters') == (True, '')


def test_a_rotation_comes_back_from_its_quaternion() -> None:
    for seed in range(5):
        matrix = from_rotation_vector(np.random.default_rng(seed).normal(size=3), np.zeros(3))
        again = pose_matrix((0.0, 0.0, 0.0), quaternion(matrix[:3, :3]))
        np.testing.assert_allclose(again, matrix, atol=1e-9)
