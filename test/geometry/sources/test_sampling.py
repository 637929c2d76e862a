from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus2_ros.geometry.scale.sampling import (
    DisparitySamples,
    disparity_span,
    places_at,
    sample_disparity,
)


def plane(slope_x: float, slope_y: float, offset: float) -> np.ndarray:
    rows, columns = np.mgrid[:40, :60]
    return (slope_x * columns + slope_y * rows + offset).astype(np.float32)


def sampled(image: np.ndarray, pixels: np.ndarray, reach: float) -> DisparitySamples:
    return sample_disparity(image, places_at(pixels, image.shape, reach=reach))


slopes = st.floats(-0.1, 0.1).filter(lambda slope: abs(slope) > 1e-3)


@given(slopes, slopes, st.floats(-1.0, 1.0), st.floats(1.0, 9.0), st.integers(0, 2**32 - 1))
def test_a_plane_is_sampled_exactly_and_has_no_edges(slope_x, slope_y, offset, reach, seed):
    pixels = np.random.default_rng(seed).uniform([10.0, 10.0], [49.0, 29.0], (30, 2))
    samples = sampled(plane(slope_x, slope_y, offset), pixels, reach)
    assert samples.smooth.all()
    expected = pixels @ [slope_x, slope_y] + offset
    np.testing.assert_allclose(samples.value, expected, atol=1e-5)
    np.testing.assert_allclose(samples.gradient, np.tile([[slope_x], [slope_y]], 30), atol=1e-5)


def test_a_step_is_an_edge_as_far_as_the_reach():
    step = plane(0.0, 0.001, 0.0)
    step[:, 30:] += 1.0
    pixels = np.column_stack([np.arange(10.0, 50.0), np.full(40, 20.0)])
    rough = ~sampled(step, pixels, 4.0).smooth
    np.testing.assert_array_equal(pixels[rough, 0], np.arange(26.0, 34.0))


@pytest.mark.parametrize(
    'pixel', [(2.0, 20.0), (58.0, 20.0), (30.0, 1.0), (30.0, 38.5), (-5.0, 90.0)]
)
def test_there_is_nothing_smooth_at_the_border_and_beyond(pixel):
    samples = sampled(plane(0.01, 0.01, 0.0), np.array([pixel, (30.0, 20.0)]), 4.0)
    np.testing.assert_array_equal(samples.smooth, [False, True])
    assert not sampled(plane(0.01, 0.01, 0.0), np.array([pixel]), 4.0).smooth.any()


def test_holes_and_empty_images_are_not_smooth():
    holes = plane(0.01, 0.01, 0.0)
    holes[18:22, 28:32] = np.nan
    pixels = np.array([[30.0, 20.0], [27.6, 20.0], [45.0, 20.0]])
    np.testing.assert_array_equal(sampled(holes, pixels, 3.0).smooth, [False, False, True])
    nothing = np.full((40, 60), np.nan, dtype=np.float32)
    assert not sampled(nothing, pixels, 3.0).smooth.any()
    assert disparity_span(nothing) == 0.0
    assert np.isnan(sampled(np.zeros((1, 1), dtype=np.float32), pixels, 3.0).value).all()
