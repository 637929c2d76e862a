"""Bad references and transforms: a named state, a diagnostic, and metres again when they go."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from moving_lidar import SCAN_S, driven, scale_error, scanned_on_the_way
from rclpy.qos import QoSProfile
from rclpy.time import Time
from rig import FRAME, info_of, wait_until
from rosgraph_msgs.msg import Clock
from scale_world import HEIGHT, HOLD_S, LIDAR, LIDAR_AT_CAMERA, WIDTH, A, World, running_world
from transform_tree import stamped, tf2_module

from lotus2_ros.geometry.rigid import from_rotation_vector, inverse

BASE, ODOM = 'base_footprint', 'odom'
TURNED_ROUND = from_rotation_vector(np.array([0.0, np.pi, 0.0]), np.zeros(3))


@pytest.fixture(scope='module')
def shared_world() -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, 'tf2_ros', tf2_module())
        with running_world() as world:
            yield world


@pytest.fixture
def world(shared_world: World) -> World:
    shared_world.rig.listen('depth/disparity', 'depth/image')
    shared_world.begin(scale_hold_s=HOLD_S)
    assert shared_world.rig.set(scale_mode='points', scale_extrinsics='parameters') == (True, '')
    return shared_world


def filled(world: World, value: float) -> Any:
    return world.cloud(depth=np.full_like(world.depth, value))


@pytest.mark.parametrize(
    ('bad', 'late_s', 'reason'),
    [
        (lambda w: w.cloud(inverse(LIDAR_AT_CAMERA) @ TURNED_ROUND), 0.0, 'lidar out of view'),
        (lambda w: filled(w, np.nan), 0.0, 'no valid points'),
        (lambda w: filled(w, 0.0), 0.0, 'no valid points'),
        (lambda w: w.cloud(), 1e6, 'reference from another clock'),
        (lambda w: w.cloud(depth=w.depth.max() + 0.3 - w.depth), 0.0, 'negative scale'),
    ],
    ids=['out of view', 'NaN', 'zeros', 'clock', 'negative'],
)
def test_a_bad_cloud_is_named_outlived_and_recovered_from(
    world: World, bad: Callable[[World], Any], late_s: float, reason: str
) -> None:
    assert world.lock(world.cloud)['state'] == 'locked'
    report = world.frame(bad(world), late_s=late_s, gap_s=0.7)
    assert (report['state'], report['reason']) == ('coasting', reason)
    assert world.rig.counts()[f'points reference: {reason}'] >= 1
    report = world.frame(bad(world), late_s=late_s, gap_s=HOLD_S)
    assert (report['state'], report['a [1/m]']) == ('lost', 'nan')
    assert reason in world.rig.wait_state('RELATIVE')['message']
    assert world.lock(world.cloud)['state'] == 'locked'


def test_another_camera_info_begins_anew_and_says_so(world: World) -> None:
    assert world.rig.set(scale_mode='depth') == (True, '')
    assert world.lock()['state'] == 'locked'
    other = info_of(WIDTH, HEIGHT)
    other.k[0] = other.k[4] = other.p[0] = other.p[5] = 1.1 * other.k[0]
    try:
        world.rig.send_info(other)
        report = wait_until(
            lambda: next((r for r in [world.frame()] if r['state'] == 'unscaled'), None),
            what='the camera has changed',
        )
        assert report['reason'] == 'the camera changed'
        assert 'the camera changed' in world.rig.wait_state('RELATIVE')['message']
        assert world.lock()['state'] == 'locked'
    finally:
        world.rig.send_info(info_of(WIDTH, HEIGHT))
        wait_until(lambda: world.frame()['state'] == 'unscaled', what='the first camera again')


def test_a_camera_that_is_turned_upside_down_stays_metric_by_its_reference(world: World) -> None:
    assert world.rig.set(scale_mode='depth') == (True, '')
    assert world.lock()['state'] == 'locked'
    down = np.ascontiguousarray(world.rgb[::-1, ::-1])
    report = world.frame(rgb=down)
    assert (report['state'], report['reason']) == ('locking', 'picture changed')
    assert report['a [1/m]'] == 'nan'
    assert world.frame(world.depth_image())['state'] in ('locking', 'locked')  # upright again
    assert world.lock()['state'] == 'locked'


class Tree:
    """A robot that says where it and its sensors are."""

    def __init__(self, world: World) -> None:
        self.world = world
        tf2 = tf2_module()
        self._tf = tf2.TransformBroadcaster(world.rig.peer)
        self._static = tf2.StaticTransformBroadcaster(world.rig.peer)

    def mount(self) -> None:
        for child, matrix in ((FRAME, inverse(LIDAR_AT_CAMERA)), (LIDAR, np.eye(4))):
            self._static.sendTransform([stamped(matrix, BASE, child)])

    def drive(self, forward: float, when_ns: int) -> None:
        self.be(from_rotation_vector(np.zeros(3), np.array([forward, 0.0, 0.0])), when_ns)

    def be(self, place: np.ndarray, when_ns: int) -> None:
        self._tf.sendTransform([stamped(place, ODOM, BASE, when_ns)])

    def know(self, when: int, forward: float = 0.0) -> None:
        """The node knows where the robot is until a time [ns], and a little further."""
        self.drive(forward, when + 1_000_000)
        transforms = self.world.rig.node.session.scale._sources.transforms
        wait_until(
            lambda: isinstance(transforms.between(FRAME, when, LIDAR, when, ODOM), np.ndarray),
            what='the node knows the transforms',
        )

    def frame(self, forward: float = 0.0, jump: float = 0.0, **kinds: Any) -> dict[str, str]:
        """An image, and a cloud of 40 ms before; the robot jumps in between."""
        when = self.world.now_ns + 100_000_000
        for after, place in ((-60, forward), (-40, forward), (-1, forward + jump)):
            self.drive(place, when + after * 1_000_000)
        self.know(when, forward + jump)
        return self.world.frame(self.world.cloud(), late_s=0.04, **kinds)

    def lock(self) -> dict[str, str]:
        for _ in range(6):
            report = self.frame()
            if report['state'] == 'locked':
                return report
        raise AssertionError(report)


def test_tf_that_is_missing_late_or_jumps_is_named_and_recovered_from(world: World) -> None:
    rig, tree = world.rig, Tree(world)
    assert rig.set(scale_extrinsics='tf') == (True, '')
    missing = f'no transform from {LIDAR} to {FRAME}'
    report = world.frame(world.cloud())
    assert (report['state'], report['reason']) == ('unscaled', missing)
    assert missing in rig.wait_state('RELATIVE')['message']
    tree.mount()

    assert float(tree.lock()['a [1/m]']) == pytest.approx(A, rel=0.03)
    assert rig.status()[2]['lidar memory'] == 'scans kept: 1', 'TF tells the way too'
    # Late: the newest transform is older than the image.
    late = f'late transform from {LIDAR} to {FRAME}'
    assert world.frame(world.cloud(), gap_s=0.7)['state'] == 'coasting'
    report = world.frame(gap_s=0.4)
    assert (report['state'], report['reason']) == ('coasting', late)
    assert world.frame(world.cloud(), gap_s=HOLD_S)['state'] == 'lost'
    assert late in rig.wait_state('RELATIVE')['message']
    tree.lock()
    # Jumping: odometry moves by metres within 40 ms.
    scale = float(tree.frame()['a [1/m]'])
    report = tree.frame(jump=-2.0)
    assert (report['state'], report['reason']) == ('locking', 'estimate far off')
    report = tree.lock()
    assert report['reason'] == ''
    assert float(report['a [1/m]']) == pytest.approx(scale, rel=0.02)


def test_a_cloud_waits_for_transforms_that_come_after_the_prediction(world: World) -> None:
    rig, tree = world.rig, Tree(world)
    assert rig.set(scale_extrinsics='tf') == (True, '')
    tree.mount()
    tree.lock()
    rig.forget_counts()
    ages = []
    for _ in range(6):
        report = world.frame(world.cloud(), late_s=0.04, gap_s=0.29)
        assert report['state'] == 'locked'
        ages.append(float(report['age [s]']))
        tree.know(world.now_ns)
    assert ages == [pytest.approx(0.29)] + 5 * [0.0], 'by the cloud of the image before'
    assert float(report['a [1/m]']) == pytest.approx(A, rel=0.03)
    assert not [cause for cause in rig.counts() if 'transform' in cause]


def test_a_scan_waits_for_the_whole_motion_during_it(world: World) -> None:
    """The robot turns and drives; when the image is predicted, TF knows half of the scan."""
    rig, tree = world.rig, Tree(world)
    assert rig.set(scale_extrinsics='tf', scale_sync_s=0.15) == (True, '')
    tree.mount()
    for _ in range(5):
        when = world.now_ns + 400_000_000
        for late in (0.12, 0.05):
            tree.be(driven(-late), when - round(late * 1e9))
        report = world.frame(scanned_on_the_way(world), late_s=SCAN_S, gap_s=0.4)
        tree.be(driven(0.0), when)
        tree.know(when)
    assert scale_error(world, report) < 0.001
    assert rig.status()[2]['lidar motion'] == 'compensated'


def test_the_newest_motion_that_tf_knows_counts(world: World) -> None:
    rig, tree = world.rig, Tree(world)
    assert rig.set(scale_mode='odometry', scale_extrinsics='tf') == (True, '')
    tree.mount()
    tree.know(world.now_ns)
    world.frame()
    late = f'late transform from {FRAME} to {FRAME}'
    assert world.frame()['reason'] == late
    tree.know(world.now_ns)
    assert world.frame()['reason'] == 'motion too small'


def test_tf_is_taken_again_after_the_cameras_clock_was_set_back(world: World) -> None:
    rig, tree = world.rig, Tree(world)
    assert rig.set(scale_extrinsics='tf') == (True, '')
    tree.mount()
    tree.lock()
    world.now_ns -= 100 * 10**9
    assert world.frame()['state'] == 'unscaled'
    assert rig.counts()['camera clock reset'] == 1
    assert float(tree.lock()['a [1/m]']) == pytest.approx(A, rel=0.03)


def test_tf_is_taken_again_after_ros_time_was_set_back(world: World) -> None:
    rig, tree = world.rig, Tree(world)
    assert rig.set(scale_extrinsics='tf') == (True, '')
    tree.mount()
    clock = rig.peer.create_publisher(Clock, '/clock', QoSProfile(depth=1))
    assert rig.set(use_sim_time=True) == (True, '')
    try:
        wait_until(clock.get_subscription_count, what='the node listens to the clock')
        for begin in (world.now_ns, world.now_ns - 200 * 10**9):
            world.now_ns = begin
            now = Time(nanoseconds=begin + 100 * 10**9).to_msg()
            clock.publish(Clock(clock=now))
            wait_until(lambda now=now: rig.node.get_clock().now().to_msg() == now, what='the time')
            rig.send_info(info_of(WIDTH, HEIGHT))
            assert float(tree.lock()['a [1/m]']) == pytest.approx(A, rel=0.03)
        assert 'camera clock reset' not in rig.counts()
    finally:
        assert rig.set(use_sim_time=False) == (True, '')
        rig.peer.destroy_publisher(clock)
        rig.send_info(info_of(WIDTH, HEIGHT))
