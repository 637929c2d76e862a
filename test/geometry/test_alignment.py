from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus2_ros.errors import ImageError
from lotus2_ros.geometry.alignment import align_disparity, fit_plane_disparity


@given(st.integers(0, 2**32 - 1), st.floats(-50.0, 50.0), st.floats(-50.0, 50.0))
def test_an_affine_change_is_found_exactly(seed: int, scale: float, shift: float):
    prediction = np.random.default_rng(seed).random((6, 7), dtype=np.float32)
    reference = prediction.astype(np.float64) * scale + shift
    a, b = align_disparity(prediction, reference)
    assert a == pytest.approx(scale, abs=1e-6)
    assert b == pytest.approx(shift, abs=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_the_fit_is_numpys_least_squares_over_the_mask(seed: int):
    rng = np.random.default_rng(seed)
    prediction, reference = rng.random((2, 8, 9), dtype=np.float32)
    mask = rng.random((8, 9)) < 0.7
    prediction[~mask] = np.nan
    expected = np.polyfit(prediction[mask].astype(float), reference[mask].astype(float), 1)
    np.testing.assert_allclose(align_disparity(prediction, reference, mask), expected, atol=1e-9)


def test_a_constant_prediction_is_aligned_to_the_mean():
    reference = np.array([[1.0, 3.0]], dtype=np.float32)
    assert align_disparity(np.full((1, 2), 0.3, dtype=np.float32), reference) == (0.0, 2.0)


@given(st.integers(0, 2**32 - 1))
def test_a_plane_is_recovered_from_part_of_it(seed: int):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:12, :17]
    a, b, c = rng.normal(size=3)
    plane = (a * rows + b * columns + c).astype(np.float32)
    mask = rng.random(plane.shape) < 0.5
    mask[[0, 0, -1], [0, -1, 0]] = True
    noisy = np.where(mask, plane, np.nan).astype(np.float32)
    np.testing.assert_allclose(fit_plane_disparity(noisy, mask), plane, atol=1e-4)


def test_nothing_to_align_with_is_an_error():
    image = np.zeros((2, 2), dtype=np.float32)
    with pytest.raises(ImageError, match='no valid pixel'):
        align_disparity(image, image, np.zeros((2, 2), dtype=bool))
    with pytest.raises(ImageError, match='not finite'):
        fit_plane_disparity(np.full((2, 2), np.nan, dtype=np.float32))
