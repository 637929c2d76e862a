from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus2_ros.geometry.scale.estimate import ScaleEstimate
from lotus2_ros.geometry.scale.filter import FilterNoise, ScaleFilter, is_sound
from lotus2_ros.geometry.scale.transition import UNCHANGED, Transition

NOTHING = np.zeros((2, 2))
gains, shifts = st.floats(0.2, 5.0), st.floats(-1.0, 1.0)


def estimate(a=1.0, b=0.1, sigma=0.02):
    return ScaleEstimate(a, b, np.diag([sigma**2, (sigma * a) ** 2]), 0.8, 500, 0.01, 'depth')


@given(gains, shifts, st.floats(0.01, 100.0), shifts, shifts)
def test_a_carried_scale_gives_the_same_depth_of_the_same_pixel(scale, shift, a, b, d):
    carried_a, carried_b, _ = Transition(scale, shift, NOTHING).carry(a, b, NOTHING)
    before, after = a * d + b, carried_a * (scale * d + shift) + carried_b
    assert after == pytest.approx(before, rel=1e-9, abs=1e-9 * a)


@given(gains, shifts, gains, shifts, shifts)
def test_two_in_a_row_are_one(scale, shift, later_scale, later_shift, d):
    one, other = Transition(scale, shift, NOTHING), Transition(later_scale, later_shift, NOTHING)
    both = one.then(other)
    expected = later_scale * (scale * d + shift) + later_shift
    assert both.scale * d + both.shift == pytest.approx(expected, abs=1e-9)


def test_covariances_are_those_of_a_sample():
    """Carrying and chaining agree with drawing from the covariances."""
    rng = np.random.default_rng(0)
    first = Transition(1.3, -0.2, np.array([[4e-4, 1e-4], [1e-4, 3e-4]]))
    later = Transition(0.8, 0.1, np.array([[2e-4, -1e-4], [-1e-4, 5e-4]]))
    state = np.array([[5e-4, 2e-4], [2e-4, 6e-4]])
    n = 100_000

    def draw(transition):
        errors = rng.multivariate_normal([0, 0], transition.covariance, n)
        return transition.scale * np.exp(errors[:, 0]), transition.shift + errors[:, 1]

    (s1, t1), (s2, t2) = draw(first), draw(later)
    joint = np.cov(np.log(s1 * s2), s2 * t1 + t2)
    np.testing.assert_allclose(first.then(later).covariance, joint, atol=2e-5)
    errors = rng.multivariate_normal([0, 0], state, n)
    a, b = 2.0 * np.exp(errors[:, 0]), 0.3 + errors[:, 1]
    expected = np.cov(np.log(a / s1), b - a / s1 * t1)
    np.testing.assert_allclose(first.carry(2.0, 0.3, state)[2], expected, rtol=0.1, atol=2e-5)


@settings(max_examples=50)
@given(st.lists(st.tuples(gains, shifts), min_size=5, max_size=20))
def test_a_filter_follows_the_network_while_no_reference_comes(steps):
    """The network's normalisation moves at will; the depth of a wall does not."""
    scale = ScaleFilter(estimate(2.0, 0.1), FilterNoise())
    d, depth = 0.4, 1 / (2.0 * 0.4 + 0.1)
    for s, t in steps:
        scale.predict(0.1, Transition(s, t, NOTHING))
        d = s * d + t
        assert 1 / (scale.a * d + scale.b) == pytest.approx(depth, rel=1e-6)


def test_noise_of_the_source_is_filtered_out():
    """A still camera: log a jitters by no more than half a per cent from estimates with 2%."""
    rng = np.random.default_rng(1)
    scale = ScaleFilter(estimate(), FilterNoise(process=0.005))
    course = []
    for _ in range(400):
        scale.predict(1 / 30, UNCHANGED)
        noisy = estimate(np.exp(rng.normal(0, 0.02)), 0.1 + rng.normal(0, 0.02))
        scale.correct(noisy)
        course.append(np.log(scale.a))
    windows = np.array(course[100:]).reshape(-1, 30)
    assert windows.std(axis=1).max() < 0.005


def test_more_process_noise_follows_a_drift_sooner():
    def lag(process):
        scale = ScaleFilter(estimate(), FilterNoise(process=process))
        for i in range(60):
            scale.predict(0.1)
            scale.correct(estimate(np.exp(0.002 * i), 0.1))
        return 0.002 * 59 - np.log(scale.a)

    assert lag(0.1) < 0.5 * lag(0.01)


def test_while_the_picture_moves_a_drift_is_followed_sooner():
    """Another view has another best scale, and how soon it comes depends on the way."""

    def lag(moved, seconds):
        scale = ScaleFilter(estimate(), FilterNoise())
        for i in range(60):
            scale.predict(seconds, replace(UNCHANGED, moved=moved))
            scale.correct(estimate(np.exp(0.004 * i), 0.1))
        return 0.004 * 59 - np.log(scale.a)

    assert lag(0.02, 0.1) < 0.5 * lag(0.0, 0.1)
    assert lag(0.02, 0.1) == pytest.approx(lag(0.02, 0.05), rel=0.1)


def test_ways_add_up():
    one, other = (Transition(1.1, 0.1, NOTHING, moved) for moved in (0.02, 0.03))
    assert one.then(other).moved == pytest.approx(0.05)


def test_the_gate_lets_honest_estimates_in_and_wrong_ones_out():
    rng = np.random.default_rng(2)
    scale = ScaleFilter(estimate(sigma=1e-3), FilterNoise(estimate=0.02))
    honest = [
        estimate(np.exp(rng.normal(0, 0.02)), 0.1 + rng.normal(0, 0.02), sigma=1e-3)
        for _ in range(2000)
    ]
    assert np.mean([scale.accepts(one) for one in honest]) > 0.998
    assert not scale.accepts(estimate(1.3))
    assert not scale.accepts(estimate(1.0, 0.4))


@given(st.floats(0.1, 10), shifts, st.floats(0.001, 1), st.floats(0.001, 1))
def test_correcting_stays_between_state_and_estimate_and_grows_certain(a, b, sigma, other):
    scale = ScaleFilter(estimate(1.0, 0.0, sigma), FilterNoise())
    before = scale.sigma_log_a
    scale.correct(estimate(a, b, other))
    low, high = sorted([0.0, np.log(a)])
    assert low - 1e-9 <= np.log(scale.a) <= high + 1e-9
    assert scale.sigma_log_a < before
    assert np.linalg.eigvalsh(scale.covariance)[0] > 0


@pytest.mark.parametrize(
    'bad',
    [
        estimate(a=-1.0), estimate(a=0.0), estimate(a=np.nan), estimate(b=np.inf),
        ScaleEstimate(1.0, 0.1, np.array([[1.0, 2.0], [2.0, 1.0]]), 0.8, 9, 0.1, 'depth'),
        ScaleEstimate(1.0, 0.1, np.full((2, 2), np.nan), 0.8, 9, 0.1, 'depth'),
        ScaleEstimate(1.0, 0.1, np.eye(3), 0.8, 9, 0.1, 'depth'),
    ],
)  # fmt: skip
def test_an_estimate_that_is_none_is_told(bad):
    assert not is_sound(bad)
    assert is_sound(estimate())
