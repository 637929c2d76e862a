from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus2_ros.errors import CameraInfoError
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.lens import PINHOLE, Lens
from lotus2_ros.geometry.projection import project, ray_map

CAMERA = Intrinsics(300.0, 310.0, 160.0, 118.0, 320, 240)
LENSES = {
    'plumb_bob': Lens('plumb_bob', (-0.3, 0.1, 1e-3, -5e-4, -0.01)),
    'four': Lens('plumb_bob', (-0.25, 0.06, 1e-3, -5e-4)),
    'rational': Lens('rational_polynomial', (1.2, 0.4, 1e-4, 2e-4, 0.02, 1.5, 0.7, 0.08)),
    'tilted': Lens(
        'rational_polynomial',
        (0.1, 0.02, 1e-4, 2e-4, 0.0, 0.2, 0.0, 0.0, 1e-3, 0.0, 1e-3, 0.0, 0.01, 0.02),
    ),
    'equidistant': Lens('equidistant', (0.02, -0.01, 0.003, -0.001)),
    'fisheye without coefficients': Lens('equidistant', (0.0, 0.0, 0.0, 0.0)),
}


@pytest.mark.parametrize('name', LENSES)
def test_pixels_become_rays_and_rays_their_pixels_again(name):
    lens = LENSES[name]
    rows, columns = np.mgrid[0:240:20, 0:320:20]
    pixels = np.column_stack([columns.ravel(), rows.ravel()]).astype(float)
    rays = lens.normalise(pixels, CAMERA)
    assert np.isfinite(rays).all()
    depth = np.linspace(0.5, 60.0, len(rays))[:, None]
    points = np.column_stack([rays, np.ones(len(rays))]) * depth
    np.testing.assert_allclose(lens.project(points, CAMERA), pixels, atol=1e-3)


def test_a_pinhole_projects_as_the_rest_of_the_package_does():
    points = np.random.default_rng(0).uniform([-2, -2, 0.5], [2, 2, 9], (100, 3))
    np.testing.assert_allclose(
        PINHOLE.project(points, CAMERA), project(points.astype(np.float32), CAMERA), atol=1e-2
    )
    np.testing.assert_allclose(PINHOLE.rays(CAMERA), ray_map(CAMERA), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-0.5, 0.5),
    st.floats(-0.3, 0.3),
    st.floats(-0.2, 0.2),
    st.lists(st.floats(0.0, 4.0), min_size=2, max_size=8, unique=True),
)
def test_in_the_field_a_wider_ray_lands_farther_out_and_beyond_it_nowhere(k1, k2, k3, radii):
    lens = Lens('plumb_bob', (k1, k2, 0.0, 0.0, k3))
    radii = np.sort(radii)
    points = np.column_stack([radii, np.zeros_like(radii), np.ones_like(radii)])
    u = lens.project(points, CAMERA)[:, 0]
    inside = radii < lens.field_radius if not lens.is_pinhole else np.full(len(radii), True)
    np.testing.assert_array_equal(np.isfinite(u), inside)
    assert (np.diff(u[inside]) > -1e-9).all()


def test_a_barrel_that_folds_back_takes_no_points_from_outside_its_field():
    """1 + k1 r^2 with k1 = -0.4 turns back at r = 0.913; OpenCV puts r = 1.5 into the image."""
    lens = Lens('plumb_bob', (-0.4, 0.0, 0.0, 0.0))
    assert lens.field_radius == pytest.approx(np.sqrt(1 / 1.2))
    point = np.array([[1.5, 0.0, 1.0]])
    folded, _ = cv2.projectPoints(
        point, np.zeros(3), np.zeros(3), CAMERA.matrix, np.array(lens.coefficients)
    )
    assert 0 < folded[0, 0, 0] < 320
    assert np.isnan(lens.project(point, CAMERA)).all()


def test_points_behind_the_camera_and_points_that_are_nan_have_no_pixel():
    points = np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0], [np.nan, 0.0, 1.0], [0.0, 0.0, 1.0]])
    for lens in (PINHOLE, *LENSES.values()):
        pixels = lens.project(points, CAMERA)
        assert np.isnan(pixels[:3]).all()
        assert np.isfinite(pixels[3]).all()


def test_no_points_have_no_pixels():
    for lens in (PINHOLE, *LENSES.values()):
        assert lens.project(np.empty((0, 3)), CAMERA).shape == (0, 2)
        assert lens.normalise(np.empty((0, 2)), CAMERA).shape == (0, 2)


def test_what_the_lens_cannot_see_has_no_ray():
    lens = Lens('plumb_bob', (-0.6, 0.0, 0.0, 0.0))
    wide = Intrinsics(200.0, 200.0, 160.0, 120.0, 320, 240)
    rays = lens.rays(wide)
    assert np.isnan(rays[0, 0]).all()
    np.testing.assert_allclose(rays[120, 160], [0.0, 0.0], atol=1e-9)


@pytest.mark.parametrize(
    ('model', 'coefficients'),
    [
        ('thin_prism', (0.1,)),
        ('plumb_bob', (0.1, 0.2)),
        ('equidistant', (0.1, 0.0, 0.0, 0.0, 0.0)),
        ('plumb_bob', (0.1, float('nan'), 0.0, 0.0)),
    ],
)
def test_distortion_that_makes_no_sense_is_refused(model, coefficients):
    with pytest.raises(CameraInfoError):
        Lens(model, coefficients)
