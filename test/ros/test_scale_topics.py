"""Metres from references over topics: lock, hold, loss, recovery, and a name for every fault."""

from __future__ import annotations

import array
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, Vector3
from moving_lidar import SCAN_S, driven, scale_error, scanned_on_the_way, timed
from rig import image_of, pixels, wait_until
from scale_world import DEPTH, HOLD_S, LIDAR, LIDAR_AT_CAMERA, A, B, World, running_world
from sensor_msgs.msg import Image, Imu, PointCloud2
from std_msgs.msg import Header

from lotus2_ros.geometry.mounting import Mounting
from lotus2_ros.geometry.rigid import from_rotation_vector, inverse
from lotus2_ros.geometry.scale.estimate import NoScale
from lotus2_ros.geometry.scale.frame_alignment import relation
from lotus2_ros.ros import scale_depth
from lotus2_ros.ros.messages import optional_message
from lotus2_ros.ros.scale_feeds import ReferenceFeeds
from lotus2_ros.ros.scale_readings import read_point_times
from lotus2_ros.settings import NodeSettings

SHOWN: dict[str, Callable[..., None]] = {}


def shows(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a test as the one that shows the effect of these parameters."""

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        SHOWN.update(dict.fromkeys(names, test))
        return test

    return mark


@pytest.fixture(scope='module')
def shared_world() -> Iterator[World]:
    with running_world() as world:
        yield world


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    before = shared_world.rig.node.settings
    shared_world.rig.listen('depth/disparity', 'depth/image')
    shared_world.begin(scale_hold_s=HOLD_S)
    yield shared_world
    after = shared_world.rig.node.settings
    names = [n for n in before.parameters() if getattr(before, n) != getattr(after, n)]
    if names:
        assert shared_world.rig.set(**{n: getattr(before, n) for n in names}) == (True, '')


@pytest.mark.parametrize(('encoding', 'size'), [('32FC1', 1.0), ('16UC1', 1.0), ('32FC1', 0.5)])
def test_a_depth_image_gives_metres(world: World, encoding: str, size: float) -> None:
    rig = world.rig
    depth = cv2.resize(world.depth, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
    report = world.frame()
    assert (report['state'], report['a [1/m]']) == ('unscaled', 'nan')
    values = rig.wait_state('RELATIVE')
    assert 'unscaled' in values['withheld: ~/depth/image']
    assert rig.of('depth/image') == []
    states = [world.frame(world.depth_image(depth, encoding))['state'] for _ in range(3)]
    assert states == ['locking', 'locking', 'locked']
    stamp = world.stamp()
    world.send(world.depth_image(depth, encoding), stamp)
    rig.send(image_of(world.rgb), stamp=stamp)
    metres = pixels(rig.get('depth/image', stamp))
    np.testing.assert_allclose(metres, world.depth, rtol=0.02)
    report = world.report(stamp)
    assert float(report['a [1/m]']) == pytest.approx(A, rel=0.02)
    assert float(report['b [1/m]']) == pytest.approx(B, abs=0.02)
    assert report['source'] == 'depth'
    assert float(report['inlier share']) > 0.8
    assert float(report['age [s]']) == 0.0
    values = rig.wait_state('OK')
    assert values['scale state'] == 'locked'
    assert values['scale'] == 'measured from depth'
    assert values['scale source'] == 'depth'


def test_references_are_read_while_the_model_works(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the results are delivered on the thread that has them."""
    threads: dict[str, list[str]] = {'depth_samples': [], 'depth_scale': []}
    for name, names in threads.items():
        function = getattr(scale_depth, name)

        def noted(*args: Any, names: list[str] = names, function: Any = function) -> Any:
            names.append(threading.current_thread().name)
            return function(*args)

        monkeypatch.setattr(scale_depth, name, noted)
    world.lock()
    assert set(threads['depth_samples']) == {'lotus2-ahead'}
    assert len(set(threads['depth_scale']) - {'lotus2-ahead', 'MainThread'}) == 1


@shows('scale_hold_s')
def test_a_scale_is_held_then_lost_and_found_again(world: World) -> None:
    rig = world.rig
    world.lock()
    report = world.frame(gap_s=0.7)
    assert (report['state'], report['reason']) == ('coasting', 'no fresh reference')
    wait_until(
        lambda: rig.of('depth/image')[-1].header.stamp == rig.of('depth/disparity')[-1].header.stamp
    )
    report = world.frame(gap_s=HOLD_S)
    assert (report['state'], report['a [1/m]']) == ('lost', 'nan')
    sent = len(rig.of('depth/image'))
    world.frame()
    values = rig.wait_state('RELATIVE')
    assert 'lost' in values['withheld: ~/depth/image']
    assert rig.statuses[-1].level == b'\x02'
    assert len(rig.of('depth/image')) == sent
    world.lock()
    rig.wait_state('OK')
    assert world.rig.set(scale_hold_s=0.1) == (True, '')
    world.lock()
    assert world.frame(gap_s=0.2)['state'] == 'lost'


def in_frame(message: Any, frame_id: str) -> Any:
    message.header.frame_id = frame_id
    return message


def without(message: Image, **changes: Any) -> Image:
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ('bad', 'reason'),
    [
        (lambda w: in_frame(w.depth_image(), 'other'), 'reference in another frame'),
        (lambda w: w.depth_image(np.zeros_like(w.depth)), 'no valid depth'),
        (lambda w: w.depth_image(np.full_like(w.depth, np.nan)), 'no valid depth'),
        (lambda w: w.depth_image(w.depth.max() + 0.3 - w.depth), 'negative scale'),
        (lambda w: w.depth_image(w.depth[:, :200]), 'depth image of another shape'),
        (lambda w: without(w.depth_image(), encoding='8UC1'), 'unknown depth encoding'),
        (lambda w: without(w.depth_image(), height=4000), 'malformed depth image'),
        (lambda w: without(w.depth_image(), width=0), 'malformed depth image'),
    ],
    ids=['frame', 'zeros', 'nan', 'negative', 'shape', 'encoding', 'short', 'empty'],
)
def test_a_bad_reference_is_named_and_recovered_from(world: World, bad: Any, reason: str) -> None:
    report = world.frame(bad(world))
    assert (report['state'], report['reason']) == ('unscaled', reason)
    assert world.rig.counts()[f'depth reference: {reason}'] >= 1
    assert reason in world.rig.wait_state('RELATIVE')['message']
    assert world.lock()['state'] == 'locked'


def test_a_reference_from_another_clock_is_named(world: World) -> None:
    assert world.frame(world.depth_image(), late_s=1e6)['reason'] == 'reference from another clock'
    # One that runs ahead is not kept for an image that will never come.
    assert world.frame(world.depth_image(), late_s=-1e6)['reason'] == 'reference from another clock'
    assert world.lock()['state'] == 'locked'


@shows('scale_sync_s')
def test_stamps_may_differ_by_so_much(world: World) -> None:
    report = world.frame(world.depth_image(), late_s=0.5)
    assert report['reason'] == 'reference matches no image'
    assert world.rig.set(scale_sync_s=0.8) == (True, '')
    for _ in range(3):
        report = world.frame(world.depth_image(), late_s=0.5)
    assert report['state'] == 'locked'


def test_a_reference_that_comes_after_its_image_still_counts(world: World) -> None:
    rig = world.rig
    before = None
    for _ in range(5):
        stamp = world.stamp()
        if before is not None:
            world.send(world.depth_image(), before)
        rig.send(image_of(world.rgb), stamp=stamp)
        rig.get('depth/disparity', stamp)
        before = stamp
    report = world.report(before)
    assert report['state'] == 'locked'
    assert float(report['a [1/m]']) == pytest.approx(A, rel=0.02)


def test_a_changed_world_is_followed_within_three_frames(world: World) -> None:
    world.lock()
    reports = [world.frame(world.depth_image(0.5 * world.depth)) for _ in range(3)]
    assert [r['state'] for r in reports] == ['locking', 'locking', 'locked']
    assert {r['reason'] for r in reports[:2]} == {'estimate far off'}
    assert float(reports[-1]['a [1/m]']) == pytest.approx(2 * A, rel=0.03)


@shows('scale_process_noise')
def test_process_noise_makes_an_old_scale_less_certain(world: World) -> None:
    sigmas = []
    for noise in (0.001, 0.5):
        world.begin(scale_process_noise=noise)
        world.lock()
        sigmas.append(float(world.frame(gap_s=1.0)['sigma of log a']))
    assert sigmas[1] > 5 * sigmas[0]


@shows('scale_mode', 'lidar_frame')
def test_a_lidar_gives_metres(world: World) -> None:
    assert world.rig.set(scale_mode='points', lidar_frame=LIDAR) == (True, '')
    report = world.lock(world.cloud)
    assert report['source'] == 'points'
    assert float(report['a [1/m]']) == pytest.approx(A, rel=0.03)
    report = world.frame(in_frame(world.cloud(), 'roof'), gap_s=0.7)
    assert (report['state'], report['reason']) == ('coasting', 'reference in another frame')
    empty = PointCloud2(header=Header(frame_id=LIDAR))
    assert world.frame(empty)['reason'] == 'empty cloud'
    nameless = world.cloud()
    nameless.fields = nameless.fields[:2]
    assert world.frame(nameless)['reason'] == 'malformed cloud'
    assert world.frame(world.cloud())['state'] == 'locked'


@pytest.mark.parametrize('how', ['ouster', 'velodyne', 'hesai', 'livox'])
def test_times_of_points_are_read_as_each_driver_says_them(how: str) -> None:
    seconds = np.linspace(0.0, 0.1, 50)
    found = read_point_times(timed(fifty_points(), seconds, how))
    np.testing.assert_allclose(found, seconds, atol=1e-6)


@pytest.mark.parametrize('how', ['ouster', 'velodyne', 'hesai', 'livox'])
def test_times_far_from_the_stamp_of_the_cloud_are_refused(how: str) -> None:
    assert read_point_times(fifty_points()) is None
    found = read_point_times(timed(fifty_points(), np.linspace(0.0, 3.0, 50), how))
    assert isinstance(found, NoScale)
    assert found.reason == 'bad point times'


def fifty_points() -> PointCloud2:
    return PointCloud2(
        header=Header(stamp=Time(sec=1_700_000_000, nanosec=250_000_000)),
        height=1,
        width=50,
        point_step=4,
        data=array.array('B', bytes(200)),
    )


def pose_of(transform: np.ndarray) -> PoseStamped:
    """A pose of the robot in odom, that turns about z only."""
    half = 0.5 * np.arctan2(transform[1, 0], transform[0, 0])
    x, y, z = transform[:3, 3]
    turn = Quaternion(z=float(np.sin(half)), w=float(np.cos(half)))
    pose = Pose(position=Point(x=float(x), y=float(y), z=float(z)), orientation=turn)
    return PoseStamped(header=Header(frame_id='odom'), pose=pose)


def test_a_lidar_on_a_moving_robot_is_compensated_by_odometry(world: World) -> None:
    rig = world.rig

    def lidar_frame(*, with_odometry: bool) -> dict[str, str]:
        stamp = world.stamp(0.4)
        if with_odometry:
            for late in (0.12, 0.08, 0.04, 0.0, -0.04):
                world.send(pose_of(driven(-late)), stamp, late)
                time.sleep(0.04)  # one message waits at most
        world.send(scanned_on_the_way(world), stamp, SCAN_S)
        rig.send(image_of(world.rgb), stamp=stamp)
        rig.get('depth/disparity', stamp)
        return world.report(stamp)

    def error(*, with_odometry: bool) -> float:
        rig.node.session.scale.reset('begun')
        for _ in range(4):
            report = lidar_frame(with_odometry=with_odometry)
        return scale_error(world, report)

    assert rig.set(scale_mode='points', scale_sync_s=0.15) == (True, '')
    without = error(with_odometry=False)
    assert rig.status()[2]['lidar motion'] == 'not compensated: no odometry'
    compensated = error(with_odometry=True)
    assert rig.status()[2]['lidar motion'] == 'compensated'
    # Numbers on ~/scale have few digits: without noise, nothing is left in them.
    assert compensated < 0.001
    assert without > 3.0 * compensated


@shows('lidar_memory')
def test_scans_on_the_way_are_remembered_where_odometry_tells_the_way(world: World) -> None:
    rig, place = world.rig, 0.0

    def remembered(*, step: float) -> str:
        """What the node says after some more images, between which the robot moves on."""
        nonlocal place
        for _ in range(5):
            place += step
            stamp = world.stamp()
            pose = from_rotation_vector(np.zeros(3), np.array([place, 0.0, 0.0]))
            world.send(pose_of(pose), stamp)
            time.sleep(0.04)  # one message waits at most
            world.send(world.cloud(), stamp)
            rig.send(image_of(world.rgb), stamp=stamp)
            rig.get('depth/disparity', stamp)
            world.report(stamp)
        return rig.status()[2].get('lidar memory', '')

    assert rig.set(scale_mode='points', lidar_memory=1.0) == (True, '')
    assert remembered(step=0.0) == 'scans kept: 1'
    assert remembered(step=0.3) == 'scans kept: 4'  # 0, 0.3, 0.6 and 0.9 m ago
    assert rig.set(lidar_memory=2.0) == (True, '')
    assert remembered(step=0.3) == 'scans kept: 7'
    assert rig.set(lidar_memory=0.0) == (True, '')
    assert remembered(step=0.3) == ''
    assert rig.set(lidar_memory=2.0) == (True, '')
    assert remembered(step=0.0) == 'scans kept: 1'


@shows(
    'lidar_x', 'lidar_y', 'lidar_z', 'lidar_roll_deg', 'lidar_pitch_deg', 'lidar_yaw_deg',
)  # fmt: skip
def test_a_lidar_is_where_its_parameters_say(world: World) -> None:
    place = {'x': 0.4, 'y': -0.2, 'z': 0.9, 'roll_deg': 5.0, 'pitch_deg': 20.0, 'yaw_deg': 15.0}
    optical = Mounting(
        place['z'], *(place[n] for n in ('x', 'y', 'roll_deg', 'pitch_deg', 'yaw_deg'))
    )
    lidar_to_base = optical.optical_to_base @ LIDAR_AT_CAMERA
    camera = Mounting(0.5)
    to_lidar = inverse(lidar_to_base) @ camera.optical_to_base
    assert world.rig.set(scale_mode='points', camera_height=0.5) == (True, '')
    named = {f'lidar_{name}': value for name, value in place.items()}

    def state() -> str:
        world.rig.node.session.scale.reset('begun')
        for _ in range(4):
            report = world.frame(world.cloud(to_lidar))
        if report['state'] != 'locked':
            return report['state']
        a, b = float(report['a [1/m]']), float(report['b [1/m]'])
        right = abs(a / A - 1.0) < 0.02 and abs(b - B) < 0.01
        return 'right' if right and float(report['inlier share']) > 0.8 else 'wrong'

    assert world.rig.set(**named) == (True, '')
    assert state() == 'right'
    for name in ('x', 'pitch_deg', 'yaw_deg', 'z', 'y', 'roll_deg'):
        far = named[f'lidar_{name}'] + (40.0 if name.endswith('deg') else 1.0)
        assert world.rig.set(**{f'lidar_{name}': far}) == (True, '')
        assert state() != 'right', name
        assert world.rig.set(**named) == (True, '')


@shows('scale_sources')
def test_sources_that_disagree_are_named(world: World) -> None:
    assert world.rig.set(scale_mode='fused', scale_sources=['depth', 'points']) == (True, '')
    report = world.lock(world.depth_image, world.cloud)
    assert report['source'] == 'depth+points'
    doubled = 2.0 * world.depth
    report = world.frame(world.depth_image(), world.cloud(depth=doubled), gap_s=0.7)
    assert (report['state'], report['reason']) == ('coasting', 'references disagree')
    values = world.rig.wait_state('OK')
    assert 'depth and points disagree' in values['message']
    assert world.rig.set(scale_sources=['points']) == (True, '')
    assert float(world.lock(world.cloud)['a [1/m]']) == pytest.approx(A, rel=0.03)


@shows('gravity_source')
def test_the_ground_needs_a_height_and_gravity(world: World) -> None:
    rig = world.rig
    assert rig.set(scale_mode='ground', camera_height=0.0) == (True, '')
    assert world.frame()['reason'] == 'camera_height is 0'
    assert rig.set(camera_height=0.6, gravity_source='imu') == (True, '')
    assert world.frame()['reason'] == 'no imu'
    imu = Imu(linear_acceleration=Vector3(x=0.0, y=0.0, z=9.8))
    wait_until(lambda: world.frame(imu)['reason'] != 'no imu', what='gravity is known')
    # Upside down, the ground is above.
    assert rig.set(gravity_source='parameters', camera_roll_deg=180.0) == (True, '')
    assert world.frame()['state'] == 'unscaled'


def moved(forward: float, frame_id: str = 'odom') -> PoseStamped:
    pose = Pose(position=Point(x=0.0, y=-forward, z=0.0), orientation=Quaternion(w=1.0))
    return PoseStamped(header=Header(frame_id=frame_id), pose=pose)


@shows('odometry_baseline', 'fixed_frame')
def test_odometry_says_what_it_lacks(world: World) -> None:
    rig = world.rig
    assert rig.set(scale_mode='odometry', camera_height=0.6, scale_sync_s=0.2) == (True, '')
    world.frame()
    assert world.frame()['reason'] == 'no odometry'
    assert world.frame(moved(0.0), gap_s=0.5)['reason'] == 'odometry late'
    assert world.frame(moved(0.01))['reason'] == 'motion too small'
    assert rig.set(odometry_baseline=0.01) == (True, '')
    # The picture moves by eight pixels while the robot does, so something can be triangulated.
    report = world.frame(moved(0.2), rgb=np.roll(world.rgb, -8, axis=1))
    assert report['reason'] != 'motion too small'
    assert rig.set(odometry_baseline=5.0) == (True, '')
    assert world.frame(moved(0.4))['reason'] == 'motion too small'
    assert rig.set(fixed_frame='map') == (True, '')
    assert world.frame(moved(0.6))['reason'] == 'odometry in another frame'
    assert world.frame(moved(0.8, 'map'))['reason'] != 'odometry in another frame'


def test_odometry_and_pose_of_one_moment_are_one_pose() -> None:
    odometry_type = odometry()
    callbacks: dict[str, Callable[[Any], None]] = {}
    feeds = ReferenceFeeds(
        lambda _kind, topic, callback: callbacks.setdefault(topic, callback), lambda _: None
    )
    feeds.apply(NodeSettings(scale_mode='odometry', camera_height=0.6))
    for second in (1, 2, 3):
        pose = moved(0.1 * second)
        pose.header.stamp.sec = second
        both = odometry_type(header=pose.header)
        both.pose.pose = pose.pose
        callbacks['odom'](both)
        callbacks['odom/pose'](pose)
    for second in (1.5, 3.0):  # the first one is still there
        at = feeds.pose_at(round(second * 1e9), 'odom', 0.6)
        assert isinstance(at, np.ndarray)
        assert at[1, 3] == pytest.approx(-0.1 * second)


def odometry() -> Any:
    kind = optional_message('nav_msgs', 'Odometry')
    if kind is None:
        pytest.skip('nav_msgs is not installed')
    return kind


def test_odometry_is_taken_as_a_pose_is(world: World) -> None:
    rig, kind = world.rig, odometry()
    assert rig.set(scale_mode='odometry', camera_height=0.6, scale_sync_s=0.2) == (True, '')

    def driven(forward: float) -> Any:
        pose = moved(forward)
        message = kind(header=pose.header)
        message.pose.pose = pose.pose
        return message

    world.frame(driven(0.0))
    assert world.frame(driven(0.01))['reason'] == 'motion too small'


@shows('scale_extrinsics')
def test_without_tf2_ros_it_is_said_which_feature_needs_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)  # where it is installed, too
    assert world.rig.set(scale_mode='points', scale_extrinsics='tf') == (True, '')
    assert 'tf2_ros is not installed' in world.frame(world.cloud())['reason']
    assert 'tf2_ros' in world.rig.wait_state('RELATIVE')['message']
    assert world.rig.set(scale_extrinsics='parameters') == (True, '')
    assert world.lock(world.cloud)['state'] == 'locked'


@shows('steady')
def test_steady_disparity_keeps_its_scale_while_the_light_changes(world: World) -> None:
    rig = world.rig
    assert rig.set(scale_mode='relative') == (True, '')

    def change() -> float:
        frames = []
        for i in range(6):
            rgb = (world.rgb * (1.0, 0.5)[i % 2]).astype(np.uint8)
            stamp = rig.send(image_of(rgb), stamp=world.stamp())
            frames.append(pixels(rig.get('depth/disparity', stamp)).copy())
        maps = [relation(one, other) for one, other in itertools.pairwise(frames[1:])]
        return float(np.mean([abs(np.log(m.scale)) + abs(m.shift) for m in maps]))

    raw = change()
    assert rig.set(steady=True) == (True, '')
    assert change() < raw / 3


def test_references_are_subscribed_to_only_while_they_are_wanted(world: World) -> None:
    rig = world.rig
    assert rig.peer.count_subscribers(DEPTH) == 1
    assert rig.set(scale_mode='fixed') == (True, '')
    wait_until(lambda: rig.peer.count_subscribers(DEPTH) == 0, what='nobody listens')
    assert rig.node.session.scale.report is None or rig.frame(world.rgb, 'depth/image') is not None
