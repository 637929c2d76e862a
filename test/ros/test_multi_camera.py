"""Two cameras of different sizes and rates on one real node with one real model."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest
from rig import Rig, image_of, info_of, picture, pixels, points, wait_until
from transform_tree import tf2_module

from lotus2_ros.errors import SettingsError

LEFT = (96, 64)
RIGHT = (33, 47)


@pytest.fixture(scope='module')
def pair(tiny_model: str) -> Iterator[Rig]:
    rig = Rig(
        {
            'model': tiny_model,
            'cameras': ['left', 'right'],
            'scale_mode': 'fixed',
            'cloud_edge_threshold': 0.0,
            'cpu_threads': 1,
            'stale_timeout_s': 20.0,
            'diagnostics_rate_hz': 20.0,
            'sharpen_steps': 1,
            'camera_height': 0.5,
            'left.camera_height': 1.5,
            'left.scale_mode': 'fixed',
            'left.camera_yaw_deg': 90.0,
            'right.disparity_shift': 0.3,
        }
    )
    try:
        rig.wait_ready()
        rig.send_info(info_of(*LEFT), 'left')
        rig.send_info(info_of(*RIGHT), 'right')
        yield rig
        assert rig.node_errors == [], rig.node_errors
    finally:
        rig.close()


@pytest.fixture
def cameras(pair: Rig) -> Rig:
    pair.listen()
    return pair


def send(rig: Rig, camera: str, size: tuple[int, int], seed: int = 0) -> Any:
    return rig.send(image_of(picture(*size, seed=seed)), f'/{camera}/image')


def send_until_taken(rig: Rig, camera: str, size: tuple[int, int], seed: int) -> Any:
    """Among a flood of others a best-effort message may get lost on its way to the node."""
    [session] = [s for s in rig.node.sessions if s.name == camera]
    for _ in range(20):
        start = time.monotonic()
        stamp = send(rig, camera, size, seed)
        while time.monotonic() - start < 1.0:
            age = session.monitor.snapshot().ages.get('input', float('inf'))
            if age < time.monotonic() - start:
                return stamp
            time.sleep(0.01)
    raise AssertionError(f'no image of {camera} arrives')


def counts(rig: Rig) -> dict[str, dict[str, int]]:
    return {s.name: s.monitor.snapshot().counts for s in rig.node.sessions}


def test_each_camera_has_topics_of_its_own_and_both_share_one_model(cameras: Rig) -> None:
    cameras.listen('left/depth/image', 'right/depth/image', 'right/points')
    left, right = send(cameras, 'left', LEFT), send(cameras, 'right', RIGHT)
    for topic, stamp, (width, height) in (
        ('left/depth/image', left, LEFT),
        ('right/depth/image', right, RIGHT),
        ('right/points', right, RIGHT),
    ):
        message = cameras.get(topic, stamp)
        assert (message.width, message.height) == (width, height)
        assert len(cameras.of(topic)) == 1
    names = dict(cameras.node.get_publisher_names_and_types_by_node('depth_node', '/'))
    assert '/depth_node/left/sharp/points/nav' in names
    assert '/depth_node/depth/image' not in names
    assert len({session.client for session in cameras.node.sessions}) == 1


def test_a_camera_that_nobody_listens_to_costs_nothing(cameras: Rig) -> None:
    cameras.listen('left/depth/image')
    before = counts(cameras)['right'].get('nothing subscribed', 0)
    accepted = cameras.node.session.client.counters.accepted
    send(cameras, 'right', RIGHT)
    wait_until(lambda: counts(cameras)['right'].get('nothing subscribed', 0) == before + 1)
    assert cameras.node.session.client.counters.accepted == accepted


def test_each_camera_has_a_scale_and_a_mounting_of_its_own(cameras: Rig) -> None:
    topics = [f'{c}/{t}' for c in ('left', 'right') for t in ('depth/image', 'depth/disparity')]
    cameras.listen(*topics, 'left/scan', 'right/scan')
    stamps = {'left': send(cameras, 'left', LEFT), 'right': send(cameras, 'right', RIGHT)}
    for camera, shift in (('left', 0.1), ('right', 0.3)):
        disparity = pixels(cameras.get(f'{camera}/depth/disparity', stamps[camera]))
        depth = pixels(cameras.get(f'{camera}/depth/image', stamps[camera]))
        np.testing.assert_allclose(depth, 1 / (disparity + shift), rtol=1e-5)
    left, right = (cameras.get(f'{c}/scan', stamps[c]) for c in ('left', 'right'))
    middle = 0.5 * (left.angle_min + left.angle_max)
    assert middle == pytest.approx(np.radians(90.0), abs=0.05)
    assert abs(0.5 * (right.angle_min + right.angle_max)) < 0.05


def test_a_camera_s_own_parameter_changes_alone_and_the_shared_one_for_the_others(
    cameras: Rig,
) -> None:
    cameras.listen('left/points/nav', 'right/points/nav')
    assert cameras.set(**{'left.camera_height': 2.0}, nav_height=True) == (True, '')
    left, right = send(cameras, 'left', LEFT), send(cameras, 'right', RIGHT)
    for camera, stamp, height in (('left', left, 2.0), ('right', right, 0.5)):
        cloud = points(cameras.get(f'{camera}/points/nav', stamp))[0]
        np.testing.assert_allclose(cloud[:, 3], height - cloud[:, 1], rtol=1e-4, atol=1e-5)
    assert not cameras.set(**{'left.camera_height': -1.0})[0]
    assert not cameras.set(min_range=1.0, **{'left.camera_yaw_deg': 400.0})[0]
    assert cameras.node.settings.min_range == 0.1, 'nothing is half-applied'
    assert cameras.set(**{'left.camera_height': 1.5}, nav_height=False) == (True, '')
    assert not cameras.set(cameras=['left'])[0], 'not while configured'


def test_a_camera_gets_a_value_of_its_own_while_running_and_gives_it_back(cameras: Rig) -> None:
    """None of these was given at start."""
    cameras.listen('left/points/nav', 'right/points/nav')
    assert cameras.set(nav_height=True, **{'right.camera_x': 0.0}) == (True, '')

    def height_of(camera: str, size: tuple[int, int]) -> float:
        cloud = points(cameras.get(f'{camera}/points/nav', send(cameras, camera, size)))[0]
        return float(np.mean(cloud[:, 3] + cloud[:, 1]))

    assert height_of('right', RIGHT) == pytest.approx(0.5, abs=1e-4)
    assert cameras.set(**{'right.camera_height': 0.9}) == (True, '')
    assert height_of('right', RIGHT) == pytest.approx(0.9, abs=1e-4)
    assert cameras.node.get_parameter('right.camera_height').value == 0.9
    assert cameras.node.settings.camera_height == 0.5
    assert cameras.set(camera_height=0.7) == (True, '')
    assert height_of('right', RIGHT) == pytest.approx(0.9, abs=1e-4)
    assert cameras.set(**{'right.camera_height': None}) == (True, ''), 'deleted'
    assert height_of('right', RIGHT) == pytest.approx(0.7, abs=1e-4)
    assert not cameras.node.has_parameter('right.camera_height')
    assert cameras.set(camera_height=0.5, nav_height=False) == (True, '')


def test_one_given_at_start_is_given_back_as_well(cameras: Rig) -> None:
    left = cameras.node.sessions[0]
    before = cameras.node.get_parameter('left.camera_yaw_deg').value
    assert left._settings().camera_yaw_deg == before != cameras.node.settings.camera_yaw_deg
    assert cameras.set(**{'left.camera_yaw_deg': None}) == (True, '')
    assert left._settings().camera_yaw_deg == cameras.node.settings.camera_yaw_deg
    assert cameras.set(**{'left.camera_yaw_deg': before}) == (True, '')
    assert left._settings().camera_yaw_deg == before


@pytest.mark.parametrize(
    ('values', 'reason'),
    [
        ({'right.maxrange': 3.0}, 'right.maxrange: a camera may have its own'),
        ({'right.sharpen_steps': 3}, 'right.sharpen_steps: a camera may have its own'),
        ({'middle.max_range': 3.0}, 'unknown parameter middle.max_range'),
        ({'maxrange': 3.0}, 'unknown parameter maxrange'),
        ({'right.max_range': -3.0}, 'camera right: max_range is -3.0'),
        ({'right.max_range': 'far'}, 'camera right: max_range must be float'),
    ],
)
def test_what_a_camera_cannot_have_is_refused_while_running(
    cameras: Rig, values: dict[str, Any], reason: str
) -> None:
    done, said = cameras.set(**values)
    assert not done
    assert reason in said
    [name] = values
    assert not cameras.node.has_parameter(name)


def test_a_reference_is_a_camera_s_own_too(cameras: Rig) -> None:
    subscribers = cameras.peer.count_subscribers
    assert not subscribers('/left/reference/depth')
    assert cameras.set(**{'left.scale_mode': 'depth'}) == (True, '')
    wait_until(lambda: subscribers('/left/reference/depth'), what='the reference is listened to')
    assert not subscribers('/right/reference/depth')
    cameras.listen('left/points/nav', 'right/points/nav')
    send(cameras, 'left', LEFT)
    right = send(cameras, 'right', RIGHT)
    cameras.get('right/points/nav', right)
    wait_until(
        lambda: [
            s
            for s in cameras.statuses[-2:]
            if s.name == '/depth_node: left output' and s.message.startswith('RELATIVE')
        ],
        what='no metres without a reference',
    )
    assert cameras.of('left/points/nav') == []
    assert cameras.set(**{'left.scale_mode': 'fixed'}) == (True, '')


def test_all_cameras_listen_to_tf_once(cameras: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'tf2_ros', tf2_module())
    extrinsics = {'scale_extrinsics': 'tf', 'right.scale_extrinsics': 'tf'}
    assert cameras.set(**extrinsics) == (True, '')
    wait_until(lambda: cameras.peer.count_subscribers('/tf'), what='the node listens')
    assert {s._settings().scale_extrinsics for s in cameras.node.sessions} == {'tf'}
    assert cameras.peer.count_subscribers('/tf') == 1
    assert cameras.set(**dict.fromkeys(extrinsics, 'parameters')) == (True, '')


def test_diagnostics_speak_of_each_camera(cameras: Rig) -> None:
    cameras.listen('left/depth/image', 'right/points')
    cameras.send_info(info_of(10, 10), 'right')
    cameras.get('left/depth/image', send(cameras, 'left', LEFT))
    send(cameras, 'right', RIGHT)

    def shown() -> dict[str, Any]:
        return {status.name: status for status in cameras.statuses[-2:]}

    names = {'/depth_node: left output', '/depth_node: right output'}
    wait_until(lambda: set(shown()) == names, what='a status for each camera')
    wait_until(
        lambda: 'withheld: ~/right/points' in shown()['/depth_node: right output'].message,
        what=lambda: str([s.message for s in shown().values()]),
    )
    left = {v.key: v.value for v in shown()['/depth_node: left output'].values}
    assert left['image topic'] == '/left/image'
    assert left['image size [px]'] == '96x64'
    assert 'withheld' not in shown()['/depth_node: left output'].message
    cameras.send_info(info_of(*RIGHT), 'right')


def test_a_fast_camera_leaves_the_slow_one_its_turn_and_pays_for_its_own_drops(
    cameras: Rig,
) -> None:
    cameras.listen('left/depth/disparity', 'right/depth/disparity')
    before = counts(cameras)
    stop = threading.Event()

    def dropped(camera: str) -> int:
        found, known = counts(cameras)[camera], before[camera]
        return sum(found.get(c, 0) - known.get(c, 0) for c in ('replaced', 'worker busy'))

    def flood() -> None:
        seed = 0
        while not stop.is_set():
            send(cameras, 'left', LEFT, seed := seed + 1)
            time.sleep(0.002)

    send(cameras, 'left', LEFT)
    thread = threading.Thread(target=flood)
    thread.start()
    try:
        for seed in range(8):
            # The next image of the slow camera only when this one is through: none may be lost.
            stamp = send_until_taken(cameras, 'right', RIGHT, seed)
            cameras.get('right/depth/disparity', stamp)
        wait_until(lambda: dropped('left') > 0, 60.0, what='a drop')
    finally:
        stop.set()
        thread.join()
    assert dropped('right') == 0
    stamps = [
        (m.header.stamp.sec, m.header.stamp.nanosec) for m in cameras.of('left/depth/disparity')
    ]
    assert len(stamps) >= 6, 'turns are taken'
    assert stamps == sorted(set(stamps)), 'results come in order, each once'


def test_sharpening_takes_the_cameras_in_turn(cameras: Rig) -> None:
    assert 'nobody subscribes' in cameras.sharpen().message
    cameras.listen('left/sharp/depth/disparity', 'right/sharp/depth/disparity')
    got = []
    for _ in range(2):
        assert cameras.sharpen().success
        before = {c: len(cameras.of(f'{c}/sharp/depth/disparity')) for c in ('left', 'right')}
        send(cameras, 'left', LEFT)
        send(cameras, 'right', RIGHT)

        def new(before: dict[str, int] = before) -> list[str]:
            return [c for c in before if len(cameras.of(f'{c}/sharp/depth/disparity')) > before[c]]

        got += wait_until(new, what='a sharpened result')
    assert got == ['left', 'right']


@pytest.mark.once
def test_all_cameras_survive_a_lost_worker(cameras: Rig) -> None:
    cameras.listen('left/depth/disparity', 'right/depth/disparity')
    pid = cameras.node.session.client.pid
    psutil.Process(pid).kill()
    wait_until(lambda: cameras.node.session.client.pid not in (pid, None), 60.0)
    wait_until(lambda: cameras.node.session.client.state == 'ready', 60.0)
    for camera, size in (('left', LEFT), ('right', RIGHT)):
        cameras.get(f'{camera}/depth/disparity', send(cameras, camera, size))


def test_remapping_finds_each_camera_s_topics(tiny_model: str) -> None:
    rig = Rig(
        {'cameras': ['front'], 'model': tiny_model, 'image_transport': 'compressed'},
        remap=['front/image:=/cam/image_raw'],
    )
    try:
        wait_until(lambda: rig.node.session, what='configured')
        assert rig.node.session.image_topic == '/cam/image_raw/compressed'
        assert rig.node.session.info_topic == '/front/camera_info'
    finally:
        rig.close()


@pytest.mark.parametrize(
    ('values', 'reason'),
    [
        ({'cameras': ['a', 'a']}, 'name each camera once'),
        ({'cameras': ['a b']}, "cameras has 'a b'"),
        ({'cameras': ['a'], 'b.max_range': 3.0}, 'unknown parameter b.max_range'),
        ({'cameras': ['a'], 'a.sharpen_steps': 3}, 'a.sharpen_steps: a camera may have its own'),
        ({'cameras': ['a'], 'a.max_range': -3.0}, 'camera a: max_range is -3.0'),
        ({'a.max_range': 3.0}, 'unknown parameter a.max_range'),
    ],
)
def test_a_start_with_bad_cameras_fails_and_says_why(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        Rig(values)
