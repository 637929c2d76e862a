"""Poses from TF over topics: at their times, through a fixed frame, and why there are none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rclpy.context import Context
from rclpy.node import Node
from rig import Spinner, wait_until
from transform_tree import stamped, tf2_module

from lotus2_ros.geometry.rigid import from_rotation_vector, inverse
from lotus2_ros.geometry.scale.estimate import NoScale
from lotus2_ros.ros.transforms import NOT_INSTALLED, LateTransform, Transforms
from lotus2_ros.tools.domains import reserve_domain

SECOND = 10**9
BEGIN = 1_000 * SECOND
STEP = SECOND // 10
ODOM, BASE, CAMERA, LIDAR = 'odom', 'base', 'camera', 'lidar'
CAMERA_AT = from_rotation_vector(np.array([-1.2, 1.2, -1.2]), np.array([0.2, 0.0, 0.6]))
LIDAR_AT = from_rotation_vector(np.zeros(3), np.array([-0.1, 0.0, 0.9]))


def driven(when: int) -> np.ndarray:
    """A metre and half a radian in a second."""
    seconds = (when - BEGIN) / SECOND
    return from_rotation_vector(np.array([0.0, 0.0, 0.5 * seconds]), np.array([seconds, 0.0, 0.0]))


class Robot:
    """Says where it is, to a node that listens."""

    def __init__(self) -> None:
        self.context = Context()
        self.context.init(domain_id=reserve_domain())
        self.node = Node('robot', context=self.context)
        self.listener = Node('listener', context=self.context)
        self.transforms = Transforms(self.listener)
        self.transforms.open()
        tf2 = tf2_module()
        self._tf = tf2.TransformBroadcaster(self.node)
        self._static = tf2.StaticTransformBroadcaster(self.node)
        self.spinner = Spinner(self.listener, self.context)
        wait_until(
            lambda: self.node.count_subscribers('/tf') and self.node.count_subscribers('/tf_static')
        )

    def mount(self) -> None:
        self._static.sendTransform(
            [stamped(CAMERA_AT, BASE, CAMERA), stamped(LIDAR_AT, BASE, LIDAR)]
        )
        self.wait(lambda: isinstance(self.now(BASE, CAMERA, BEGIN), np.ndarray))

    def drive(self, *times: int) -> None:
        self._tf.sendTransform([stamped(driven(when), ODOM, BASE, when) for when in times])

    def now(self, target: str, source: str, when: int) -> np.ndarray | NoScale:
        return self.transforms.between(target, when, source, when, BASE)

    def moving(self, image: int, scan: int) -> np.ndarray | NoScale:
        """Lidar at one time -> camera at another."""
        return self.transforms.between(CAMERA, image, LIDAR, scan, ODOM)

    def wait(self, condition: object) -> None:
        wait_until(condition, what='the transforms arrive')

    def close(self) -> None:
        self.transforms.close()
        self.spinner.close()
        self.listener.destroy_node()
        self.node.destroy_node()
        self.context.try_shutdown()
        assert self.spinner.errors == [], self.spinner.errors


@pytest.fixture
def robot(monkeypatch: pytest.MonkeyPatch) -> Iterator[Robot]:
    monkeypatch.setitem(sys.modules, 'tf2_ros', tf2_module())
    robot = Robot()
    try:
        yield robot
    finally:
        robot.close()


def test_both_sensors_are_where_they_were_at_their_own_times(robot: Robot) -> None:
    robot.mount()
    image, scan = BEGIN + 3 * STEP, BEGIN + STEP
    robot.drive(*range(BEGIN, BEGIN + 5 * STEP, STEP))
    robot.wait(lambda: isinstance(robot.moving(image, scan), np.ndarray))
    expected = inverse(driven(image) @ CAMERA_AT) @ driven(scan) @ LIDAR_AT
    np.testing.assert_allclose(robot.moving(image, scan), expected, atol=1e-6)
    still = inverse(CAMERA_AT) @ LIDAR_AT
    np.testing.assert_allclose(robot.moving(image, image), still, atol=1e-6)
    # One frame at two times, as the way of the camera between two images is asked for.
    way = robot.transforms.between(CAMERA, scan, CAMERA, image, ODOM)
    expected = inverse(driven(scan) @ CAMERA_AT) @ driven(image) @ CAMERA_AT
    np.testing.assert_allclose(way, expected, atol=1e-6)


def test_what_is_missing_is_told_from_what_is_late(robot: Robot) -> None:
    missing = NoScale(f'no transform from {LIDAR} to {CAMERA}')
    assert robot.moving(BEGIN, BEGIN) == missing
    robot.mount()
    assert robot.moving(BEGIN, BEGIN) == missing, 'two trees'
    last = BEGIN + 2 * STEP
    robot.drive(BEGIN, BEGIN + STEP, last)
    robot.wait(lambda: isinstance(robot.moving(BEGIN, last), np.ndarray))
    late = LateTransform(f'late transform from {LIDAR} to {CAMERA}', last)
    assert robot.moving(last + 1, BEGIN) == late
    assert robot.moving(BEGIN, last + STEP) == late
    assert robot.moving(last + STEP, last + STEP) == late
    assert robot.moving(BEGIN - STEP, last) == missing, 'before all that is known'
    # What moves does not concern what is fixed on it.
    assert isinstance(robot.now(BASE, CAMERA, last + SECOND), np.ndarray)


@pytest.mark.parametrize('when', [-STEP, 0, 2**63])
def test_a_time_that_tf_does_not_have_is_no_error(robot: Robot, when: int) -> None:
    robot.mount()
    missing = NoScale(f'no transform from {CAMERA} to {BASE}')
    assert robot.now(BASE, CAMERA, when) == missing
    assert robot.transforms.between(BASE, BEGIN, CAMERA, when, BASE) == missing


def test_after_a_clock_was_set_back_new_transforms_are_taken_again(robot: Robot) -> None:
    robot.mount()
    early = BEGIN - 100 * SECOND
    robot.drive(BEGIN, BEGIN + STEP)
    robot.wait(lambda: isinstance(robot.moving(BEGIN, BEGIN), np.ndarray))
    robot.transforms.clear()
    assert isinstance(robot.moving(BEGIN, BEGIN), NoScale)
    robot.drive(early, early + STEP)
    robot.wait(lambda: isinstance(robot.moving(early, early), np.ndarray))


def test_bad_frame_names_are_no_error(robot: Robot) -> None:
    robot.mount()
    for name in ('', f'/{CAMERA}', 'nowhere'):
        assert robot.now(BASE, name, BEGIN) == NoScale(f'no transform from {name} to {BASE}')


def test_nothing_is_asked_for_or_left_after_closing(robot: Robot) -> None:
    robot.mount()
    robot.transforms.close()
    assert robot.now(BASE, CAMERA, BEGIN) == NOT_INSTALLED
    wait_until(lambda: not robot.node.count_subscribers('/tf'), what='nobody listens')
    robot.transforms.clear()
    robot.transforms.open()
    wait_until(lambda: isinstance(robot.now(BASE, CAMERA, BEGIN), np.ndarray), what='latched')


def test_a_tf2_ros_that_does_not_import_is_no_error(
    robot: Robot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / 'tf2_ros').mkdir()
    (tmp_path / 'tf2_ros' / '__init__.py').write_text('import of_another_ros\n')
    monkeypatch.delitem(sys.modules, 'tf2_ros')
    monkeypatch.syspath_prepend(tmp_path)
    transforms = Transforms(robot.listener)
    transforms.open()
    reason = "tf2_ros does not import: No module named 'of_another_ros'"
    assert transforms.between(BASE, BEGIN, CAMERA, BEGIN, BASE) == NoScale(reason)
