from __future__ import annotations

import math

import numpy as np
import pytest
from navigation_scenes import CAMERA, POLE_SCENE, camera_to_level, render

from lotus2_ros.geometry.mounting import Mounting
from lotus2_ros.geometry.scan import laser_scan
from lotus2_ros.geometry.scan_view import layout_of_view


def test_a_camera_that_looks_ahead_has_its_axes_where_rep_103_wants_them():
    transform = Mounting(0.6, x=0.2, y=-0.1).optical_to_base
    np.testing.assert_allclose(transform @ [0, 0, 2, 1], [2.2, -0.1, 0.6, 1], atol=1e-12)
    np.testing.assert_allclose(transform @ [1, 0, 0, 1], [0.2, -1.1, 0.6, 1], atol=1e-12)
    np.testing.assert_allclose(transform @ [0, 1, 0, 1], [0.2, -0.1, -0.4, 1], atol=1e-12)


@pytest.mark.parametrize(('pitch', 'roll'), [(15.0, 0.0), (0.0, 10.0), (20.0, -8.0)])
def test_pitch_looks_down_and_roll_turns_about_the_line_of_sight(pitch, roll):
    transform = Mounting(0.5, pitch_deg=pitch, roll_deg=roll).optical_to_base
    expected = camera_to_level(0.5, pitch)
    turn = np.radians(roll)
    about_sight = np.eye(4)
    about_sight[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    np.testing.assert_allclose(transform, expected @ about_sight, atol=1e-12)
    assert transform[2, 2] == pytest.approx(-math.sin(math.radians(pitch)))


def test_yaw_turns_to_the_left():
    transform = Mounting(0.5, yaw_deg=90.0).optical_to_base
    np.testing.assert_allclose(transform @ [0, 0, 1, 1], [0, 1, 0.5, 1], atol=1e-12)


@pytest.mark.parametrize('pitch', [0.0, -35.0, 89.0, 90.0, -90.0])
@pytest.mark.parametrize(('roll', 'yaw'), [(0.0, 0.0), (12.0, -140.0), (-170.0, 60.0)])
def test_a_pose_as_a_matrix_is_the_same_mounting(pitch, roll, yaw):
    transform = Mounting(0.7, 0.2, -0.1, roll, pitch, yaw).optical_to_base
    again = Mounting.from_transform(transform).optical_to_base
    np.testing.assert_allclose(again, transform, atol=1e-9)


def test_the_plane_and_the_height_are_those_of_the_ground():
    mounting = Mounting(0.8, x=1.0, pitch_deg=12.0, roll_deg=3.0, yaw_deg=40.0)
    on_ground = np.linalg.inv(mounting.optical_to_base) @ [4.0, 3.0, 0.0, 1.0]
    assert mounting.height_over_ground @ on_ground == pytest.approx(0.0, abs=1e-12)
    ray = on_ground[:2] / on_ground[2]
    assert mounting.plane.inverse_depth(ray) == pytest.approx(1.0 / on_ground[2])


def layout(mounting: Mounting, **changes: float):
    values = {'increment': 0.01, 'range_min': 0.1, 'range_max': 8.0, 'low': 0.1, 'high': 1.0}
    return layout_of_view(CAMERA, mounting, **{**values, **changes})


def test_beams_cover_the_image_and_hardly_more():
    view = layout(Mounting(0.5))
    edge = math.atan(320 / CAMERA.fx)
    assert edge - 0.02 <= view.angle_max <= edge + 0.02
    assert -edge - 0.02 <= view.angle_min <= -edge + 0.02
    assert layout(Mounting(0.5), increment=0.02).beams == pytest.approx(view.beams / 2, abs=1)


def test_beams_turn_with_the_camera_and_keep_their_directions():
    view = layout(Mounting(0.5, yaw_deg=170.0))
    middle = 0.5 * (view.angle_min + view.angle_max)
    assert middle == pytest.approx(math.radians(170.0), abs=0.02)
    steps = view.angle_min / view.angle_increment
    assert steps == pytest.approx(round(steps), abs=1e-6)


def test_a_camera_that_looks_down_scans_all_round():
    view = layout(Mounting(1.0, pitch_deg=90.0))
    assert view.beams == math.floor(2 * math.pi / 0.01)
    assert view.angle_max - view.angle_min < 2 * math.pi


@pytest.mark.parametrize('x', [-0.4, 0.0, 0.4])
def test_everything_that_a_camera_off_centre_sees_has_a_beam(x):
    mounting = Mounting(0.5, x=x, y=0.2, pitch_deg=5.0)
    transform = mounting.optical_to_base
    depth = render(POLE_SCENE, transform).astype(np.float32)
    view = layout(mounting)
    assert np.isfinite(laser_scan(depth, CAMERA, transform, view).ranges).sum() > 20
    whole = layout(Mounting(0.5, pitch_deg=90.0))
    everywhere = laser_scan(depth, CAMERA, transform, whole)
    angles = whole.angle_min + whole.angle_increment * np.arange(whole.beams)
    hit = angles[np.isfinite(everywhere.ranges)]
    assert view.angle_min - 0.01 <= hit.min()
    assert hit.max() <= view.angle_max + 0.01
