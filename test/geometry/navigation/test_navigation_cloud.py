from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from navigation_scenes import CAMERA, ROOM, YARD, camera_to_level, render

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.navigation_cloud import navigation_clouds, thin_by_stride, thin_to_budget
from lotus2_ros.geometry.projection import project, unproject

SMALL = Intrinsics(20.0, 20.0, 11.5, 7.5, 24, 16)
a_depth = st.one_of(st.floats(0.125, 20.0, width=32), st.sampled_from([np.inf, np.nan]))
depths = hnp.arrays(np.float32, (16, 24), elements=a_depth)
masks = hnp.arrays(np.bool_, (16, 24))


def pixels_of(points: np.ndarray, camera: Intrinsics) -> np.ndarray:
    """Flat pixel indices that points came from; they must lie on pixel centres."""
    places = project(points[:, :3], camera)
    rounded = np.rint(places)
    np.testing.assert_allclose(places, rounded, atol=2e-3)
    return (rounded[:, 1] * camera.width + rounded[:, 0]).astype(int)


def brute_nearest(points: np.ndarray, side: float) -> list[int]:
    best: dict[tuple[int, ...], int] = {}
    for index, point in enumerate(points):
        cell = tuple(np.floor(point * np.float32(1.0 / side)).astype(int))
        if cell not in best or point[2] < points[best[cell], 2]:
            best[cell] = index
    return sorted(best.values())


@settings(deadline=None)
@given(depths, masks, st.integers(1, 400), st.integers(0, 400), st.integers(0, 3))
def test_a_pixel_is_in_one_cloud_or_in_none(depth, leave_out, budget, clearing_budget, margin):
    clouds = navigation_clouds(
        depth,
        SMALL,
        leave_out=leave_out,
        max_points=budget,
        max_clearing_points=clearing_budget,
        clearing_margin=margin,
        clearing_range=5.0,
    )
    obstacles, clearing = pixels_of(clouds.obstacles, SMALL), pixels_of(clouds.clearing, SMALL)
    assert len(obstacles) <= budget
    assert len(clearing) <= clearing_budget
    assert len(set(obstacles)) == len(obstacles)
    assert len(set(clearing)) == len(clearing)
    assert np.isfinite(depth.flat[obstacles]).all()
    assert np.isposinf(depth.flat[clearing]).all()
    assert not leave_out.flat[obstacles].any()
    assert not leave_out.flat[clearing].any()
    assert clouds.measured == (np.isfinite(depth) & ~leave_out).sum()
    # Kept points are measured points, to the last bit.
    np.testing.assert_array_equal(
        clouds.obstacles, unproject(depth, SMALL).reshape(-1, 3)[obstacles]
    )
    np.testing.assert_allclose(np.linalg.norm(clouds.clearing, axis=1), 5.0, rtol=1e-5)
    for pixel in clearing:
        row, column = divmod(int(pixel), 24)
        rows = slice(max(0, row - margin), row + margin + 1)
        columns = slice(max(0, column - margin), column + margin + 1)
        assert not np.isfinite(depth[rows, columns]).any()
    assert (clouds.measured == 0) == (len(obstacles) == 0)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 400), st.floats(0.02, 2.0), st.sampled_from([1, 9]))
def test_the_nearest_point_of_every_voxel_is_chosen(seed, count, voxel, levels):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-2.0, 2.0, (count, 3)).astype(np.float32)
    points[:, 2] = rng.integers(1, 1 + levels, count)  # ties, or nothing but ties
    chosen, side = thin_to_budget(points, count, voxel)
    assert side == voxel
    assert chosen.tolist() == brute_nearest(points, voxel)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60))
def test_larger_voxels_still_hold_their_nearest_point(seed, budget):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0.0, 3.0, (300, 3)).astype(np.float32) + np.float32(0.01)
    chosen, side = thin_to_budget(points, budget, 0.125)
    assert len(chosen) <= budget
    assert (side / 0.125) == round(side / 0.125)
    # Cells of the larger voxels, made of whole small ones.
    cells = np.floor(points * np.float32(8.0)).astype(int) // round(side / 0.125)
    for index in chosen:
        same = (cells == cells[index]).all(axis=1)
        assert points[index, 2] == points[same, 2].min()
    # One of each voxel, and no voxel without.
    assert len({tuple(cell) for cell in cells[chosen]}) == len(chosen)
    assert len(chosen) == len({tuple(cell) for cell in cells})


def test_a_budget_of_one_keeps_the_nearest_point_of_all_even_round_the_origin():
    points = np.array(
        [[x, y, 1.0 + 0.1 * x + 0.01 * y] for x in (-1, 1) for y in (-1, 1)], dtype=np.float32
    )
    chosen, _ = thin_to_budget(points, 1, 0.1)
    assert chosen.tolist() == [0]


@pytest.mark.parametrize('scene', [ROOM, YARD], ids=['room', 'yard'])
@pytest.mark.parametrize('budget', [300, 2000, 10000])
def test_the_budget_is_met_and_used(scene, budget):
    depth = render(scene, camera_to_level(0.5)).astype(np.float32)
    clouds = navigation_clouds(depth, CAMERA, max_points=budget)
    assert 0.3 * budget <= len(clouds.obstacles) <= budget
    again = navigation_clouds(depth, CAMERA, max_points=budget)
    np.testing.assert_array_equal(clouds.obstacles, again.obstacles)


def test_a_scene_of_kilometres_with_a_tiny_voxel_still_fits():
    points = np.array([[0, 0, 1], [3e6, -3e6, 4e6], [3e6, -3e6, 4.1e6]], dtype=np.float32)
    chosen, side = thin_to_budget(points, 10, 1e-3)
    assert chosen.tolist() == [0, 1, 2]
    assert side * (1 << 20) >= 4.1e6


def test_height_is_that_over_the_plane():
    transform = camera_to_level(0.7, 20.0, 5.0)
    depth = render(ROOM, transform).astype(np.float32)
    plane = np.append(transform[2, :3], transform[2, 3])
    clouds = navigation_clouds(depth, CAMERA, ground=plane)
    assert clouds.obstacles.shape[1] == 4
    assert clouds.obstacles.dtype == np.float32
    level = clouds.obstacles[:, :3] @ transform[:3, :3].T + transform[:3, 3]
    np.testing.assert_allclose(clouds.obstacles[:, 3], level[:, 2], atol=1e-5)
    assert (np.abs(clouds.obstacles[:, 3]) < 1e-3).sum() > 500  # the floor


@settings(deadline=None)
@given(hnp.arrays(np.bool_, (30, 40)), st.integers(0, 1300))
def test_stride_keeps_pixels_of_the_mask_within_the_budget(mask, budget):
    chosen = thin_by_stride(mask, budget)
    assert len(chosen) <= budget
    assert mask.flat[chosen].all()
    assert (np.diff(chosen) > 0).all()
    if budget >= mask.sum():
        assert chosen.tolist() == np.flatnonzero(mask).tolist()


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'max_points': 0}, 'max_points'),
        ({'voxel': 0.0}, 'voxel'),
        ({'clearing_range': 0.0}, 'clearing_range'),
        ({'max_clearing_points': -1}, 'max_clearing_points'),
        ({'leave_out': np.zeros((2, 2), dtype=bool)}, 'mask'),
    ],
)
def test_unusable_arguments_are_named(change, said):
    with pytest.raises(ValueError, match=said):
        navigation_clouds(np.ones((16, 24), dtype=np.float32), SMALL, **change)
