"""The simulated robot as a process, heard over DDS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rig import pixels, wait_until
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, Imu, PointCloud2

from lotus2_ros.ros.messages import optional_message
from lotus2_ros.ros.robot_messages import quaternion
from lotus2_ros.settings import SimulationSettings
from lotus2_ros.tools.domains import reserve_domain

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    'width': 96,
    'height': 72,
    'shadows': False,
    'speed': 0.5,
    'camera_rate_hz': 5.0,
    'depth_rate_hz': 5.0,
    'lidar_rate_hz': 5.0,
    'lidar_columns': 72,
}

if 'DISPLAY' not in os.environ:
    os.environ.setdefault('MUJOCO_GL', 'egl')
pytest.importorskip('mujoco', reason='MuJoCo is not installed', exc_type=Exception)


class Ears:
    """A subscriber to everything, and the robot in another process."""

    def __init__(self, **parameters: Any) -> None:
        self.domain = reserve_domain()
        self.context = Context()
        self.context.init(domain_id=self.domain)
        self.node = Node('ears', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.heard: dict[str, list[Any]] = {}
        command = [sys.executable, '-m', 'lotus2_ros.ros.robot', '--ros-args']
        for name, value in {**SMALL, **parameters}.items():
            command += ['-p', f'{name}:={json.dumps(value)}']
        self.process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, 'ROS_DOMAIN_ID': str(self.domain)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def listen(self, **topics: type) -> None:
        for topic, kind in topics.items():
            name = topic.replace('__', '/')
            self.heard[name] = []
            self.node.create_subscription(kind, name, self.heard[name].append, 50)

    def wait(self, count: int, *topics: str) -> None:
        def enough() -> bool:
            assert self.process.poll() is None, self.process.communicate()[0]
            self.executor.spin_once(timeout_sec=0.05)
            return all(len(self.heard[topic]) >= count for topic in topics)

        wait_until(enough, 90, lambda: str({k: len(v) for k, v in self.heard.items()}))

    def end(self) -> tuple[int, str]:
        self.process.send_signal(2)
        log = self.process.communicate(timeout=20)[0]
        return self.process.returncode, log

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def start() -> Iterator[Any]:
    started: list[Ears] = []

    def begin(**parameters: Any) -> Ears:
        started.append(Ears(**parameters))
        return started[-1]

    yield begin
    for ears in started:
        ears.close()


def seconds(message: Any) -> float:
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


@pytest.mark.timeout(150)
def test_every_sensor_is_heard_and_they_agree(start):
    ears = start(distortion=-0.1, depth_encoding='16UC1', lidar='both')
    ears.listen(
        image=Image, camera_info=CameraInfo, imu=Imu, odom__pose=PoseStamped,
        reference__depth=Image, reference__camera_info=CameraInfo,
        reference__points=PointCloud2, reference_64__points=PointCloud2,
        truth__depth=Image, truth__normals=Image, truth__camera_info=CameraInfo,
        truth__camera_pose=PoseStamped, truth__pose=PoseStamped,
    )  # fmt: skip
    if (odometry := optional_message('nav_msgs', 'Odometry')) is not None:
        ears.listen(odom=odometry)
    ears.wait(3, *ears.heard)
    before_end = ears.node.get_clock().now().nanoseconds * 1e-9
    code, log = ears.end()
    assert code == 0, log
    heard = ears.heard

    # Truth and image carry the same stamp, and none is of the future.
    truth = {seconds(m): m for m in heard['truth/depth']}
    pairs = [(m, truth[seconds(m)]) for m in heard['image'] if seconds(m) in truth]
    assert pairs
    assert all(seconds(m) <= before_end for messages in heard.values() for m in messages)
    image, depth = pairs[-1]
    assert (image.encoding, image.width, image.height) == ('rgb8', 96, 72)
    assert image.header.frame_id == depth.header.frame_id == SimulationSettings().frame_id
    assert pixels(image).std() > 10
    assert np.isfinite(pixels(depth)).mean() > 0.4
    normals = pixels(heard['truth/normals'][-1])
    lengths = np.linalg.norm(normals, axis=-1)
    np.testing.assert_allclose(lengths[np.isfinite(lengths)], 1.0, atol=1e-4)

    info, true_info = heard['camera_info'][-1], heard['truth/camera_info'][-1]
    assert info.distortion_model == 'plumb_bob'
    assert info.d[0] == -0.1
    assert not any(true_info.d)
    np.testing.assert_allclose(info.p, true_info.p)

    # The reference is the truth with holes, in millimetres, at half the size.
    reference = {seconds(m): m for m in heard['reference/depth']}
    # It is of the moment of an image, and so is the lidar's.
    image_stamps = {seconds(m) for m in heard['image']} | truth.keys()
    for topic in ('reference/depth', 'reference/points', 'reference_64/points'):
        assert {seconds(m) for m in heard[topic][1:-1]} <= image_stamps, topic
    stamp = next(s for s in reference if s in truth)
    measured = pixels(reference[stamp]).astype(float) / 1000
    assert measured.shape == (36, 48)
    exact = pixels(truth[stamp])[::2, ::2]
    both = (measured > 0) & np.isfinite(exact)
    assert both.sum() > 100
    assert np.median(np.abs(measured - exact)[both] / exact[both]) < 0.02
    assert (measured == 0).mean() > 0.2
    assert heard['reference/camera_info'][-1].width == 48

    few, many = heard['reference/points'][-1], heard['reference_64/points'][-1]
    assert few.is_dense
    assert few.header.frame_id == 'lidar'
    assert len(few.data) == few.row_step == few.width * few.point_step
    assert [f.name for f in few.fields] == ['x', 'y', 'z', 'intensity', 'ring', 'time']
    assert many.width > 2.5 * few.width
    table = np.frombuffer(few.data, np.uint8).reshape(-1, few.point_step)
    points = table[:, :12].copy().view('<f4')
    assert np.linalg.norm(points, axis=1).max() < 51
    ring = table[:, 16:18].copy().view('<u2')
    time = table[:, 18:22].copy().view('<f4')
    assert set(ring.ravel()) <= set(range(16))
    assert 0 <= time.min() < time.max() <= 0.1

    force = np.array(
        [[getattr(m.linear_acceleration, axis) for axis in 'xyz'] for m in heard['imu']]
    )
    np.testing.assert_allclose(force.mean(axis=0), [0, 0, 9.81], atol=0.5)
    mounted = heard['truth/camera_pose'][-1]
    assert mounted.header.frame_id == 'base_footprint'
    assert mounted.pose.position.z == pytest.approx(SimulationSettings().camera_height, abs=0.02)
    first, last = heard['truth/pose'][0], heard['truth/pose'][-1]
    way = np.hypot(
        last.pose.position.x - first.pose.position.x, last.pose.position.y - first.pose.position.y
    )
    assert way == pytest.approx(0.5 * (seconds(last) - seconds(first)), rel=0.1)
    if 'odom' in heard:
        believed = {seconds(m): m.pose for m in heard['odom/pose']}
        same = [m for m in heard['odom'] if seconds(m) in believed]
        assert same
        assert all(m.pose.pose == believed[seconds(m)] for m in same)
        assert same[-1].twist.twist.linear.x == pytest.approx(0.5, abs=0.1)
    for package in ('nav_msgs', 'tf2_msgs'):
        missing = optional_message(package, {'nav_msgs': 'Odometry'}.get(package, 'TFMessage'))
        assert (f'{package} is not installed' in log) == (missing is None)


@pytest.mark.timeout(120)
def test_simulated_time_begins_at_one_second_and_stamps_follow_it(start):
    ears = start(publish_clock=True, lidar='none', depth_rate_hz=0.0, truth=False)
    ears.listen(clock=Clock, image=Image)
    ears.wait(3, 'image', 'clock')
    names = dict(ears.node.get_topic_names_and_types())
    assert not {'/truth/depth', '/reference/points'} & names.keys()
    clocks = [m.clock.sec + m.clock.nanosec * 1e-9 for m in ears.heard['clock']]
    assert clocks == sorted(clocks)
    stamps = [seconds(m) for m in ears.heard['image']]
    assert 1.0 < min(stamps) < 60.0
    # Whole multiples of the period: the same settings give the same images.
    np.testing.assert_allclose(np.remainder(np.array(stamps) - 1.0 + 1e-6, 0.2), 0, atol=1e-4)


def test_a_bad_parameter_ends_it_with_its_name(start):
    ears = start(speeed=1.0)
    log = ears.process.communicate(timeout=60)[0]
    assert ears.process.returncode == 1
    assert 'speeed' in log


def test_quaternions_are_those_of_the_rotation():
    half = quaternion(np.diag([-1.0, -1.0, 1.0]))
    assert (abs(half.z), half.w) == pytest.approx((1.0, 0.0), abs=1e-9)
    quarter = quaternion(np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]))
    assert (quarter.x, quarter.w) == pytest.approx((0.5**0.5, 0.5**0.5))
    none = quaternion(np.eye(3))
    assert (none.x, none.y, none.z, none.w) == (0.0, 0.0, 0.0, 1.0)
