"""The scale's state over time: locks on what is true, lets go of what is not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus2_ros.geometry.scale.estimate import NoScale, References, ScaleEstimate
from lotus2_ros.geometry.scale.filter import FilterNoise
from lotus2_ros.geometry.scale.fit import fit_scale
from lotus2_ros.geometry.scale.tracker import LOCK_FRAMES, ScaleState, ScaleTracker
from lotus2_ros.geometry.scale.transition import UNCHANGED, NoTransition, Transition

UNSCALED, LOCKING, LOCKED = ScaleState.UNSCALED, ScaleState.LOCKING, ScaleState.LOCKED
COASTING, LOST = ScaleState.COASTING, ScaleState.LOST


def estimate(a=1.0, b=0.1, sigma=0.01, share=0.8):
    return ScaleEstimate(a, b, np.diag([sigma**2, (sigma * a) ** 2]), share, 500, 0.01, 'depth')


def locked(hold_s=2.0, a=1.0):
    """A tracker that has just locked at time 0.4."""
    tracker = ScaleTracker(hold_s)
    for i in range(5):
        report = tracker.update(0.1 * i, estimate(a))
    assert report.state is LOCKED
    return tracker


def world(rng, samples=150):
    """One frame of a fixed world: references with 2% noise and 20% gross outliers."""
    z = rng.uniform(0.5, 10.0, samples)
    measured = z * rng.normal(1.0, 0.02, samples)
    wrong = rng.random(samples) < 0.2
    measured[wrong] = rng.uniform(0.3, 15.0, wrong.sum())
    return z, 1.0 / measured


def fitted(rng, a, b, seed):
    z, measured = world(rng)
    return fit_scale(
        References((1.0 / z - b) / a, measured, 0.02 * measured), source='depth', seed=seed
    )


def test_the_states_from_nothing_to_lost_and_back():
    tracker = ScaleTracker(hold_s=2.0)
    report = tracker.update(0.0)
    assert (report.state, report.reason) == (UNSCALED, 'no reference has come yet')
    assert math.isnan(report.a)
    assert not report.is_metric
    report = tracker.update(0.1, estimate())
    assert (report.state, report.reason) == (LOCKING, '1 of 3 estimates agree')
    assert math.isnan(report.a)
    tracker.update(0.2, estimate())
    report = tracker.update(0.3, estimate())
    assert (report.state, report.reason, report.source) == (LOCKED, '', 'depth')
    assert report.a == pytest.approx(1.0)
    assert (report.inlier_share, report.age_s) == (0.8, 0.0)
    assert report.is_metric
    assert tracker.update(0.6).state is LOCKED  # references may be slower than images
    report = tracker.update(1.0)
    assert (report.state, report.reason) == (COASTING, 'no fresh reference')
    assert report.is_metric
    assert report.age_s == pytest.approx(0.7)
    report = tracker.update(2.31)
    assert (report.state, report.reason) == (LOST, 'no fresh reference')
    assert math.isnan(report.a)
    for i in range(LOCK_FRAMES):
        report = tracker.update(2.4 + 0.1 * i, estimate(2.0))
        assert report.state is (LOCKING if i < LOCK_FRAMES - 1 else LOCKED)
    assert report.a == pytest.approx(2.0)


@pytest.mark.parametrize('hold_s', [0.3, 1.0, 5.0])
def test_a_scale_is_held_for_as_long_as_asked_and_no_longer(hold_s):
    tracker = locked(hold_s)
    assert tracker.update(0.4 + 0.99 * hold_s).is_metric
    assert tracker.update(0.4 + 1.01 * hold_s).state is LOST


@pytest.mark.parametrize('seed', range(10))
@pytest.mark.parametrize('change', [1.5, 0.6, 3.0])
def test_after_a_step_of_the_scale_it_is_locked_again_within_three_frames(seed, change):
    rng = np.random.default_rng(seed)
    tracker, a, b = ScaleTracker(), 0.8, 0.05
    for i in range(60):
        report = tracker.update(i / 30, fitted(rng, a, b, i))
    assert report.state is LOCKED
    a *= change
    for i in range(60, 63):
        assert report.is_metric == (i == 60), 'metres of a scale that is no more'
        report = tracker.update(i / 30, fitted(rng, a, b, i))
    assert report.state is LOCKED
    assert report.a == pytest.approx(a, rel=0.05)
    assert tracker.relocks == 1


def test_no_false_relock_and_no_loss_in_10_000_steady_frames():
    rng = np.random.default_rng(0)
    tracker, a, b = ScaleTracker(), 0.8, 0.05
    rejected, logs = 0, []
    for i in range(10_000):
        report = tracker.update(i / 30, fitted(rng, a, b, i))
        if i >= LOCK_FRAMES:
            rejected += report.state is not LOCKED
            logs.append(math.log(report.a / a))
    assert tracker.relocks == 0
    assert rejected < 20
    assert np.nanmax(np.abs(logs)) < 0.05
    assert np.nanstd(np.reshape(logs[-9990:], (-1, 30)), axis=1).mean() < 0.005


@pytest.mark.parametrize('seed', range(5))
def test_the_scale_stays_true_while_the_network_normalises_every_frame_anew(seed):
    """With the transition of the prediction, an arbitrary affine per frame is no step change."""
    rng = np.random.default_rng(seed)
    tracker, a, b = ScaleTracker(), 0.8, 0.05
    for i in range(200):
        s, t = np.exp(rng.normal(0, 0.3)), rng.normal(0, 0.2)
        a, b = a / s, b - a / s * t
        no_reference = 100 <= i < 130
        result = None if no_reference else fitted(rng, a, b, i)
        report = tracker.update(i / 30, result, Transition(s, t, np.diag([1e-6, 1e-6])))
        if i >= 10:
            assert report.is_metric
            assert report.a == pytest.approx(a, rel=0.04)
    assert tracker.relocks == 0


def test_one_wild_estimate_silences_the_scale_but_neither_moves_nor_ends_it():
    tracker = locked()
    report = tracker.update(0.5, estimate(3.0))
    assert (report.state, report.reason) == (LOCKING, 'estimate far off')
    assert math.isnan(report.a)
    assert tracker.update(0.55).state is LOCKING  # nobody has told yet which is right
    report = tracker.update(0.6, estimate())
    assert (report.state, report.reason) == (LOCKED, '')
    assert report.a == pytest.approx(1.0)
    assert tracker.relocks == 0


def test_estimates_that_contradict_each_other_end_in_lost():
    tracker = locked(hold_s=1.0)
    for i in range(5, 20):
        report = tracker.update(0.1 * i, estimate(2.0 if i % 2 else 0.5))
    assert report.state in (LOST, LOCKING)
    assert math.isnan(report.a)


@pytest.mark.parametrize(
    ('result', 'reason'),
    [
        (replace(estimate(), a=-1.0), 'bad estimate'),
        (replace(estimate(), a=math.nan), 'bad estimate'),
        (replace(estimate(), b=math.inf), 'bad estimate'),
        (replace(estimate(), covariance=np.full((2, 2), np.nan)), 'bad estimate'),
        (estimate(share=0.2), 'too few inliers'),
        (NoScale('negative scale'), 'negative scale'),
        (NoScale('too little relief'), 'too little relief'),
        (NoScale('another clock'), 'another clock'),
    ],
)
def test_a_bad_reference_is_held_against_named_and_recovered_from(result, reason):
    tracker = locked(hold_s=1.0)
    report = tracker.update(1.2, result)
    assert (report.state, report.reason) == (COASTING, reason)
    report = tracker.update(1.5, result)
    assert (report.state, report.reason) == (LOST, reason)
    for i in range(LOCK_FRAMES):
        report = tracker.update(1.6 + 0.1 * i, estimate())
    assert (report.state, report.reason) == (LOCKED, '')


def test_from_the_start_a_bad_reference_leaves_it_unscaled_and_named():
    report = ScaleTracker().update(0.0, NoScale('no valid depth'))
    assert (report.state, report.reason) == (UNSCALED, 'no valid depth')


def test_time_that_goes_backwards_forgets_everything():
    tracker = locked()
    report = tracker.update(0.1)
    assert (report.state, report.reason) == (UNSCALED, 'time went backwards')
    for i in range(LOCK_FRAMES):
        report = tracker.update(0.2 + 0.1 * i, estimate(4.0))
    assert report.a == pytest.approx(4.0)


def test_a_reset_says_why():
    tracker = locked()
    tracker.reset('the camera changed')
    report = tracker.update(9.0)
    assert (report.state, report.reason) == (UNSCALED, 'the camera changed')


def test_another_picture_has_no_scale_until_a_reference_gives_it_one():
    tracker = locked()
    report = tracker.update(0.5, None, NoTransition('picture changed'))
    assert (report.state, report.reason) == (LOCKING, 'picture changed')
    assert math.isnan(report.a)
    assert tracker.update(0.6, None, UNCHANGED).state is LOCKING
    # Its normalisation may be anything: the first estimate counts at once.
    report = tracker.update(0.7, estimate(5.0), UNCHANGED)
    assert report.state is LOCKED
    assert report.a == pytest.approx(5.0, rel=0.05)


def test_another_picture_with_its_own_reference_stays_locked():
    tracker = locked()
    for i in range(5):
        a = 2.0 + i
        report = tracker.update(0.5 + 0.1 * i, estimate(a), NoTransition('picture changed'))
        assert report.state is LOCKED
        assert report.a == pytest.approx(a, rel=0.02)


def test_noise_of_the_filter_decides_how_quickly_a_drift_is_followed():
    def lag(process):
        tracker = ScaleTracker(noise=FilterNoise(process=process))
        for i in range(40):
            report = tracker.update(0.1 * i, estimate(math.exp(0.004 * i)))
        return 0.004 * 39 - math.log(report.a)

    assert lag(0.2) < 0.5 * lag(0.02)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(-1.0, 3.0),
            st.sampled_from(
                [None, NoScale('x'), estimate(), estimate(2.0), estimate(-1.0), estimate(math.nan)]
            ),
            st.sampled_from([None, UNCHANGED, NoTransition('cut')]),
        ),
        max_size=40,
    )
)
def test_whatever_comes_there_are_numbers_exactly_when_there_are_metres(events):
    tracker, now = ScaleTracker(hold_s=2.0), 0.0
    for step, result, transition in events:
        now += step
        report = tracker.update(now, result, transition)
        assert report.is_metric == (report.state in (LOCKED, COASTING))
        numbers = [report.a, report.b, report.sigma_log_a, report.sigma_b]
        assert np.isfinite(numbers).all() == report.is_metric
        assert not report.is_metric or (report.a > 0 and report.age_s <= 2.0)
        assert bool(report.reason) == (report.state is not LOCKED)
