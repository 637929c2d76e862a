"""The occupancy check itself, and that the whole chain meets its targets on analytic scenes."""

from __future__ import annotations

import numpy as np
import pytest
from navigation_chain import drive_past
from navigation_scenes import SCENES, camera_to_level, random_scene

from lotus2_ros.geometry.occupancy import check, free_cells

EYE = np.array([0.0, 0.0, 0.5])
FREE = np.array([[10, 0], [11, 0], [12, 0], [13, 0]])


def wall(x: float) -> np.ndarray:
    y, z = np.meshgrid(np.linspace(-1.0, 1.0, 41), np.linspace(0.1, 1.0, 19))
    return np.stack([np.full(y.size, x), y.ravel(), z.ravel()], axis=1)


@pytest.mark.parametrize(
    ('offset', 'share'), [(0.0, 1.0), (0.14, 1.0), (0.16, 0.0), (-0.14, 1.0), (-0.2, 0.0)]
)
def test_an_obstacle_is_found_within_five_percent(offset, share):
    result = check(wall(3.0 + offset), wall(3.0)[[9 * 41 + 20]], FREE, camera=EYE)
    assert result.found_share == share


def test_near_obstacles_are_found_within_ten_centimetres():
    near = wall(0.8)[[9 * 41 + 20]]
    assert check(wall(0.89), near, FREE, camera=EYE).found == 1
    assert check(wall(0.91), near, FREE, camera=EYE).found == 0


def test_only_obstacles_in_range_are_asked_for():
    obstacles = np.concatenate([wall(0.1)[[389]], wall(3.0), wall(5.5)])
    assert check(wall(3.0), obstacles, FREE, camera=EYE).obstacles == len(wall(3.0))


def test_a_stray_point_marks_its_cell_and_one_beside_an_obstacle_only_touches_it():
    stray = np.array([[1.15, 0.05, 0.5], [1.16, 0.05, 0.6], [1.05, 0.05, 5.0]])
    beside = np.array([[1.39, 0.05, 0.5]])
    result = check(np.concatenate([stray, beside]), wall(1.45), FREE, camera=EYE)
    assert (result.free_cells, result.marked, result.touched) == (4, 1, 2)
    assert result.marked_share == 0.25


def test_an_empty_cloud_finds_nothing_and_marks_nothing():
    result = check(np.zeros((0, 3)), wall(2.0), FREE, camera=EYE)
    assert (result.found, result.marked) == (0, 0)


def test_free_cells_end_before_the_wall_and_are_none_behind_it():
    cells = free_cells(wall(2.0), wall(2.0), camera=EYE)
    far = (cells[:, 0] + 1) * 0.1
    assert far.max() <= 2.0 + 1e-9
    ahead = cells[cells[:, 1] == 0][:, 0]
    assert sorted(ahead) == list(range(3, 20))


@pytest.mark.parametrize('how', ['half', 'softer'])
@pytest.mark.parametrize('height', [0.3, 1.0])
@pytest.mark.parametrize('name', SCENES)
def test_the_cloud_of_smeared_disparity_meets_the_targets(name, height, how):
    transform = camera_to_level(height, 15.0 if height == 1.0 else 0.0)
    result = drive_past(SCENES[name], transform, how).occupancy
    assert result.obstacles > 2000
    assert result.free_cells > 500
    assert result.found_share >= 0.95
    assert result.marked_share <= 0.01


def test_the_targets_hold_with_one_percent_of_noise():
    result = drive_past(SCENES['room'], camera_to_level(0.5, 10.0), 'soft', noise=0.01).occupancy
    assert result.found_share >= 0.95
    assert result.marked_share <= 0.01


@pytest.mark.parametrize('seed', range(6))
def test_the_targets_hold_in_random_scenes_from_a_tilted_camera(seed):
    rng = np.random.default_rng(seed)
    scene = random_scene(rng)
    transform = camera_to_level(rng.uniform(0.2, 1.4), rng.uniform(0.0, 15.0), rng.uniform(-8, 8))
    how = ('half', 'soft', 'softer')[seed % 3]
    result = drive_past(scene, transform, how, noise=0.01 * (seed % 2)).occupancy
    assert result.obstacles > 300
    assert result.found_share >= 0.95
    assert result.marked_share <= 0.01


def test_without_the_mask_the_free_space_is_marked():
    """The scenes are hard enough: what flies fails the same check by far."""
    result = drive_past(SCENES['yard'], camera_to_level(0.3), 'softer', edges=False).occupancy
    assert result.marked_share > 0.05
