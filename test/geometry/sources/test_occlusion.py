from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from ray_scene import CAMERA, LIDAR_AXES, Scene

from lotus2_ros.geometry.lens import PINHOLE
from lotus2_ros.geometry.occlusion import occluded_points
from lotus2_ros.geometry.rigid import transform_points

SIZE = (CAMERA.width, CAMERA.height)


def seen_from(lidar_origin: list[float], scene: Scene, lines: int) -> tuple[np.ndarray, ...]:
    """Pixels, depth, and whether the camera's own ray to each point ends before it."""
    lidar_to_level = LIDAR_AXES.copy()
    lidar_to_level[:3, 3] = lidar_origin
    points = transform_points(lidar_to_level, scene.scan(lidar_to_level, lines))
    pixels = PINHOLE.project(points, CAMERA)
    inside = (pixels > 0).all(1) & (pixels < np.array(SIZE) - 1).all(1)
    hidden = scene.cast(np.zeros(3), points[inside]) < 0.99
    return pixels[inside], points[inside, 2], hidden


def test_a_wall_that_only_the_lidar_sees_behind_a_pillar_is_left_out():
    pillar = np.array([[-0.3, -3.0, 1.5], [0.3, 3.0, 1.7]])
    scene = Scene(1.0, np.array([[-6.0, -2.0, -1.0], [6.0, 1.0, 6.0]]), [pillar])
    for lines in (16, 64):
        pixels, depth, hidden = seen_from([0.4, 0.0, 0.0], scene, lines)
        found = occluded_points(pixels, depth, SIZE)
        assert hidden.sum() > 30
        assert found[hidden].mean() > 0.6, lines
        assert found[~hidden].mean() < 0.03, lines


@given(st.floats(0.15, 2.0), st.sampled_from([16, 32, 64]))
def test_an_empty_room_hides_none_of_its_floor_and_walls(height, lines):
    scene = Scene(height, np.array([[-3.0, -2.0, -1.0], [3.0, height, 8.0]]))
    pixels, depth, hidden = seen_from([0.0, 0.0, 0.0], scene, lines)
    assert not hidden.any()
    assert occluded_points(pixels, depth, SIZE).mean() < 0.03


def test_no_points_hide_nothing():
    assert occluded_points(np.empty((0, 2)), np.empty(0), SIZE).shape == (0,)


def test_points_all_in_one_place_hide_nothing():
    pixels = np.full((50, 2), 20.0)
    assert not occluded_points(pixels, np.linspace(1.0, 9.0, 50), SIZE).any()
