from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lotus2_ros.geometry.colormap import colorize_disparity, colorize_normals


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(width=32)))
def test_gray_shows_the_clipped_value_and_black_where_unknown(disparity):
    colors = colorize_disparity(disparity, colormap='gray', low=0.25, high=0.75)
    assert colors.dtype == np.uint8
    assert (colors[..., 0] == colors[..., 2]).all()
    known = np.nan_to_num(disparity.astype(np.float64), nan=0.0, posinf=1.0, neginf=0.0)
    expected = np.clip((known - 0.25) / 0.5, 0.0, 1.0) * 255
    assert np.abs(colors[..., 1] - expected).max() <= 1.0


@pytest.mark.parametrize('name', ['turbo', 'inferno', 'viridis', 'magma'])
def test_maps_are_opencvs_in_rgb_order(name: str):
    ramp = np.linspace(0.0, 1.0, 256, dtype=np.float32)[None]
    bgr = cv2.applyColorMap(
        np.arange(256, dtype=np.uint8)[None], getattr(cv2, f'COLORMAP_{name.upper()}')
    )
    np.testing.assert_array_equal(colorize_disparity(ramp, colormap=name), bgr[..., ::-1])


def test_near_is_red_and_far_is_blue_in_turbo():
    far, near = colorize_disparity(np.array([[0.1, 0.9]], dtype=np.float32))[0].astype(int)
    assert far[2] > far[0]
    assert near[0] > near[2]


def test_a_colour_does_not_depend_on_the_rest_of_the_picture():
    alone = colorize_disparity(np.full((1, 1), 0.4, dtype=np.float32))
    among = colorize_disparity(np.array([[0.4, 5.0, -3.0]], dtype=np.float32))
    np.testing.assert_array_equal(alone[0, 0], among[0, 0])


def test_unknown_maps_and_empty_ranges_are_refused():
    image = np.zeros((2, 2), dtype=np.float32)
    with pytest.raises(ValueError, match='jet'):
        colorize_disparity(image, colormap='jet')
    with pytest.raises(ValueError, match='empty'):
        colorize_disparity(image, low=1.0, high=1.0)


def test_normals_have_the_usual_colours():
    towards_camera, floor, unknown = [0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [np.nan] * 3
    normals = np.array([[towards_camera, floor, unknown]], dtype=np.float32)
    colors = colorize_normals(normals)[0].tolist()
    # A wall facing the camera is bluish, a floor (its normal points up, against y) greenish.
    assert colors == [[128, 128, 255], [128, 255, 128], [0, 0, 0]]
