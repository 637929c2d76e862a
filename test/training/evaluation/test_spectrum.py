from __future__ import annotations

import literal
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.training.evaluation.spectrum import (
    BINS,
    SpectrumPool,
    compare_detail,
    radial_log_power,
    recovered_share,
    ring_frequencies,
)


def noise(seed, shape=(48, 64)):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize('shape', [(16, 17), (17, 16)])
def test_curve_agrees_with_the_transform_written_out(shape):
    disparity = noise(3, shape)
    expected = literal.mean_power_by_ring(disparity, BINS)
    curve = radial_log_power(disparity)
    for found, power in zip(curve, expected, strict=True):
        if power is None:
            assert np.isnan(found)
        else:
            assert 10**found == pytest.approx(power, rel=1e-9)


@pytest.mark.parametrize('frequency', [0.1, 0.25, 0.4])
def test_a_wave_has_its_power_at_its_frequency(frequency):
    x = np.arange(128)
    wave = np.sin(2 * np.pi * frequency * x)[None].repeat(96, 0)
    curve = radial_log_power(wave)
    assert abs(ring_frequencies()[np.nanargmax(curve)] - frequency) <= 0.5 / BINS


@given(st.integers(0, 100), st.floats(0.1, 10), st.floats(-5, 5))
@settings(max_examples=20)
def test_scale_is_a_constant_in_the_logarithm_and_shift_is_nothing(seed, scale, shift):
    values = noise(seed)
    difference = radial_log_power(scale * values + shift) - radial_log_power(values)
    np.testing.assert_allclose(difference[np.isfinite(difference)], 2 * np.log10(scale), atol=1e-6)


def test_white_noise_is_flat_at_its_variance_whatever_the_size():
    for shape in ((200, 300), (480, 640)):
        curve = radial_log_power(2 * noise(0, shape))
        np.testing.assert_allclose(curve[15:], np.log10(4), atol=0.1)


def test_detail_of_the_truth_itself_is_perfect():
    detail = compare_detail(noise(1), noise(1))
    assert detail.power_share == pytest.approx(1)
    assert detail.agreement == pytest.approx(1)


def test_noise_has_power_but_no_agreement():
    detail = compare_detail(noise(1, (240, 320)), noise(2, (240, 320)))
    assert detail.power_share == pytest.approx(1, abs=0.1)
    assert abs(detail.agreement) < 0.05


def test_blur_loses_power_and_keeps_agreement():
    truth = noise(1, (240, 320))
    blurred = (truth + np.roll(truth, 1, 0) + np.roll(truth, -1, 0)) / 3
    detail = compare_detail(blurred, truth)
    assert detail.power_share < 0.5
    assert detail.agreement > 0.3
    assert detail.log_gap == pytest.approx(np.log10(detail.power_share))


def test_half_of_the_missing_decades_is_half_recovered():
    truth, core = np.zeros(BINS), np.full(BINS, -2.0)
    assert recovered_share(core, core, truth) == 0
    assert recovered_share(core, core / 2, truth) == pytest.approx(0.5)
    assert recovered_share(core, truth, truth) == pytest.approx(1)
    assert np.isnan(recovered_share(truth, truth, truth))


def test_the_pool_leaves_out_empty_rings():
    pool = SpectrumPool()
    first, second = np.zeros(BINS), np.full(BINS, 2.0)
    first[3] = np.nan
    for curve in (first, second):
        pool.add(curve)
    assert pool.mean()[3] == 2
    assert pool.mean()[4] == 1
    with pytest.raises(EvaluationError, match='no spectrum'):
        SpectrumPool().mean()


def test_holes_and_tiny_images_are_refused():
    with pytest.raises(EvaluationError, match='finite'):
        radial_log_power(np.full((32, 32), np.inf))
    with pytest.raises(EvaluationError, match='too small'):
        radial_log_power(np.ones((8, 32)))
