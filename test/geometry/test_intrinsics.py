from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus2_ros.errors import CameraInfoError
from lotus2_ros.geometry.camera_model import RegionOfInterest, effective_intrinsics
from lotus2_ros.geometry.intrinsics import Intrinsics

sizes = st.integers(1, 4000)
hfovs = st.floats(1.0, 175.0)


@given(hfovs, sizes, sizes)
def test_field_of_view_survives_the_round_trip(hfov: float, width: int, height: int):
    assert Intrinsics.from_hfov(hfov, width, height).hfov_deg == pytest.approx(hfov)


@given(hfovs, sizes, sizes, sizes, sizes)
def test_scaling_keeps_the_field_of_view_and_can_be_undone(
    hfov: float, width: int, height: int, new_width: int, new_height: int
):
    camera = Intrinsics.from_hfov(hfov, width, height)
    scaled = camera.scaled(new_width, new_height)
    assert scaled.hfov_deg == pytest.approx(hfov)
    back = scaled.scaled(width, height)
    np.testing.assert_allclose(back.matrix, camera.matrix, rtol=1e-9, atol=1e-6)


def test_scaling_follows_the_pixels_of_an_image_that_cv2_resizes():
    # A horizontal ramp of ray slopes, halved by averaging, is the ramp of the halved camera.
    camera = Intrinsics(300.0, 310.0, 317.3, 241.9, 640, 480)
    slopes = np.tile((np.arange(640) - camera.cx) / camera.fx, (480, 1))
    halved = cv2.resize(slopes, (320, 240), interpolation=cv2.INTER_AREA)
    half = camera.scaled(320, 240)
    np.testing.assert_allclose(halved[0], (np.arange(320) - half.cx) / half.fx, atol=1e-9)


def test_matrix_and_projection_are_those_of_the_field():
    camera = Intrinsics(2.0, 3.0, 4.0, 5.0, 10, 12)
    assert camera.matrix.tolist() == [[2, 0, 4], [0, 3, 5], [0, 0, 1]]
    assert camera.projection.tolist() == [[2, 0, 4, 0], [0, 3, 5, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize('focal', [0.0, -1.0, math.nan, math.inf])
def test_an_uncalibrated_camera_is_refused(focal: float):
    with pytest.raises(CameraInfoError, match='calibrated'):
        Intrinsics(focal, 1.0, 0.0, 0.0, 4, 4)


@pytest.mark.parametrize('hfov', [0.0, 180.0, -10.0, math.nan])
def test_an_impossible_field_of_view_is_refused(hfov: float):
    with pytest.raises(CameraInfoError):
        Intrinsics.from_hfov(hfov, 4, 4)


K = (500.0, 0.0, 319.5, 0.0, 510.0, 239.5, 0.0, 0.0, 1.0)
P = (400.0, 0.0, 300.0, -40.0, 0.0, 410.0, 200.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def test_without_roi_and_binning_the_numbers_are_taken_as_they_are():
    camera = effective_intrinsics(K, calibrated_size=(640, 480), image_size=(640, 480))
    assert camera == Intrinsics(500.0, 510.0, 319.5, 239.5, 640, 480)
    camera = effective_intrinsics(P, calibrated_size=(640, 480), image_size=(640, 480))
    assert camera == Intrinsics(400.0, 410.0, 300.0, 200.0, 640, 480)


@given(
    st.floats(-1.0, 1.0),
    st.floats(-1.0, 1.0),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 200),
    st.integers(0, 200),
)
def test_a_ray_keeps_its_place_under_roi_and_binning(
    slope_x: float, slope_y: float, bin_x: int, bin_y: int, x0: int, y0: int
):
    roi = RegionOfInterest(x0, y0, 48 * bin_x, 36 * bin_y)
    camera = effective_intrinsics(
        K, calibrated_size=(640, 480), image_size=(48, 36), binning=(bin_x, bin_y), roi=roi
    )
    # Left edges of pixels, not centres, map linearly: full = roi offset + binning * binned.
    u_full = K[0] * slope_x + K[2] + 0.5
    v_full = K[4] * slope_y + K[5] + 0.5
    u = camera.fx * slope_x + camera.cx + 0.5
    v = camera.fy * slope_y + camera.cy + 0.5
    assert u * bin_x + x0 == pytest.approx(u_full)
    assert v * bin_y + y0 == pytest.approx(v_full)


def test_an_image_of_another_size_is_refused_with_both_sizes():
    with pytest.raises(CameraInfoError, match=r'320x240 px but .* 640x480'):
        effective_intrinsics(K, calibrated_size=(640, 480), image_size=(320, 240))


def test_the_last_incomplete_bin_may_be_kept_or_dropped():
    for width in (213, 214):
        camera = effective_intrinsics(
            K, calibrated_size=(640, 480), image_size=(width, 160), binning=(3, 3)
        )
        assert camera.width == width


def test_a_region_outside_the_image_is_refused():
    with pytest.raises(CameraInfoError, match='region of interest'):
        effective_intrinsics(
            K, calibrated_size=(640, 480), image_size=(100, 100), roi=(600, 0, 100, 100)
        )
    with pytest.raises(CameraInfoError, match=r'9 \(K\) or 12'):
        effective_intrinsics(K[:8], calibrated_size=(640, 480), image_size=(640, 480))
