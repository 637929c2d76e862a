from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus2_ros.training.metrics import (
    aligned_depth_error,
    constant_depth_error,
    normal_angles,
    plane_depth_error,
)

LIMITS = {'nearest': 0.01, 'farthest': 1000.0}


@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-0.5, 5))
def test_error_is_zero_for_any_scale_and_shift_of_the_truth(seed, scale, shift):
    depth = np.random.default_rng(seed).uniform(1, 10, (6, 8))
    prediction = (1 / depth - shift) / scale
    error = aligned_depth_error(prediction, depth, depth > 0, **LIMITS)
    assert error.abs_rel == pytest.approx(0, abs=1e-7)
    assert error.delta1 == 1


@given(st.integers(0, 1000))
def test_error_agrees_with_the_direct_formula(seed):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 10, (6, 8))
    prediction = 1 / depth + rng.normal(0, 0.02, depth.shape)
    valid = rng.uniform(size=depth.shape) > 0.3
    x, y = prediction[valid], 1 / depth[valid]
    slope = np.cov(x, y, bias=True)[0, 1] / np.var(x)
    aligned = 1 / np.clip(slope * (x - x.mean()) + y.mean(), 1 / 1000, 1 / 0.01)
    error = aligned_depth_error(prediction, depth, valid, **LIMITS)
    truth = depth[valid]
    assert error.abs_rel == pytest.approx(np.mean(np.abs(aligned - truth) / truth), rel=1e-6)
    ratio = np.maximum(aligned / truth, truth / aligned)
    assert error.delta1 == pytest.approx(np.mean(ratio < 1.25))


def test_plane_explains_a_floor_and_constant_a_wall():
    rows = np.linspace(0.1, 1, 12)[:, None].repeat(16, 1)
    valid = np.ones_like(rows, bool)
    assert plane_depth_error(1 / rows, valid, **LIMITS).abs_rel < 1e-9
    assert constant_depth_error(np.full((4, 4), 3.0), np.ones((4, 4), bool), **LIMITS).delta1 == 1


def test_angle_between_normals():
    first = np.array([[[0, 0, -1.0], [0, -1.0, 0]]])
    second = np.array([[[0, 0, -1.0], [0, 0, -1.0]]])
    np.testing.assert_allclose(normal_angles(first, second, np.ones((1, 2), bool)), [0, 90])


def test_no_valid_pixel_is_refused():
    with pytest.raises(ValueError, match='two valid pixels'):
        aligned_depth_error(np.ones((2, 2)), np.ones((2, 2)), np.zeros((2, 2), bool), **LIMITS)
