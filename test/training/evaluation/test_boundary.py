from __future__ import annotations

import literal
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus2_ros.training.evaluation.boundary import boundary_score
from lotus2_ros.training.evaluation.errors import EvaluationError


@given(st.integers(0, 10_000), st.booleans())
def test_score_agrees_with_counting_pixel_by_pixel(seed, holes):
    rng = np.random.default_rng(seed)
    depth = np.exp(rng.normal(0, 0.15, (7, 8)))
    prediction = depth * np.exp(rng.normal(0, 0.05, depth.shape))
    known = rng.uniform(size=depth.shape) > 0.2 if holes else np.ones(depth.shape, bool)
    depth[~known] = np.nan
    score = boundary_score(prediction, depth, known)
    expected = literal.boundary_figures(prediction, depth, known)
    assert (score.precision, score.recall, score.f1) == pytest.approx(expected, abs=1e-9)


def step(position, width=20):
    return np.where(np.arange(width) < position, 1.0, 2.0)[None].repeat(6, 0)


def test_an_edge_at_its_place_is_perfect_and_one_pixel_off_is_nothing():
    # A vertical edge is one of four directions: three quarters have nothing to find.
    assert boundary_score(step(10), step(10)).f1 == pytest.approx(0.25)
    assert boundary_score(step(11), step(10)).f1 == 0


@given(st.floats(0.01, 100))
def test_scale_does_not_matter(scale):
    depth = np.exp(np.random.default_rng(0).normal(0, 0.2, (8, 8)))
    other = depth * np.exp(np.random.default_rng(1).normal(0, 0.05, (8, 8)))
    assert boundary_score(scale * other, depth).f1 == pytest.approx(
        boundary_score(other, depth).f1, abs=1e-9
    )


def test_blur_costs_recall():
    truth, row = step(10), step(10)[0]
    blurred = np.convolve(np.pad(row, 4, mode='edge'), np.ones(9) / 9, mode='valid')
    assert boundary_score(blurred[None].repeat(6, 0), truth).f1 < boundary_score(truth, truth).f1


def test_the_outline_against_the_sky_is_an_edge():
    depth = np.where(step(10) > 1, np.inf, 3.0)
    assert boundary_score(depth, depth).recall == pytest.approx(0.25)


def test_nan_where_it_counts_is_refused():
    with pytest.raises(EvaluationError, match='NaN'):
        boundary_score(np.full((3, 3), np.nan), np.ones((3, 3)))
