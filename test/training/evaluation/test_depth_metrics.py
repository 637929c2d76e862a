from __future__ import annotations

from dataclasses import asdict

import literal
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import arange, nn

from lotus2_ros.training.evaluation.depth_alignment import DepthRange, align_to_depth
from lotus2_ros.training.evaluation.depth_metrics import depth_errors
from lotus2_ros.training.evaluation.errors import EvaluationError

WIDE = DepthRange(1e-3, 1000.0)


def random_case(seed):
    """Depth with NaN, zeros and infinity outside the mask; disparity with zeros inside it."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.5, 20, (9, 11))
    valid = rng.uniform(size=depth.shape) > 0.3
    valid[0, :3] = True
    prediction = np.abs(0.7 / depth + rng.normal(0, 0.05, depth.shape))
    prediction[rng.uniform(size=depth.shape) > 0.9] = 0.0
    for value in (np.nan, 0.0, np.inf, -1.0):
        depth[~valid & (rng.uniform(size=depth.shape) > 0.6)] = value
    return prediction, depth, valid


@given(st.integers(0, 10_000))
def test_every_figure_agrees_with_the_formula_written_out(seed):
    _, depth, valid = random_case(seed)
    prediction = np.random.default_rng(seed + 1).uniform(0.5, 20, depth.shape)
    expected = literal.depth_figures(prediction, depth, valid)
    assert asdict(depth_errors(prediction, depth, valid)) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 10_000))
def test_alignment_agrees_with_the_line_fitted_by_hand(seed):
    prediction, depth, valid = random_case(seed)
    aligned = align_to_depth(prediction, depth, valid, DepthRange(0.5, 15.0))
    expected = literal.aligned_depth(prediction, depth, valid, 0.5, 15.0)
    np.testing.assert_allclose(aligned.depth, expected, rtol=1e-9)


@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(0.01, 5))
def test_error_is_zero_for_any_scale_and_shift_of_the_truth(seed, scale, shift):
    depth = np.random.default_rng(seed).uniform(1, 10, (6, 8))
    prediction = scale / depth + shift
    aligned = align_to_depth(prediction, depth, depth > 0, WIDE)
    errors = depth_errors(aligned.depth, depth, depth > 0)
    assert errors.abs_rel == pytest.approx(0, abs=1e-7)
    assert errors.silog == pytest.approx(0, abs=1e-4)
    assert errors.delta1 == errors.delta3 == 1


@given(st.integers(0, 1000))
def test_pixels_outside_the_mask_do_not_count(seed):
    prediction, depth, valid = random_case(seed)
    other = np.where(valid, depth, 3.0)
    changed = np.where(valid, prediction, 0.4)
    first, second = (
        depth_errors(align_to_depth(p, d, valid, WIDE).depth, d, valid)
        for p, d in ((prediction, depth), (changed, other))
    )
    assert first == second


def test_negative_disparity_is_as_far_as_the_range_goes():
    depth = np.array([[1.0, 2.0, 4.0, 8.0]])
    prediction = np.array([[1.0, 0.4, 0.3, 0.05]])
    valid = np.array([[True, True, True, False]])
    aligned = align_to_depth(prediction, depth, valid, DepthRange(0.1, 6.0))
    assert aligned.disparity[0, 3] < 0.1
    assert aligned.depth[0, 3] == 6.0


def test_aligned_disparity_ends_at_a_kilometre_where_the_range_is_open():
    depth = np.array([[1.0, 2.0, 4.0, 900.0]])
    prediction = np.array([[2.0, 1.0, 0.5, 0.0]])
    aligned = align_to_depth(prediction, depth, depth < 10, DepthRange(1e-5, np.inf))
    assert aligned.depth[0, 3] == pytest.approx(1000.0)


@pytest.mark.parametrize(('width', 'resolution'), [(6048, 1024), (37, 10), (20, 20), (12, 30)])
def test_columns_of_the_reduced_fit_are_those_of_the_protocols_resampling(width, resolution):
    height = 3
    depth = np.tile(np.arange(1.0, width + 1), (height, 1))
    factor = min(resolution / np.array([height, width]))
    columns = arange(width).float()[None, None].expand(1, height, width)
    kept = nn.Upsample(scale_factor=factor, mode='nearest')(columns) if factor < 1 else columns
    index = kept[0, 0].long().numpy()
    prediction = np.random.default_rng(0).uniform(0.1, 1, depth.shape)
    aligned = align_to_depth(prediction, depth, depth > 0, WIDE, fit_resolution=resolution)
    thinned = np.zeros(depth.shape, bool)
    thinned[:, index] = True
    expected = align_to_depth(prediction, depth, thinned, WIDE)
    assert (aligned.scale, aligned.shift) == (expected.scale, expected.shift)
    assert kept.shape[1] == height


def test_a_prediction_that_is_not_finite_is_refused():
    prediction = np.array([[0.5, np.nan]])
    with pytest.raises(EvaluationError, match='1 pixels of the prediction are not finite'):
        align_to_depth(prediction, np.ones((1, 2)), np.ones((1, 2), bool), WIDE)
    with pytest.raises(EvaluationError, match='not positive and finite'):
        depth_errors(np.zeros((1, 2)), np.ones((1, 2)), np.ones((1, 2), bool))


def test_no_valid_pixel_is_refused():
    nothing = np.zeros((2, 2), bool)
    with pytest.raises(EvaluationError, match='no valid pixel'):
        align_to_depth(np.ones((2, 2)), np.ones((2, 2)), nothing, WIDE)
    with pytest.raises(EvaluationError, match='no pixel'):
        depth_errors(np.ones((2, 2)), np.ones((2, 2)), nothing)


def test_sizes_must_agree():
    with pytest.raises(EvaluationError, match='differ in size'):
        align_to_depth(np.ones((2, 3)), np.ones((3, 2)), np.ones((3, 2), bool), WIDE)
