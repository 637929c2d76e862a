from __future__ import annotations

import cv2
import numpy as np
import pytest
from ray_scene import CAMERA, abs_rel, predicted, room, yard

from lotus2_ros.geometry.scale.depth_source import DepthNoise, depth_samples, depth_scale
from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate

NOISE = DepthNoise(relative=0.02)


def measured(depth, rng, *, holes=0.5, noise=0.02, outliers=0.2):
    """What a depth camera makes of it: patches of holes, noise, gross errors."""
    result = depth * rng.normal(1.0, noise, depth.shape)
    wrong = rng.random(depth.shape) < outliers
    result[wrong] = rng.uniform(0.3, 15.0, wrong.sum())
    patches = cv2.resize(rng.random((12, 16)), depth.shape[::-1], interpolation=cv2.INTER_CUBIC)
    missing = patches < np.quantile(patches, holes)
    result[missing] = rng.choice([0.0, np.nan], missing.sum())
    result[~np.isfinite(depth)] = np.nan
    return result.astype(np.float32)


def scaled(disparity, depth, **options):
    return depth_scale(disparity, depth_samples(depth, disparity.shape, **options))


def error(make, seed, **kinds):
    rng = np.random.default_rng(seed)
    depth = make(rng).depth()
    disparity = predicted(depth, rng)
    estimate = scaled(disparity, measured(depth, rng, **kinds), noise=NOISE, seed=seed)
    assert isinstance(estimate, ScaleEstimate), (seed, estimate)
    assert estimate.source == 'depth'
    return abs_rel(disparity, estimate.a, estimate.b, depth, 10.0)


@pytest.mark.parametrize('make', [room, yard])
@pytest.mark.parametrize(
    ('kinds', 'target'),
    [({}, 0.015), ({'outliers': 0.4}, 0.03), ({'holes': 0.8, 'outliers': 0.1}, 0.015)],
    ids=['half holes', '40% outliers', '80% holes'],
)
def test_a_holey_noisy_depth_image_reaches_its_target(make, kinds, target):
    errors = [error(make, seed, **kinds) for seed in range(30)]
    assert np.mean(errors) < target
    assert np.percentile(errors, 90) < target


@pytest.mark.parametrize('size', [(160, 120), (321, 240), (640, 480), (213, 160)])
def test_another_size_of_the_same_view_gives_the_same_scale(size):
    rng = np.random.default_rng(1)
    depth = room(rng).depth()
    disparity = predicted(depth, rng)
    other = (1.0 / cv2.resize(1.0 / depth, size, interpolation=cv2.INTER_LINEAR)).astype(np.float32)
    estimate = scaled(disparity, other)
    assert isinstance(estimate, ScaleEstimate)
    assert abs_rel(disparity, estimate.a, estimate.b, depth) < 0.005


def test_misplaced_edges_do_not_count():
    """A registration that is off by two pixels leaves the scale alone."""
    rng = np.random.default_rng(2)
    depth = room(rng).depth()
    disparity = predicted(depth, rng)
    estimate = scaled(disparity, np.roll(depth, 2, axis=1).astype(np.float32))
    assert isinstance(estimate, ScaleEstimate)
    assert abs_rel(disparity, estimate.a, estimate.b, depth) < 0.01


def test_noise_of_a_stereo_camera_grows_with_the_square_of_the_depth():
    noise = DepthNoise(relative=0.0, quadratic=0.01, smallest=0.0)
    z = np.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(noise.of_inverse(1.0 / z) * z**2, 0.01 * z**2)


def test_ranges_limit_what_is_used():
    rng = np.random.default_rng(3)
    depth = room(rng).depth().astype(np.float32)
    disparity = predicted(depth, rng)
    spoilt = np.where(depth > 3.0, depth * 5.0, depth)
    limited = scaled(disparity, spoilt, max_range=3.0)
    assert isinstance(limited, ScaleEstimate)
    assert limited.inlier_share > 0.95
    assert abs_rel(disparity, limited.a, limited.b, depth) < 0.02


GOOD = room(np.random.default_rng(5)).depth().astype(np.float32)
DISPARITY = predicted(GOOD, np.random.default_rng(5))


@pytest.mark.parametrize(
    ('depth', 'reason'),
    [
        (np.zeros((0, 0), np.float32), 'empty depth image'),
        (np.zeros((5, 0), np.float32), 'empty depth image'),
        (np.zeros(CAMERA.height, np.float32), 'empty depth image'),
        (np.zeros_like(GOOD), 'no valid depth'),
        (np.full_like(GOOD, np.nan), 'no valid depth'),
        (np.full_like(GOOD, np.inf), 'no valid depth'),
        (-GOOD, 'no valid depth'),
        (GOOD[:, :200], 'depth image of another shape'),
        (np.full_like(GOOD, 2.0), 'too little relief'),
        (GOOD.max() + 1.0 - GOOD, 'negative scale'),
        (np.where(np.arange(GOOD.size).reshape(GOOD.shape) == 9000, GOOD, 0), 'too few samples'),
    ],
)
def test_a_bad_depth_image_ends_in_its_reason(depth, reason):
    result = scaled(DISPARITY, depth)
    assert isinstance(result, NoScale)
    if reason == 'too few samples':  # the one pixel may not even be on the grid
        assert result.reason in (reason, 'no valid depth')
    elif reason == 'too little relief':  # a flat wall over a room that is not
        assert result.reason in (reason, 'negative scale', 'references contradict prediction')
    else:
        assert result.reason == reason


@pytest.mark.parametrize('value', [np.nan, 0.0, 0.5])
def test_a_prediction_without_content_gives_no_scale(value):
    result = scaled(np.full_like(DISPARITY, value), GOOD)
    assert isinstance(result, NoScale)
    assert result.reason in ('no prediction', 'too few samples', 'too little relief')


def test_the_same_images_give_the_same_estimate():
    noisy = measured(GOOD, np.random.default_rng(0))
    one, other = (scaled(DISPARITY, noisy, seed=4) for _ in range(2))
    assert isinstance(one, ScaleEstimate)
    assert (one.a, one.b) == (other.a, other.b)
