"""Whatever comes in: a clear reason, a counter, no output, and a node that lives on."""

from __future__ import annotations

import array
import time
from collections.abc import Callable
from typing import Any

import pytest
from builtin_interfaces.msg import Time
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rig import HEIGHT, WIDTH, Rig, image_of, picture, wait_until
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image


@pytest.fixture(autouse=True)
def _listening(rig: Rig) -> None:
    rig.listen('depth/image', 'depth/disparity')


def spoil(**changes: Any) -> Callable[[Rig, Any], None]:
    def apply(_: Rig, message: Any) -> None:
        for name, value in changes.items():
            setattr(message, name, value)

    return apply


def filled(level: int) -> Callable[[Rig, Any], None]:
    return spoil(data=array.array('B', bytes([level]) * (WIDTH * HEIGHT * 3)))


def stamped(offset_s: float) -> Callable[[Rig, Any], None]:
    def apply(rig: Rig, message: Any) -> None:
        now = rig.peer.get_clock().now().nanoseconds + round(offset_s * 1e9)
        message.header.stamp = Time(sec=now // 10**9, nanosec=now % 10**9)

    return apply


def unstamped(_: Rig, message: Any) -> None:
    message.header.stamp = Time()


@pytest.mark.parametrize(
    ('change', 'cause', 'reason'),
    [
        (spoil(encoding='32FC1'), 'bad image', "encoding '32FC1' is not supported"),
        (spoil(step=10), 'bad image', 'step is 10 bytes'),
        (spoil(data=array.array('B', bytes(100))), 'bad image', 'data has 100 bytes'),
        (spoil(width=0, height=0), 'bad image', 'no pixels'),
        (spoil(width=2**31, height=2**31), 'bad image', 'more than'),
        (filled(0), 'black image', 'bright enough'),
        (filled(255), 'overexposed image', 'white'),
        (filled(90), 'uniform image', 'span 0 of 255 levels'),
        (unstamped, 'zero stamp', 'must stamp its images'),
        (stamped(5.0), 'future stamp', 'synchronise the clocks'),
        (stamped(-60.0), 'old stamp', 'synchronise the clocks'),
    ],
)
def test_a_bad_image_is_named_counted_and_survived(
    rig: Rig, change: Callable[[Rig, Any], None], cause: str, reason: str
) -> None:
    before = rig.counts().get(cause, 0)
    rig.received.clear()
    message = image_of(picture())
    message.header.stamp = rig.stamp()
    change(rig, message)
    rig.publisher('/image', type(message)).publish(message)
    values = rig.wait_state('SUSPECT')
    assert reason in values['message']
    assert rig.counts()[cause] == before + 1
    assert int(values[f'dropped: {cause}']) >= before + 1
    assert rig.of('depth/image') == []
    rig.frame()
    rig.wait_state('OK')


def test_the_same_image_twice_gives_one_result(rig: Rig) -> None:
    rig.received.clear()
    message = image_of(picture())
    stamp = rig.send(message)
    rig.get('depth/image', stamp)
    before = rig.counts().get('duplicate stamp', 0)
    rig.send(message, stamp=stamp)
    wait_until(lambda: rig.counts().get('duplicate stamp', 0) == before + 1, what='a duplicate')
    rig.frame()
    assert len([m for m in rig.of('depth/image') if m.header.stamp == stamp]) == 1


def test_a_jump_of_ros_time_forgets_what_belongs_to_the_time_before(rig: Rig) -> None:
    clock = rig.peer.create_publisher(Clock, '/clock', QoSProfile(depth=1))
    assert rig.set(use_sim_time=True) == (True, '')
    try:
        wait_until(clock.get_subscription_count)
        rig.send(image_of(picture()), stamp=Time(sec=100))
        assert 'nothing publishes /clock' in rig.wait_state('SUSPECT')['message']
        for start in (100, 10):  # the bag begins, and begins again
            now = Time(sec=start)
            clock.publish(Clock(clock=now))
            wait_until(lambda now=now: rig.node.get_clock().now().to_msg() == now)
            rig.get('depth/image', rig.send(image_of(picture(seed=start)), stamp=now))
        assert rig.counts()['ROS time jumped'] >= 1
        assert rig.wait_state('OK')['camera'] == 'none', 'the CameraInfo is forgotten, too'
    finally:
        assert rig.set(use_sim_time=False) == (True, '')
        rig.peer.destroy_publisher(clock)
    rig.frame()


def test_a_stuck_camera_is_told_and_silenced_until_its_image_changes(rig: Rig) -> None:
    assert rig.set(frozen_timeout_s=0.5) == (True, '')
    wait_until(lambda: rig.send(image_of(picture())) and rig.counts().get('frozen image'))
    accepted = rig.node.session.client.counters.accepted
    stamps = []
    for _ in range(3):
        count = rig.counts()['frozen image']
        stamps.append(rig.send(image_of(picture())))
        wait_until(lambda count=count: rig.counts()['frozen image'] > count)
    values = rig.wait_state('SUSPECT')
    assert 'the same bytes for more than 0.5 s' in values['message']
    assert 'restart the camera or its driver' in values['remedy']
    # The model, and with it the scale, never sees them.
    assert rig.node.session.client.counters.accepted == accepted
    rig.frame(picture(seed=1))
    assert not [m for m in rig.of('depth/image') if m.header.stamp in stamps]
    rig.wait_state('OK')


def test_a_simulated_camera_may_repeat_itself(rig: Rig) -> None:
    clock = rig.peer.create_publisher(Clock, '/clock', QoSProfile(depth=1))
    assert rig.set(frozen_timeout_s=0.05, use_sim_time=True) == (True, '')
    try:
        wait_until(clock.get_subscription_count)
        for second in range(200, 206):
            now = Time(sec=second)
            clock.publish(Clock(clock=now))
            wait_until(lambda now=now: rig.node.get_clock().now().to_msg() == now)
            rig.get('depth/disparity', rig.send(image_of(picture()), stamp=now))
            time.sleep(0.05)
    finally:
        assert rig.set(use_sim_time=False) == (True, '')
        rig.peer.destroy_publisher(clock)


def test_too_little_shared_memory_is_named_and_survived(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lotus2_ros.worker import ring

    large = picture(640, 480)
    with monkeypatch.context() as patch:
        patch.setattr(ring, 'available_bytes', lambda: 1 << 20)
        rig.send(image_of(large))
        values = rig.wait_state('SUSPECT')
    assert 'MiB of shared memory for images cannot be had: 1 MiB are available' in values['message']
    assert rig.counts()['no shared memory'] == 1
    assert rig.node_errors == []
    rig.frame(large)
    rig.wait_state('OK')


def test_an_image_too_small_for_the_model_is_named_and_survived(rig: Rig) -> None:
    rig.send(image_of(picture(5, 3)))
    assert '3x5' in rig.wait_state('SUSPECT')['message']
    assert rig.counts()['frame failed'] == 1
    rig.frame()
    rig.wait_state('OK')


@pytest.mark.parametrize(
    ('values', 'reason'),
    [
        ({'min_range': 50.0}, 'below max_range'),
        ({'max_range': -1.0}, 'out of range'),
        ({'max_range': float('nan')}, 'out of range'),
        ({'disparity_shift': float('inf')}, 'out of range'),
        ({'scale_mode': 'metric'}, 'allowed: relative, fixed'),
        ({'nav_max_points': 0}, 'out of range'),
        ({'nav_max_points': 'four'}, 'Wrong parameter type'),
        ({'max_side': 7}, 'allowed: 0, or 32 to 4096'),
        ({'no_such_parameter': 1}, 'unknown parameter no_such_parameter'),
        ({'model': 'nano'}, 'deactivate and clean up first'),
        ({'color_min': 0.9, 'color_max': 0.1}, 'color_min 0.9 must be below color_max 0.1'),
        ({'nav_max_points': 8, 'scale_mode': 'nonsense'}, 'allowed: relative, fixed'),
    ],
)
def test_a_bad_parameter_is_refused_with_its_reason_and_nothing_changes(
    rig: Rig, values: dict[str, Any], reason: str
) -> None:
    before = rig.node.settings
    done, why = rig.set(**values)
    assert not done
    assert reason in why
    assert rig.node.settings == before
    assert rig.node.get_parameter('nav_max_points').value == before.nav_max_points


def test_values_that_fit_only_together_are_set_together(rig: Rig) -> None:
    assert rig.set(min_range=50.0, max_range=60.0) == (True, '')
    assert rig.set(min_range=0.1, max_range=40.0) == (True, '')


def test_a_parameter_of_an_impossible_type_on_the_wire_does_not_end_the_node(rig: Rig) -> None:
    bad = Parameter(name='max_range', value=ParameterValue(type=77))
    service = rig._clients['set']
    service.call_async(SetParametersAtomically.Request(parameters=[bad]))
    # rclpy may raise in its own service; whatever it does, the node goes on.
    rig.frame()
    rig.node_errors.clear()
    assert rig.set(max_range=40.0) == (True, '')


@pytest.mark.parametrize(
    ('topic', 'message_type'), [('/image', Image), ('/camera_info', CameraInfo)]
)
def test_a_second_publisher_on_a_topic_of_the_camera_is_told(
    rig: Rig, topic: str, message_type: Any
) -> None:
    rig.frame()
    other = Node('intruder', context=rig.context)
    try:
        other.create_publisher(message_type, topic, 5)
        shared = f'2 publishers share {topic}: /intruder, /peer'
        wait_until(lambda: rig.frame() and shared in rig.status()[0], what='SUSPECT')
    finally:
        other.destroy_node()
    wait_until(lambda: rig.frame() and rig.status()[0].startswith('OK'), what='OK')


def test_a_second_node_of_the_same_name_is_told(rig: Rig) -> None:
    twin = Node('depth_node', context=rig.context)
    try:
        values = rig.wait_state('SUSPECT')
        assert '2 nodes have the name of this one' in values['message']
        assert '__ns' in values['remedy']
    finally:
        twin.destroy_node()
    wait_until(lambda: rig.frame() and rig.status()[0].startswith('OK'), what='OK')
