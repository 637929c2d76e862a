"""The occupancy check of `lotus2 evaluate --occupancy`, at a few places, and that it can fail."""

from __future__ import annotations

import numpy as np
import pytest

from lotus2_ros.geometry.navigation_cloud import NavigationClouds
from lotus2_ros.settings import NodeSettings
from lotus2_ros.simulation.occupancy import compare, published_clouds, true_space
from lotus2_ros.tools.evaluate_occupancy import affine_disparity, total_of


def clouds_at(robot, time, seed=0):
    depth = robot.true_depth(time)
    disparity, scale = affine_disparity(depth, np.random.default_rng(seed))
    return published_clouds(disparity, None, robot.intrinsics, scale, NodeSettings())


def test_true_disparity_gives_a_cloud_with_the_obstacles_and_without_free_space(robot):
    checks = []
    for seed, time in enumerate((2.0, 10.0, 17.0, 25.0, 33.0)):
        space = true_space(robot, time, np.random.default_rng(seed))
        clouds = clouds_at(robot, time, seed)
        checks.append(compare(clouds, space, robot.camera_on_base(time)))
    total = total_of(checks)
    assert total.obstacles > 5000
    assert total.free_cells > 2000
    assert total.found_share >= 0.95
    assert total.marked_share <= 0.01


def test_a_cloud_of_the_wrong_scale_fails(robot):
    time = 17.0
    space, on_base = true_space(robot, time, np.random.default_rng(0)), robot.camera_on_base(time)
    right = clouds_at(robot, time)
    grown = right._replace(obstacles=right.obstacles * np.float32(0.8))
    assert compare(grown, space, on_base).found_share < 0.5
    assert compare(grown, space, on_base).marked_share > 0.01
    empty = NavigationClouds(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), 0.05, 0, 0)
    assert compare(empty, space, on_base).found == 0


def test_disparity_is_affine_in_inverse_depth_whatever_is_drawn():
    depth = np.array([[0.5, 2.0, np.inf]], np.float32)
    for seed in range(3):
        disparity, (a, b) = affine_disparity(depth, np.random.default_rng(seed))
        np.testing.assert_allclose(a * disparity + b, [[2.0, 0.5, 0.0]], atol=1e-6)
        assert a > 0
    assert affine_disparity(depth, np.random.default_rng(0))[1] != pytest.approx(
        affine_disparity(depth, np.random.default_rng(1))[1]
    )
