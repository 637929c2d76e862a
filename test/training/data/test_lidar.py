from __future__ import annotations

import numpy as np
import pytest

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.training.data.lidar import sparse_depth

CAMERA = Intrinsics(300.0, 300.0, 199.5, 149.5, 400, 300)
# A lidar has x forward, y left, z up.
AXES = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


def scan(depth_of, lines=64, columns=900, position=(0.0, 0.0, 0.0)):
    """Points in the camera's frame that a spinning lidar at a position there sees.

    `depth_of` takes origin (3,) and directions (N, 3) to the distance along each, inf for nothing.
    """
    elevation, azimuth = np.meshgrid(
        np.linspace(-0.45, 0.45, lines), np.linspace(-0.7, 0.7, columns), indexing='ij'
    )
    directions = np.stack(
        [
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ],
        -1,
    ).reshape(-1, 3)
    distance = depth_of(np.array(position), directions)
    seen = np.isfinite(distance)
    return np.array(position) + directions[seen] * distance[seen, None]


def in_lidar_frame(points, camera_from_lidar):
    lidar_from_camera = np.linalg.inv(camera_from_lidar)
    return (points @ lidar_from_camera[:3, :3].T + lidar_from_camera[:3, 3]).astype(np.float32)


def plane_hit(origin, directions, normal, offset):
    towards = directions @ np.asarray(normal)
    distance = (offset - origin @ np.asarray(normal)) / np.where(towards == 0, np.nan, towards)
    return np.where(distance > 0, distance, np.inf)


def mounted(x, y, z):
    matrix = AXES.copy()
    matrix[:3, 3] = (x, y, z)
    return matrix


def test_points_in_the_lidars_frame_fall_on_their_pixels():
    points = np.array([[4.0, 0.5, 0.25], [-4.0, 0, 0], [np.nan, 0, 0], [4.0, 90, 0]], np.float32)
    depth, valid = sparse_depth(points, mounted(0.1, -0.2, 0.3), CAMERA)
    # x = -0.5 + 0.1, y = -0.25 - 0.2, z = 4 + 0.3.
    column, row = round(199.5 + 300 * -0.4 / 4.3), round(149.5 + 300 * -0.45 / 4.3)
    assert valid.sum() == 1
    assert valid[row, column]
    assert depth[row, column] == pytest.approx(4.3)
    assert depth[~valid].max() == 0


def test_the_nearest_of_a_pixel_wins():
    points = np.array([[6.0, 0, 0], [3.0, 0, 0], [5.0, 0, 0]], np.float32)
    depth, valid = sparse_depth(points, AXES, CAMERA)
    assert depth[valid].tolist() == [3.0]


def test_a_level_floor_loses_nothing():
    def floor(origin, directions):
        distance = plane_hit(origin, directions, (0, 1, 0), 1.5)
        return np.where(distance < 60, distance, np.inf)

    points = scan(floor, position=(0.2, -0.4, 0))
    depth, valid = sparse_depth(in_lidar_frame(points, AXES), AXES, CAMERA)
    pixels = np.rint(points[:, :2] / points[:, 2:] * 300 + (199.5, 149.5)).astype(int)
    inside = ((pixels >= 0) & (pixels < (400, 300))).all(1)
    assert valid.sum() == len(np.unique(pixels[inside], axis=0))
    rows = np.nonzero(valid)[0]
    # Half a pixel of rounding is what a floor's depth can be off by.
    off = 1.5 * 300 / depth[valid] - (rows - 149.5)
    assert np.abs(off).max() < 0.51


def test_what_the_camera_cannot_see_is_left_out():
    """A lidar a metre to the right of the camera sees the wall behind a board."""

    def board_and_wall(origin, directions):
        board = plane_hit(origin, directions, (0, 0, 1), 3.0)
        at = origin + directions * board[:, None]
        on_board = (np.abs(at[:, 0]) < 0.6) & (np.abs(at[:, 1]) < 1.0)
        return np.where(on_board, board, plane_hit(origin, directions, (0, 0, 1), 8.0))

    points = scan(board_and_wall, position=(1.0, -0.1, 0.0))
    depth, valid = sparse_depth(in_lidar_frame(points, AXES), AXES, CAMERA)
    rows, columns = np.indices(depth.shape)
    # The board as the camera sees it, but for the few pixels at its rim.
    inner = (np.abs(columns - 199.5) < 56) & (np.abs(rows - 149.5) < 96)
    pixels = np.rint(points[:, :2] / points[:, 2:] * 300 + (199.5, 149.5)).astype(int)
    wall = points[:, 2] > 7
    hidden = wall & (np.abs(pixels - (199.5, 149.5)) < (56, 96)).all(1)
    assert hidden.sum() > 500
    behind = inner & valid & (depth > 7)
    assert behind.sum() < 0.01 * hidden.sum()
    assert (inner & valid).sum() > 2000
    # Beside the board the wall is still there.
    beside = valid & (columns > 290)
    assert beside.sum() > 2000
    np.testing.assert_allclose(depth[beside], 8.0, rtol=1e-5)


def test_no_points_in_view_is_an_empty_depth():
    depth, valid = sparse_depth(np.zeros((0, 3), np.float32), AXES, CAMERA)
    assert not valid.any()
    assert depth.shape == (300, 400)
