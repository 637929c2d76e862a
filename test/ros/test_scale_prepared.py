"""What the scale does while the model works: it saves time, and changes nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scale_drive import OPTICAL, SETTINGS, A, Moment, Robot, moments

from lotus2_ros.geometry.scale import frame_alignment
from lotus2_ros.ros import (
    scale_depth,
    scale_ground,
    scale_lidar,
    scale_odometry,
    scale_points,
)
from lotus2_ros.ros.scaled import Scaled
from lotus2_ros.ros.transforms import LateTransform
from lotus2_ros.settings import NodeSettings

WORK: dict[str, tuple[str, ...]] = {
    'depth': ('read_depth', 'depth_samples'),
    'points': ('read_points', 'read_point_times', 'lidar_samples'),
    'ground': ('ground_samples',),
    'odometry': ('track_features', 'odometry_samples'),
}
"""Of each source, what needs no prediction."""

FITS = ('depth_scale', 'lidar_scale', 'ground_scale', 'odometry_scale')


def settings_of(mode: str) -> NodeSettings:
    kind, *how = mode.split(', ')
    if kind == 'fused':
        chosen = replace(SETTINGS, scale_mode=kind, scale_sources=tuple(WORK))
    else:
        chosen = replace(SETTINGS, scale_mode=kind)
    if 'one scan' in how:
        chosen = replace(chosen, lidar_memory=0.0)
    return replace(chosen, scale_extrinsics='tf') if 'tf' in how else chosen


MODES = (
    *(*WORK, 'fused', 'points, one scan'),
    *('points, tf', 'ground, tf', 'odometry, tf', 'fused, tf'),
)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been done that needs no prediction, and which fits."""
    done: list[str] = []

    def noting(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def noted(*args: Any, **kwargs: Any) -> Any:
            done.append(name)
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, noted)

    noting(frame_alignment, 'depth_after_motion')
    owners = (scale_depth, scale_points, scale_lidar, scale_ground, scale_odometry)
    for name in (*(name for names in WORK.values() for name in names), *FITS):
        [owner] = [owner for owner in owners if hasattr(owner, name)]
        noting(owner, name)
    return done


def said(scaled: Scaled, robot: Robot) -> tuple[Any, ...]:
    """All numbers of a frame."""
    report = robot.keeper.report
    assert report is not None
    return (
        *(scaled.scale.a, scaled.scale.b, scaled.scale.state, scaled.shift),
        *(report.sigma_log_a, report.sigma_b, report.inlier_share, report.reason, report.source),
        robot.keeper.detail,
    )


def plainly(mode: str, count: int) -> tuple[list[Moment], list[tuple[Any, ...]]]:
    """A drive, and the numbers without any preparation."""
    robot = Robot(settings_of(mode))
    drive, numbers = moments(settings_of(mode), count), []
    for moment in drive:
        robot.sense(moment)
        numbers.append(said(robot.scaled(moment), robot))
    return drive, numbers


@pytest.mark.parametrize('mode', MODES)
def test_the_scale_is_the_same_and_its_work_is_done_before(mode: str, work: list[str]) -> None:
    drive, expected = plainly(mode, 12)
    robot = Robot(settings_of(mode))
    sources = settings_of(mode).references()
    for number, moment in enumerate(drive):
        robot.sense(moment)
        work.clear()
        robot.keeper.coming(moment.frame)
        robot.keeper.prepare()
        early, gone = set(work), set(FITS) & set(work)
        work.clear()
        found = robot.scaled(moment)
        np.testing.assert_equal(said(found, robot), expected[number])
        if number > 5:
            assert found.scale.state == 'locked'
            gain = float(moment.disparity.max() / drive[0].disparity.max())
            assert 0.5 < found.scale.a * gain / A < 2.0
            assert not gone
            # The ground is where it was: it is sampled once.
            names = {name for source in sources for name in WORK[source]} - {'ground_samples'}
            assert early >= names | {'depth_after_motion'}
            assert set(work) <= set(FITS)
            assert len(work) == len(sources)


@pytest.mark.parametrize('mode', MODES)
def test_references_and_transforms_may_come_after_the_image(mode: str, work: list[str]) -> None:
    """Asked again, what has come meanwhile is prepared; what was prepared from less is not used."""
    drive, expected = plainly(mode, 12)
    robot = Robot(settings_of(mode))
    for number, moment in enumerate(drive):
        robot.keeper.coming(moment.frame)
        robot.keeper.prepare()
        robot.hear(moment.depth, moment.cloud, moment.before)
        robot.keeper.prepare()
        robot.hear(moment.after)
        robot.know(moment)
        assert robot.keeper.prepare() or number < 1
        work.clear()
        np.testing.assert_equal(said(robot.scaled(moment), robot), expected[number])
        if number > 5:
            assert set(work) <= set(FITS)


@pytest.mark.parametrize('mode', MODES)
def test_a_frame_that_does_not_come_leaves_nothing(mode: str) -> None:
    """Every third image is prepared for and then dropped: numbers are those without it."""
    drive = moments(settings_of(mode), 18)
    numbers: list[list[tuple[Any, ...]]] = []
    for prepared in (False, True):
        robot = Robot(settings_of(mode))
        numbers.append([])
        for number, moment in enumerate(drive):
            robot.sense(moment)
            if prepared:
                robot.keeper.coming(moment.frame)
                robot.keeper.prepare()
            if number % 3 == 1:
                robot.keeper.answered(moment.frame)
            else:
                numbers[-1].append(said(robot.scaled(moment), robot))
    np.testing.assert_equal(numbers[1], numbers[0])
    assert numbers[0][-1][2] == 'locked'


def test_a_reference_of_an_image_before_is_used_up_while_the_model_works(work: list[str]) -> None:
    """A cloud comes when its scan has ended, which is after the prediction."""
    mode = settings_of('points')
    drive = moments(mode, 12)
    numbers: list[list[tuple[Any, ...]]] = []
    for prepared in (False, True):
        robot = Robot(mode)
        numbers.append([])
        late: Moment | None = None
        for number, moment in enumerate(drive):
            robot.hear(moment.before, moment.after)
            if prepared:
                robot.keeper.coming(moment.frame)
            if late is not None:
                robot.hear(late.cloud)
            if prepared:
                robot.keeper.prepare()
            work.clear()
            numbers[-1].append(said(robot.scaled(moment), robot))
            if prepared and number > 5:
                assert work == []
            late = moment
    np.testing.assert_equal(numbers[1], numbers[0])
    assert numbers[0][-1][2] == 'locked'


def test_of_several_frames_under_way_only_the_next_is_prepared(work: list[str]) -> None:
    first, second, third = (drive := moments(settings_of('depth'), 7))[-3:]
    robot = Robot(settings_of('depth'))
    for moment in drive[:-3]:
        robot.sense(moment)
        robot.scaled(moment)
    for moment in (first, second, third):
        robot.sense(moment)
    robot.keeper.coming(first.frame)
    robot.keeper.coming(second.frame)
    work.clear()
    robot.keeper.prepare()
    assert work.count('depth_after_motion') == 1
    robot.keeper.coming(third.frame)
    robot.keeper.answered(second.frame)  # the third replaced it
    work.clear()
    robot.keeper.prepare()
    assert 'depth_after_motion' not in work, 'it is prepared for the first one still'
    robot.scaled(first)
    work.clear()
    robot.keeper.prepare()
    assert 'depth_after_motion' in work
    robot.keeper.answered(third.frame)
    work.clear()
    robot.keeper.prepare()
    assert work == []


def test_nothing_is_prepared_beside_a_result(work: list[str]) -> None:
    first, second = moments(settings_of('depth'), 2)
    robot = Robot(settings_of('depth'))
    for moment in (first, second):
        robot.sense(moment)
        robot.keeper.coming(moment.frame)
    work.clear()
    with robot.keeper.answering(first.frame):
        assert robot.keeper.prepare()
        assert work == []
    robot.keeper.prepare()
    assert 'depth_samples' in work


def test_a_reset_forgets_what_was_prepared() -> None:
    *before, last = moments(settings_of('depth'), 7)
    robot = Robot(settings_of('depth'))
    for moment in before:
        robot.sense(moment)
        robot.scaled(moment)
    robot.sense(last)
    robot.keeper.coming(last.frame)
    robot.keeper.prepare()
    robot.keeper.reset('the test wants it')
    assert math.isnan(robot.scaled(last).scale.a)


def test_the_tree_of_these_tests_is_late_as_tf_is() -> None:
    [moment] = moments(SETTINGS, 1)
    tree = Robot(SETTINGS).tree
    stamp = moment.frame.header.stamp.nanosec
    assert isinstance(tree.between('odom', stamp, OPTICAL, stamp, 'odom'), LateTransform)
    tree.until = stamp
    assert isinstance(tree.between('odom', stamp, OPTICAL, stamp, 'odom'), np.ndarray)
