from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.projection import project, ray_map, unproject

cameras = st.builds(
    Intrinsics,
    fx=st.floats(5.0, 2000.0),
    fy=st.floats(5.0, 2000.0),
    cx=st.floats(-10.0, 20.0),
    cy=st.floats(-10.0, 20.0),
    width=st.integers(1, 9),
    height=st.integers(1, 9),
)


@given(cameras, st.data())
def test_projecting_an_unprojected_depth_gives_its_pixels_back(camera, data):
    shape = (camera.height, camera.width)
    elements = st.floats(0.125, 100.0, width=32)
    depth = data.draw(hnp.arrays(np.float32, shape, elements=elements))
    points = unproject(depth, camera)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points[..., 2], depth)
    rows, columns = np.mgrid[: camera.height, : camera.width]
    np.testing.assert_allclose(
        project(points, camera), np.stack([columns, rows], axis=-1), atol=2e-3
    )


def test_the_optical_frame_is_x_right_y_down_z_forward():
    camera = Intrinsics(100.0, 100.0, 1.0, 1.0, 3, 3)
    points = unproject(np.full((3, 3), 2.0, dtype=np.float32), camera)
    np.testing.assert_allclose(points[1, 1], [0.0, 0.0, 2.0])
    np.testing.assert_allclose(points[1, 2], [0.02, 0.0, 2.0], rtol=1e-6)
    np.testing.assert_allclose(points[2, 1], [0.0, 0.02, 2.0], rtol=1e-6)


def test_a_depth_that_is_not_finite_is_no_point_in_any_coordinate():
    camera = Intrinsics(10.0, 10.0, 1.0, 0.0, 3, 1)
    points = unproject(np.array([[np.nan, np.inf, 1.0]], dtype=np.float32), camera)
    assert np.isnan(points[0, :2]).all()
    assert np.isfinite(points[0, 2]).all()


def test_points_behind_the_camera_have_no_pixel():
    camera = Intrinsics.from_hfov(60.0, 4, 4)
    pixels = project(np.array([[0, 0, -1], [0, 0, 0], [0, 0, 1]], dtype=np.float32), camera)
    assert np.isnan(pixels[:2]).all()
    np.testing.assert_allclose(pixels[2], [1.5, 1.5])


def test_rays_are_made_once_and_cannot_be_spoilt():
    rays = ray_map(Intrinsics.from_hfov(60.0, 6, 4))
    assert rays is ray_map(Intrinsics.from_hfov(60.0, 6, 4))
    assert rays.shape == (4, 6, 2)
    with pytest.raises(ValueError, match='read-only'):
        rays[0, 0, 0] = 1.0


def test_depth_of_another_size_is_refused():
    with pytest.raises(ValueError, match='6x4'):
        unproject(np.ones((3, 3), dtype=np.float32), Intrinsics.from_hfov(60.0, 6, 4))
