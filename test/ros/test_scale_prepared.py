"""What the scale does while the model works: it saves time, and changes nothing."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from std_msgs.msg import Header

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.scale import frame_alignment
from lotus2_ros.ros import scale_feeds, scale_sources
from lotus2_ros.ros.camera import Camera
from lotus2_ros.ros.messages import image_message
from lotus2_ros.ros.plan import DEPTH_IMAGE, make_plan
from lotus2_ros.ros.products import Frame
from lotus2_ros.ros.scale import Scaled, ScaleKeeper
from lotus2_ros.ros.scale_feeds import ReferenceFeeds
from lotus2_ros.ros.scale_history import PredictionHistory
from lotus2_ros.ros.scale_sources import ScaleSources
from lotus2_ros.ros.transforms import Transforms
from lotus2_ros.settings import NodeSettings

SETTINGS = NodeSettings(scale_mode='depth')
CAMERA = Camera(Intrinsics.from_hfov(60.0, 160, 120), None, 'test')
A, B = 1.5, 0.1
COLUMN, ROW = np.meshgrid(np.arange(400) / 160, np.linspace(0, 1, 120))
WALL = 0.3 + 0.2 * np.sin(9 * COLUMN) * ROW + 0.1 * ROW
TEXTURE = cv2.GaussianBlur(np.random.default_rng(1).uniform(0, 255, WALL.shape), (0, 0), 2.0)
"""Disparity and picture of a wavy wall that is wider than the camera sees."""


class Drive:
    """A camera that moves sideways past a wavy wall, with a depth image of each place."""

    def __init__(self) -> None:
        callbacks: dict[str, Any] = {}
        feeds = ReferenceFeeds(
            lambda _, topic, callback: callbacks.update({topic: callback}),  # type: ignore[arg-type,return-value]
            lambda _: None,
        )
        feeds.apply(SETTINGS)
        self._sense = callbacks[scale_feeds.DEPTH]
        history = PredictionHistory()
        sources = ScaleSources(feeds, Transforms(None), history)  # type: ignore[arg-type]
        self.keeper = ScaleKeeper(sources, history, publish=lambda *_: None, count=lambda _: None)
        self._rng = np.random.default_rng(0)
        self._number = 0

    def frame(self) -> tuple[Frame, np.ndarray]:
        """The next image's context, whose reference has come, and what is predicted for it."""
        self._number += 1
        seen = slice(4 * self._number, 4 * self._number + 160)
        world, picture = WALL[:, seen], 4 * (TEXTURE[:, seen] - 128) + 128
        header = Header(frame_id='optical')
        header.stamp.nanosec = self._number * 50_000_000
        plan = make_plan((DEPTH_IMAGE,), SETTINGS, '')
        frame = Frame(
            *(header, SETTINGS, plan, plan, CAMERA, None),
            epoch=0,
            received=0.0,
            picture=picture.clip(0, 255).astype(np.uint8),
            size=world.shape,
        )
        self._sense(image_message((1 / (A * world + B)).astype(np.float32), '32FC1', header))
        gain = float(np.exp(self._rng.normal(0, 0.02)))
        return frame, (gain * world).astype(np.float32)

    def scaled(self, frame: Frame, disparity: np.ndarray) -> Scaled:
        self.keeper.answered(frame)
        return self.keeper.of(frame, disparity, None, sharp=False)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been done that needs no prediction."""
    done: list[str] = []

    def noting(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def noted(*args: Any, **kwargs: Any) -> Any:
            done.append(name)
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, noted)

    noting(frame_alignment, 'depth_after_motion')
    noting(scale_sources, 'read_depth')
    return done


def test_the_scale_is_the_same_and_its_work_is_done_before(work: list[str]) -> None:
    plain, prepared = Drive(), Drive()
    for number in range(12):
        expected = plain.scaled(*plain.frame())
        frame, disparity = prepared.frame()
        work.clear()
        prepared.keeper.coming(frame)
        prepared.keeper.prepare(wait=False)
        if number > 5:
            assert work == ['depth_after_motion', 'read_depth']
        work.clear()
        found = prepared.scaled(frame, disparity)
        if number > 5:
            assert work == []
            assert found.scale.state == 'locked'
            assert found.scale.a == pytest.approx(A * 0.3 / disparity[0, 0], rel=0.02)
        np.testing.assert_equal(
            (found.scale.a, found.scale.b, found.scale.state, found.shift),
            (expected.scale.a, expected.scale.b, expected.scale.state, expected.shift),
        )


def test_of_several_frames_under_way_only_the_next_is_prepared(work: list[str]) -> None:
    drive = Drive()
    for _ in range(4):
        drive.scaled(*drive.frame())
    (first, predicted), (second, _), (third, _) = (drive.frame() for _ in range(3))
    for frame in (first, second):
        drive.keeper.coming(frame)
    work.clear()
    drive.keeper.prepare(wait=False)
    assert work == []
    drive.keeper.coming(third)
    drive.keeper.answered(second)  # the third replaced it
    drive.scaled(first, predicted)
    work.clear()
    drive.keeper.prepare(wait=True)
    assert 'depth_after_motion' in work
    drive.keeper.answered(third)
    work.clear()
    drive.keeper.prepare(wait=True)
    assert work == []


def test_a_reset_forgets_what_was_prepared(work: list[str]) -> None:
    drive = Drive()
    for _ in range(6):
        drive.scaled(*drive.frame())
    frame, predicted = drive.frame()
    drive.keeper.coming(frame)
    drive.keeper.prepare(wait=False)
    drive.keeper.reset('the test wants it')
    assert math.isnan(drive.scaled(frame, predicted).scale.a)
