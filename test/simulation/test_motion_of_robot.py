"""Path, motion, IMU and odometry: no picture is drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lotus2_ros.geometry.rigid import inverse, is_rigid, rotation_vector
from lotus2_ros.simulation.motion import GRAVITY, Drive, Odometry, felt, planar
from lotus2_ros.simulation.path import ClosedPath
from lotus2_ros.simulation.world import CORNERS, WALKERS

PATH = ClosedPath(CORNERS)


def test_a_regular_polygon_gives_a_circle():
    angles = np.arange(24) * (2 * np.pi / 24)
    path = ClosedPath([(3 * math.cos(a), 3 * math.sin(a)) for a in angles])
    places = path.points(0.1)
    radius = np.linalg.norm(places, axis=1)
    assert np.ptp(radius) < 1e-3
    assert path.length == pytest.approx(2 * math.pi * radius.mean(), rel=1e-3)
    assert path.at(1.7).curvature == pytest.approx(1 / radius.mean(), rel=0.01)


def test_the_path_is_closed_and_smooth():
    distances = np.arange(0.0, PATH.length, 0.01)
    points = np.array([PATH.at(s) for s in distances])
    steps = np.linalg.norm(np.diff(points[:, :2], axis=0), axis=1)
    np.testing.assert_allclose(steps, 0.01, rtol=0.01)
    turned = np.diff(points[:, 2])
    np.testing.assert_allclose(turned / 0.01, 0.5 * (points[1:, 3] + points[:-1, 3]), atol=0.02)
    assert np.abs(np.diff(points[:, 3])).max() < 0.05  # curvature does not jump
    before, after = PATH.at(PATH.length - 1e-6), PATH.at(PATH.length + 1e-6)
    assert math.hypot(before.x - after.x, before.y - after.y) < 1e-4
    assert abs(math.remainder(before.heading - after.heading, 2 * math.pi)) < 1e-3
    assert np.abs(points[:, 3]).max() < 1.5  # no turn tighter than 0.67 m


def test_nobody_walks_onto_the_path():
    way = PATH.points(0.05)
    for walker in WALKERS:
        line = np.linspace(walker.start, walker.end, 50)
        apart = np.linalg.norm(way[:, None] - line[None], axis=2).min()
        assert apart > 0.25 + 0.45 + 0.3  # the loop that they walk, their arms, half a robot


def test_pose_twist_and_sway_belong_together():
    drive = Drive(PATH, 0.8, 0.25, 2.0)
    for time in (0.0, 3.3, 40.0, 200.0):
        before, after = drive.base(time - 1e-4), drive.base(time + 1e-4)
        moved = inverse(before) @ after
        twist = drive.twist(time)
        assert moved[0, 3] / 2e-4 == pytest.approx(twist.forward, rel=1e-3)
        assert rotation_vector(moved[:3, :3])[2] / 2e-4 == pytest.approx(twist.turn, abs=0.01)
        assert is_rigid(drive.body(time))
    tilts = [math.degrees(np.arccos(drive.sway(t)[2, 2])) for t in np.arange(0, 5, 0.05)]
    assert 1.5 < max(tilts) < 3.0
    assert np.array_equal(Drive(PATH, 0.0, 0.25, 2.0).sway(1.23), np.eye(4))


def test_the_imu_feels_gravity_at_rest_and_the_turn_while_driving():
    turn, force = felt(Drive(PATH, 0.0, 0.1, 3.0), np.eye(4), 1.0)
    np.testing.assert_allclose(turn, 0.0, atol=1e-9)
    np.testing.assert_allclose(force, [0.0, 0.0, GRAVITY], atol=1e-6)
    drive = Drive(PATH, 1.0, 0.0, 0.0)
    time = max(np.arange(0.0, PATH.length, 0.1), key=lambda t: abs(drive.twist(t).turn))
    turn, force = felt(drive, np.eye(4), float(time))
    rate = drive.twist(float(time)).turn
    assert abs(rate) > 0.3
    assert turn[2] == pytest.approx(rate, rel=0.05)
    assert force[1] == pytest.approx(rate * 1.0, rel=0.1)  # centripetal, to the left


@pytest.mark.parametrize('laps', [0.3, 2.6])
def test_odometry_without_error_is_the_truth_and_with_error_drifts_by_its_share(laps):
    drive = Drive(PATH, 1.0, 0.4, 0.5)
    time = laps * PATH.length
    true = inverse(drive.base(0.0)) @ drive.base(time)
    exact = Odometry(drive, 0.0, np.random.default_rng(0)).pose(time)
    np.testing.assert_allclose(exact, true, atol=0.02)
    off = Odometry(drive, 0.01, np.random.default_rng(0)).pose(time)
    turned = rotation_vector((inverse(true) @ off)[:3, :3])[2]
    assert abs(math.remainder(abs(turned) - 0.01 * time, math.pi)) < 0.02
    assert np.linalg.norm(off[:3, 3] - true[:3, 3]) > 0.05
    before, after = (Odometry(drive, 0.01, np.random.default_rng(0)).pose(t) for t in (3.0, 3.2))
    step = np.linalg.norm((inverse(before) @ after)[:2, 3])
    assert abs(step / 0.2 - 1) == pytest.approx(0.01, abs=0.003)


def test_planar_is_a_pose_on_the_floor():
    pose = planar(1.0, 2.0, math.pi / 2)
    np.testing.assert_allclose(pose @ [1.0, 0.0, 0.0, 1.0], [1.0, 3.0, 0.0, 1.0], atol=1e-12)
