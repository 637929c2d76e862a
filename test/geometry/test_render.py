from __future__ import annotations

import numpy as np

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.projection import unproject
from lotus2_ros.geometry.render import render_cloud

RED, GREEN = (255, 0, 0), (0, 255, 0)


def plane(z: float, size: int, hfov: float = 50.0) -> np.ndarray:
    camera = Intrinsics.from_hfov(hfov, size, size)
    return unproject(np.full((size, size), z, dtype=np.float32), camera).reshape(-1, 3)


def test_the_near_surface_hides_the_far_one_whatever_the_order():
    near, far = plane(2.0, 200), plane(4.0, 200, hfov=25.0)
    colors = [np.tile(np.uint8(color), (len(near), 1)) for color in (RED, GREEN)]
    pictures = [
        render_cloud(
            np.concatenate(points), np.concatenate(tints), width=100, height=100, yaw_deg=0,
            pitch_deg=0, splat=3,
        )
        for points, tints in (((near, far), colors), ((far, near), colors[::-1]))
    ]  # fmt: skip
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert pictures[0][50, 50].tolist() == list(RED)
    assert not (pictures[0] == np.uint8(GREEN)).all(axis=-1).any()


def test_a_viewpoint_on_the_right_moves_near_things_to_the_left():
    points = np.array([[0, 0, 1], [0, 0, 3]] * 50, dtype=np.float32)
    colors = np.array([RED, GREEN] * 50, dtype=np.uint8)
    picture = render_cloud(points, colors, width=101, height=101, yaw_deg=30, pitch_deg=0, splat=5)
    red = np.argwhere((picture == np.uint8(RED)).all(axis=-1)).mean(axis=0)
    green = np.argwhere((picture == np.uint8(GREEN)).all(axis=-1)).mean(axis=0)
    assert red[1] < green[1]
    raised = render_cloud(points, colors, width=101, height=101, yaw_deg=0, pitch_deg=30, splat=5)
    red = np.argwhere((raised == np.uint8(RED)).all(axis=-1)).mean(axis=0)
    green = np.argwhere((raised == np.uint8(GREEN)).all(axis=-1)).mean(axis=0)
    assert red[0] > green[0]


def test_without_a_point_there_is_only_background():
    nothing = np.full((3, 3, 3), np.nan, dtype=np.float32)
    picture = render_cloud(
        nothing, np.zeros((3, 3, 3), dtype=np.uint8), width=8, height=6, background=(1, 2, 3)
    )
    assert picture.shape == (6, 8, 3)
    assert (picture == (1, 2, 3)).all()
