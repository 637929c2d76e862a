from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from ray_scene import CAMERA, LIDAR_AXES, Scene, abs_rel, predicted, random_turn, room, yard
from scipy.optimize import minimize

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.lens import Lens
from lotus2_ros.geometry.rigid import from_rotation_vector, transform_points
from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.geometry.scale.lidar_points import LidarScan
from lotus2_ros.geometry.scale.lidar_samples import LidarNoise, lidar_samples
from lotus2_ros.geometry.scale.lidar_source import lidar_scale

LIDAR_TO_LEVEL = LIDAR_AXES.copy()
LIDAR_TO_LEVEL[:3, 3] = [0.05, -0.1, -0.1]
NOISE = LidarNoise(range_relative=0.02)


def scaled(disparity, scan, camera, **options):
    return lidar_scale(disparity, lidar_samples(scan, camera, **options))


def noisy(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """2% of every range, and another range altogether for 20% of the points."""
    points = points * rng.normal(1.0, 0.02, (len(points), 1))
    wrong = rng.random(len(points)) < 0.2
    ranges = np.linalg.norm(points[wrong], axis=1)
    points[wrong] *= (rng.uniform(0.3, 25.0, wrong.sum()) / ranges)[:, None]
    return points


def error_and_estimate(make, lines, seed):
    """AbsRel and estimate with noise, outliers, and a mounting wrong by 1 degree and 2 cm."""
    rng = np.random.default_rng(seed)
    scene = make(rng)
    depth = scene.depth()
    disparity = predicted(depth, rng)
    points = noisy(scene.scan(LIDAR_TO_LEVEL, lines), rng)
    to_camera = random_turn(rng, 1.0, 0.02) @ scene.level_to_camera @ LIDAR_TO_LEVEL
    estimate = scaled(disparity, LidarScan(points, to_camera), CAMERA, noise=NOISE)
    assert isinstance(estimate, ScaleEstimate), (seed, estimate)
    seen = np.isfinite(depth)
    true = np.polyfit(disparity[seen].astype(float), 1.0 / depth[seen], 1)
    off = np.array([math.log(estimate.a / true[0]), estimate.b - true[1]])
    surprise = float(off @ np.linalg.solve(estimate.covariance, off))
    return abs_rel(disparity, estimate.a, estimate.b, depth), surprise, estimate


@pytest.mark.parametrize('make', [room, yard])
@pytest.mark.parametrize(('lines', 'target'), [(64, 0.025), (16, 0.035)])
def test_a_lidar_mounted_a_degree_and_two_centimetres_off_reaches_its_target(make, lines, target):
    runs = [error_and_estimate(make, lines, seed) for seed in range(25)]
    errors = [run[0] for run in runs]
    assert np.mean(errors) < target
    assert np.percentile(errors, 80) < target
    # Two degrees of freedom: the median of an honest covariance is 1.4.
    assert np.median([run[1] for run in runs]) < 6.0
    assert all(run[2].source == 'points' for run in runs)


def bent(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As a network sees it that errs by 10%, in patches of a quarter of the image."""
    patches = cv2.resize(rng.normal(size=(4, 4)), depth.shape[::-1])
    near = np.linspace(0.0, 0.25, len(depth))[:, None]  # and what is near the robot is too far
    return depth * np.exp(0.1 * patches + near)


@pytest.mark.parametrize(('make', 'limit'), [(room, 1.15), (yard, 1.3)])
def test_errors_of_the_network_do_not_pass_for_an_error_of_the_mounting(make, limit):
    """Depth stays near the best that any scale and shift of this disparity gives."""
    found, best = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        scene = make(rng)
        depth = scene.depth()
        disparity = predicted(bent(depth, rng), rng)
        scan = LidarScan(scene.scan(LIDAR_TO_LEVEL, 64), scene.level_to_camera @ LIDAR_TO_LEVEL)
        estimate = scaled(disparity, scan, CAMERA)
        assert isinstance(estimate, ScaleEstimate), (seed, estimate)

        def error(x, disparity=disparity, depth=depth):
            return abs_rel(disparity[::4, ::4], math.exp(x[0]), x[1], depth[::4, ::4])

        start = np.array([math.log(estimate.a), estimate.b])
        found.append(abs_rel(disparity, estimate.a, estimate.b, depth))
        best.append(minimize(error, start, method='Nelder-Mead').fun)
    assert np.mean(best) > 0.03  # else there is nothing to be fooled by
    assert np.mean(found) < limit * np.mean(best)


def perfect(scene: Scene, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    depth = scene.depth()
    return depth, predicted(depth, rng), scene.level_to_camera @ LIDAR_TO_LEVEL


def test_without_noise_the_scale_is_exact():
    for seed in range(5):
        scene = room(np.random.default_rng(seed))
        depth, disparity, to_camera = perfect(scene, seed)
        estimate = scaled(disparity, LidarScan(scene.scan(LIDAR_TO_LEVEL, 64), to_camera), CAMERA)
        assert isinstance(estimate, ScaleEstimate)
        assert abs_rel(disparity, estimate.a, estimate.b, depth) < 0.005


def test_the_same_input_gives_the_same_estimate():
    scene = room(np.random.default_rng(3))
    _, disparity, to_camera = perfect(scene)
    scan = LidarScan(noisy(scene.scan(LIDAR_TO_LEVEL, 64), np.random.default_rng(0)), to_camera)
    one, other = (scaled(disparity, scan, CAMERA, seed=4) for _ in range(2))
    assert isinstance(one, ScaleEstimate)
    assert isinstance(other, ScaleEstimate)
    assert (one.a, one.b) == (other.a, other.b)


@pytest.mark.parametrize(
    'lens',
    [
        Lens('plumb_bob', (-0.28, 0.08, 1e-3, -5e-4, -0.01)),
        Lens('rational_polynomial', (0.4, 0.1, 1e-4, 2e-4, 0.01, 0.7, 0.2, 0.02)),
        Lens('equidistant', (0.02, -0.01, 0.003, -0.001)),
    ],
    ids=lambda lens: lens.model,
)
def test_points_land_where_a_distorted_image_shows_them(lens):
    scene = room(np.random.default_rng(1))
    depth = scene.depth(lens=lens)
    known = np.where(np.isfinite(depth), depth, np.nan)
    disparity = predicted(
        np.where(np.isfinite(known), known, np.nanmax(known)), np.random.default_rng(1)
    )
    scan = LidarScan(scene.scan(LIDAR_TO_LEVEL, 64), scene.level_to_camera @ LIDAR_TO_LEVEL)
    estimate = scaled(disparity, scan, CAMERA, lens=lens)
    assert isinstance(estimate, ScaleEstimate)
    assert abs_rel(disparity, estimate.a, estimate.b, depth) < 0.005
    ignored = scaled(disparity, scan, CAMERA)
    assert isinstance(ignored, ScaleEstimate)
    assert ignored.residual > 2.0 * estimate.residual


def test_the_motion_during_the_scan_is_undone():
    """A robot that turns by 20 degrees and drives 30 cm while its lidar turns once."""
    scene = room(np.random.default_rng(2))
    depth, disparity, end = perfect(scene)
    start = end @ from_rotation_vector(np.array([0.0, 0.0, -0.35]), np.array([-0.3, 0.05, 0.0]))
    still = scene.scan(LIDAR_TO_LEVEL, 64)
    fraction = np.random.default_rng(0).uniform(size=len(still))
    turn = np.array([0.0, 0.0, -0.35])
    moving = np.empty_like(still)
    for index, (point, part) in enumerate(zip(still, fraction, strict=True)):
        # The sensor's pose at this time, seen from its pose at the end of the scan.
        here = from_rotation_vector((1 - part) * turn, (1 - part) * np.array([-0.3, 0.05, 0.0]))
        moving[index] = here[:3, :3].T @ (point - here[:3, 3])
    compensated = scaled(disparity, LidarScan(moving, start, end, fraction), CAMERA)
    assert isinstance(compensated, ScaleEstimate)
    assert abs_rel(disparity, compensated.a, compensated.b, depth) < 0.003
    smeared = scaled(disparity, LidarScan(moving, end), CAMERA)
    assert isinstance(smeared, NoScale) or smeared.residual > 3.0 * compensated.residual


SCENE = room(np.random.default_rng(5))
DEPTH, DISPARITY, TO_CAMERA = perfect(SCENE)
POINTS = SCENE.scan(LIDAR_TO_LEVEL, 16)
SCAN = LidarScan(POINTS, TO_CAMERA)
BEHIND = TO_CAMERA @ from_rotation_vector(np.array([0.0, 0.0, np.pi]), np.zeros(3))


@pytest.mark.parametrize(
    ('scan', 'reason'),
    [
        (replace(SCAN, points=np.empty((0, 3))), 'empty cloud'),
        (replace(SCAN, points=np.full((500, 3), np.nan)), 'no valid points'),
        (replace(SCAN, points=np.full((500, 3), np.inf)), 'no valid points'),
        (replace(SCAN, points=np.zeros((500, 3))), 'no valid points'),
        (replace(SCAN, points=np.ones(500)), 'no valid points'),
        (replace(SCAN, to_camera=np.full((4, 4), np.nan)), 'bad transform'),
        (replace(SCAN, to_camera=np.zeros((4, 4))), 'bad transform'),
        (replace(SCAN, to_camera_end=np.zeros((4, 4))), 'bad transform'),
        (replace(SCAN, to_camera_end=TO_CAMERA), 'bad point times'),
        (
            replace(SCAN, to_camera_end=TO_CAMERA, fraction=np.full(len(POINTS), np.nan)),
            'bad point times',
        ),
        (replace(SCAN, to_camera_end=TO_CAMERA, fraction=np.zeros(3)), 'bad point times'),
        (replace(SCAN, to_camera=BEHIND), 'lidar out of view'),
        (replace(SCAN, points=POINTS[np.abs(POINTS[:, 1]) < 0.01][:10]), 'too few samples'),
    ],
)
def test_a_bad_scan_ends_in_its_reason(scan, reason):
    result = scaled(DISPARITY, scan, CAMERA)
    assert result == NoScale(reason)


@pytest.mark.parametrize('seed', range(3))
def test_a_cloud_with_nan_and_zero_points_among_good_ones_is_used(seed):
    rng = np.random.default_rng(seed)
    spoilt = POINTS.copy()
    chosen = rng.random(len(spoilt))
    spoilt[chosen < 0.2] = np.nan
    spoilt[chosen > 0.8] = 0.0
    estimate = scaled(DISPARITY, replace(SCAN, points=spoilt), CAMERA)
    assert isinstance(estimate, ScaleEstimate)
    assert abs_rel(DISPARITY, estimate.a, estimate.b, DEPTH) < 0.003


@pytest.mark.parametrize(
    'disparity',
    [np.full_like(DISPARITY, np.nan), np.zeros_like(DISPARITY), np.full_like(DISPARITY, 0.5)],
    ids=['NaN', 'zero', 'constant'],
)
def test_a_prediction_without_content_gives_no_scale(disparity):
    assert isinstance(scaled(disparity, SCAN, CAMERA), NoScale)


def test_a_prediction_that_is_depth_and_not_disparity_gives_no_scale():
    result = scaled((1.0 - DISPARITY).astype(np.float32), SCAN, CAMERA)
    assert isinstance(result, NoScale)


def test_a_camera_of_another_size_is_told():
    other = Intrinsics.from_hfov(60.0, 64, 48)
    assert scaled(DISPARITY, SCAN, other) == NoScale('camera of another size')


def test_a_scan_of_another_place_gives_no_scale_or_few_inliers():
    """Points of an unrelated room at a wrong pose do not pass for a good fit."""
    far = from_rotation_vector(np.array([0.0, 1.2, 0.0]), np.array([0.5, 0.0, 0.0]))
    result = scaled(DISPARITY, LidarScan(transform_points(far, POINTS), TO_CAMERA), CAMERA)
    assert isinstance(result, NoScale) or result.residual > 0.05 or result.inlier_share < 0.6
