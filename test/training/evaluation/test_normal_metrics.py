from __future__ import annotations

import literal
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.training.evaluation.normal_metrics import (
    AnglePool,
    normal_angles,
    normal_errors,
)


def random_case(seed):
    """Vectors of any length, zero vectors inside the mask, NaN in the truth outside it."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(7, 9, 3))
    prediction = truth + rng.normal(0, 0.3, truth.shape)
    prediction[rng.uniform(size=(7, 9)) > 0.95] = 0.0
    valid = rng.uniform(size=(7, 9)) > 0.3
    valid[0, 0] = True
    truth[~valid & (rng.uniform(size=(7, 9)) > 0.5)] = np.nan
    return prediction, truth, valid


@given(st.integers(0, 10_000))
def test_every_figure_agrees_with_the_formula_written_out(seed):
    prediction, truth, valid = random_case(seed)
    named = normal_errors(normal_angles(prediction, truth, valid)).named()
    expected = literal.normal_figures(prediction, truth, valid)
    assert named == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_angles_of_known_vectors():
    first = np.array([[[0, 0, -1.0], [0, -2.0, 0], [0, 0, 0]]])
    second = np.array([[[0, 0, -1.0], [0, 0, -1.0], [0, 0, 1.0]]])
    angles = normal_angles(first, second, np.ones((1, 3), bool))
    np.testing.assert_allclose(angles, [0, 90, 90], atol=1e-6)


@given(st.integers(0, 1000))
def test_the_pool_averages_over_pixels_and_not_over_images(seed):
    rng = np.random.default_rng(seed)
    parts = [rng.uniform(0, 180, n) for n in (3, 50, 7)]
    pool = AnglePool()
    for part in parts:
        pool.add(part)
    together = normal_errors(np.concatenate(parts)).named()
    assert pool.errors().named() == pytest.approx(together, rel=1e-6)


def test_no_normal_is_refused():
    with pytest.raises(EvaluationError, match='has a normal'):
        AnglePool().errors()


def test_a_prediction_that_is_not_finite_is_refused():
    with pytest.raises(EvaluationError, match='not finite'):
        normal_angles(np.full((1, 1, 3), np.nan), np.ones((1, 1, 3)), np.ones((1, 1), bool))
