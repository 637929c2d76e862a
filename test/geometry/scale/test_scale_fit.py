"""Scale and shift from references, most of them right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus2_ros.geometry.scale.estimate import NoScale, References, ScaleEstimate
from lotus2_ros.geometry.scale.fit import FEWEST, fit_scale


def scene(seed, count=3000, *, noise=0.02, outliers=0.2):
    """A disparity under a random affine map, and references with noise and gross errors."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(0.5, 12.0, count)
    a, b = np.exp(rng.uniform(-2, 2)), rng.uniform(0.0, 0.1)
    disparity = (1 / z - b) / a
    measured = z * (1 + noise * rng.standard_normal(count))
    wrong = rng.random(count) < outliers
    measured[wrong] = rng.uniform(0.3, 15.0, wrong.sum())
    inverse = 1 / measured
    return a, b, z, References(disparity, inverse, 0.02 * inverse)


@pytest.mark.parametrize(('outliers', 'limit'), [(0.0, 0.005), (0.2, 0.015), (0.4, 0.03)])
def test_depth_is_right_whatever_share_of_references_is_wrong(outliers, limit):
    for seed in range(100):
        a, b, z, references = scene(seed, outliers=outliers)
        result = fit_scale(references, source='depth', seed=seed)
        assert isinstance(result, ScaleEstimate)
        inverse = result.a * references.disparity + result.b
        assert np.mean(np.abs(1 / inverse - z) / z) < limit
        assert result.a == pytest.approx(a, rel=0.05)
        assert abs(result.b - b) < 0.01
        assert result.inlier_share > 0.9 * (1 - outliers)


def test_errors_are_of_the_size_that_the_covariance_says():
    scores = []
    for seed in range(200):
        a, b, _, references = scene(seed, 300, outliers=0.1)
        result = fit_scale(references, source='depth')
        error = np.array([np.log(result.a / a), result.b - b])
        scores.append(error @ np.linalg.solve(result.covariance, error))
    # The mean of a chi-square of two degrees of freedom is 2.
    assert 1.2 < np.mean(scores) < 3.5


@settings(deadline=None)
@given(
    a=st.floats(0.01, 100), b=st.floats(0.0, 1.0), scale=st.floats(0.01, 100),
    shift=st.floats(-10, 10), seed=st.integers(0, 1000),
)  # fmt: skip
def test_an_exact_affine_map_is_found_in_any_unit_of_disparity(a, b, scale, shift, seed):
    z = np.random.default_rng(seed).uniform(0.4, 20.0, 200)
    d = (1 / z - b) / a
    result = fit_scale(References(scale * d + shift, 1 / z, 0.01 / z), source='points')
    assert isinstance(result, ScaleEstimate)
    assert result.a == pytest.approx(a / scale, rel=1e-3)
    assert result.a * (scale * d + shift) + result.b == pytest.approx(1 / z, rel=1e-4, abs=1e-6)
    assert result.source == 'points'


def test_same_references_same_estimate():
    *_, references = scene(3, 9000)
    first, second = (fit_scale(references, source='depth', seed=5) for _ in range(2))
    assert (first.a, first.b, first.samples) == (second.a, second.b, 1000)


def bad(name):
    rng = np.random.default_rng(0)
    z = rng.uniform(1, 5, 200)
    d, r = 1 / z, 1 / z
    changes = {
        'empty': (np.zeros(0), np.zeros(0)),
        'nan': (d, np.full(200, np.nan)),
        'zero': (d, np.zeros(200)),
        'few': (d[: FEWEST - 1], r[: FEWEST - 1]),
        'flat prediction': (np.full(200, 0.3), r),
        'turned round': (-d, r),
        'unrelated': (rng.random(200), 1 / rng.uniform(0.1, 50, 200)),
    }
    d, r = changes[name]
    return References(d, r, 0.02 * np.abs(r) + 1e-6)


@pytest.mark.parametrize(
    ('name', 'reasons'),
    [
        ('empty', {'too few samples'}),
        ('nan', {'too few samples'}),
        ('zero', {'too few samples'}),
        ('few', {'too few samples'}),
        ('flat prediction', {'too little relief'}),
        ('turned round', {'negative scale'}),
        ('unrelated', {'negative scale', 'too little relief', 'references contradict prediction'}),
    ],
)
def test_what_cannot_be_fitted_has_a_named_reason(name, reasons):
    result = fit_scale(bad(name), source='depth')
    assert isinstance(result, NoScale)
    assert result.reason in reasons
