from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data, qos_profile_system_default
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lotus2_ros.errors import CameraInfoError, ImageError
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.photographs import SAMPLES
from lotus2_ros.ros.codecs import decode_image
from lotus2_ros.ros.player import output_size
from lotus2_ros.ros.sources import open_source
from lotus2_ros.settings import PlayerSettings
from lotus2_ros.tools.domains import reserve_domain

ROOT = Path(__file__).resolve().parents[2]
COLORS = [(250, 20, 20), (20, 250, 20), (20, 20, 250)]


def nobody_warns(text: str) -> None:
    raise AssertionError(text)


class Audience:
    """Subscribers in this process and a player in another."""

    def __init__(self) -> None:
        self.domain = reserve_domain()
        self.context = Context()
        self.context.init(domain_id=self.domain)
        self.node = Node('audience', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.received: dict[str, list[Any]] = {}

    def listen(self, kind: type, topic: str, *, reliable: bool = True) -> list[Any]:
        """Every message that comes on a topic."""
        messages: list[Any] = []
        qos = qos_profile_system_default if reliable else qos_profile_sensor_data
        self.node.create_subscription(kind, topic, messages.append, qos)
        return messages

    def play(
        self,
        *,
        remap: tuple[str, ...] = (),
        enough: Any = None,
        timeout: float = 30.0,
        **parameters: Any,
    ) -> tuple[int, str]:
        """Run the player; ends it by SIGINT once `enough()` is true. Exit code and its log."""
        command = [sys.executable, '-m', 'lotus2_ros.ros.player', '--ros-args']
        for name, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            command += ['-p', f'{name}:={text}']
        for rule in remap:
            command += ['-r', rule]
        env = {**os.environ, 'ROS_DOMAIN_ID': str(self.domain)}
        player = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        end = self.node.get_clock().now().nanoseconds + timeout * 1e9
        try:
            while player.poll() is None:
                assert self.node.get_clock().now().nanoseconds < end, 'the player did not end'
                self.executor.spin_once(timeout_sec=0.05)
                if enough is not None and enough():
                    player.send_signal(2)
                    enough = None
            log = player.communicate(timeout=10)[0]
        finally:
            player.kill()
            player.wait()
        return player.returncode, log

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.shutdown()


@pytest.fixture
def audience() -> Iterator[Audience]:
    audience = Audience()
    yield audience
    audience.close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for index, color in enumerate(COLORS):
        image = np.empty((24, 32, 3), dtype=np.uint8)
        image[:] = color[::-1]
        cv2.imwrite(str(folder / f'{index}.png'), image)
    return folder


def color_of(message: Image) -> tuple[int, ...]:
    rgb = np.empty((message.height, message.width, 3), dtype=np.uint8)
    decode_image(message, rgb)
    return tuple(int(value) for value in rgb[rgb.shape[0] // 2, rgb.shape[1] // 2])


def stamps(messages: list[Any]) -> list[tuple[int, int]]:
    return [(m.header.stamp.sec, m.header.stamp.nanosec) for m in messages]


def test_one_pass_ends_with_exit_code_zero_and_the_last_picture_delivered(audience, pictures):
    images = audience.listen(Image, '/image')
    best_effort = audience.listen(Image, '/image', reliable=False)
    infos = audience.listen(CameraInfo, '/camera_info')
    # Pictures are held long enough for discovery, which takes longest with many processes.
    code, log = audience.play(
        source=pictures, loop=False, rate_hz=20.0, hold_frames=60, frame_id='eye'
    )
    assert code == 0, log
    assert '180 frames published, 0 pictures skipped' in log
    colors = [color_of(message) for message in images]
    assert colors[-1] == COLORS[2]
    assert list(dict.fromkeys(colors)) in (COLORS, COLORS[1:])
    assert best_effort
    assert len(set(stamps(images))) == len(images)
    assert set(stamps(images)) <= set(stamps(infos)) | set(stamps(images)[:2])
    assert {(m.header.frame_id, m.encoding, m.width, m.height) for m in images} == {
        ('eye', 'rgb8', 32, 24)
    }
    info = infos[-1]
    expected = Intrinsics.from_hfov(PlayerSettings().hfov_deg, 32, 24)
    assert (info.width, info.height, info.distortion_model) == (32, 24, 'plumb_bob')
    np.testing.assert_allclose(info.k.reshape(3, 3), expected.matrix)
    np.testing.assert_allclose(info.p.reshape(3, 4), expected.projection)
    assert info.header.frame_id == 'eye'


def test_compressed_images_follow_remapping_and_the_size_asked_for(audience):
    images = audience.listen(CompressedImage, '/front/rgb/compressed')
    infos = audience.listen(CameraInfo, '/front/info')
    code, log = audience.play(
        image_transport='compressed',
        width=160,
        rate_hz=15.0,
        remap=('image:=/front/rgb', 'camera_info:=/front/info'),
        enough=lambda: len(images) > 5 and len(infos) > 5,
    )
    assert code == 0, log
    assert images[0].format == 'rgb8; jpeg compressed bgr8'
    bgr = cv2.imdecode(np.frombuffer(images[0].data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr.shape == (120, 160, 3)
    assert (infos[0].width, infos[0].height) == (160, 120)
    # The picture itself, in the right channel order.
    names = sorted(SAMPLES.glob('*.jpg'))
    candidates = [cv2.resize(cv2.imread(str(p)), (160, 120), interpolation=3) for p in names]
    differences = [np.abs(bgr.astype(int) - c.astype(int)).mean() for c in candidates]
    assert min(differences) < 4


def test_a_video_is_played_again_and_again(audience, tmp_path):
    path = tmp_path / 'colors.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (32, 24))
    for color in COLORS:
        writer.write(np.full((24, 32, 3), color[::-1], dtype=np.uint8))
    writer.release()
    images = audience.listen(Image, 'image')
    code, log = audience.play(
        source=path, rate_hz=30.0, camera_info=False, enough=lambda: len(images) >= 9
    )
    assert code == 0, log
    dominant = [int(np.argmax(color_of(message))) for message in images[:9]]
    first = dominant[0]
    assert dominant == [(first + step) % 3 for step in range(9)]


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_work_ends_it_in_order(number):
    # Rates no camera has: a signal nearly always comes while something is being published.
    parameters = ['source:=sample', 'rate_hz:=400.0', 'width:=64']
    options = [part for parameter in parameters for part in ('-p', parameter)]
    command = [sys.executable, '-m', 'lotus2_ros.ros.player', '--ros-args', *options]
    players = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, 'ROS_DOMAIN_ID': str(reserve_domain())},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        for player in players:
            assert any('playing' in line for line in player.stdout)
        for player in players:
            time.sleep(0.11)
            player.send_signal(number)
        for player in players:
            rest = player.communicate(timeout=20)[0]
            assert (player.returncode, rest) == (0, '')
    finally:
        for player in players:
            player.kill()
            player.wait()


def test_what_cannot_be_played_ends_with_a_reason(audience, pictures, tmp_path):
    (tmp_path / 'notes.txt').write_text('no video')
    broken = tmp_path / 'broken'
    broken.mkdir()
    (broken / 'a.png').write_bytes(b'not a picture')
    cases: list[tuple[dict[str, Any], str]] = [
        ({'source': tmp_path / 'missing'}, 'no such folder or file'),
        ({'source': tmp_path / 'notes.txt'}, 'not a video'),
        ({'source': broken}, 'none of its 1 pictures can be read'),
        ({'source': 'webcam:63'}, 'no such camera'),
        ({'source': pictures, 'rate_hz': 0.0}, 'rate_hz'),
    ]
    for parameters, reason in cases:
        code, log = audience.play(**parameters)
        assert code == 1, (parameters, log)
        assert reason in log
        assert 'Traceback' not in log


def test_an_unreadable_picture_is_skipped_counted_and_reported_once(pictures):
    (pictures / '1.png').write_bytes((pictures / '1.png').read_bytes()[:40])
    warnings: list[str] = []
    source = open_source(str(pictures), warnings.append)
    for _ in range(2):
        frames = [source.read(), source.read()]
        assert [tuple(frame.rgb[0, 0]) for frame in frames] == [COLORS[0], COLORS[2]]
        assert source.read() is None
        assert source.rewind()
    assert source.skipped == 1
    assert len(warnings) == 1
    assert '1.png' in warnings[0]


def test_known_cameras_of_a_folder_are_used(pictures):
    cameras = {'0.png': {'hfov_deg': 90.0}, '1.png': {'fx': 40, 'fy': 41, 'cx': 15, 'cy': 12}}
    (pictures / 'cameras.json').write_text(json.dumps(cameras))
    source = open_source(str(pictures), nobody_warns)
    frames = [source.read() for _ in range(3)]
    assert frames[0].intrinsics.fx == pytest.approx(16.0)
    assert frames[1].intrinsics == Intrinsics(40, 41, 15, 12, 32, 24)
    assert frames[2].intrinsics is None
    (pictures / 'cameras.json').write_text('{"0.png": {"focal": 3}}')
    with pytest.raises(CameraInfoError, match=r'cameras\.json'):
        open_source(str(pictures), nobody_warns)


def test_the_bundled_photographs_are_small_and_real():
    source = open_source('sample', nobody_warns)
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame.rgb)
    assert len(frames) >= 4
    assert all(frame.shape == (480, 640, 3) and frame.std() > 20 for frame in frames)
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < 400_000


def test_webcams_are_named_by_number():
    with pytest.raises(ImageError, match='number of the camera'):
        open_source('webcam:front', nobody_warns)


def test_one_side_alone_keeps_the_aspect_ratio():
    assert output_size(640, 480, PlayerSettings()) == (640, 480)
    assert output_size(640, 480, PlayerSettings(width=320)) == (320, 240)
    assert output_size(640, 480, PlayerSettings(height=120)) == (160, 120)
    assert output_size(640, 480, PlayerSettings(width=100, height=100)) == (100, 100)
