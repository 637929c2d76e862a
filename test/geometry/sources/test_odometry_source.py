from __future__ import annotations

import math

import numpy as np
import pytest
from ray_scene import CAMERA, Scene, abs_rel, predicted, room, yard

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.lens import PINHOLE, Lens
from lotus2_ros.geometry.rigid import from_rotation_vector, inverse, transform_points
from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.geometry.scale.odometry_source import odometry_samples, odometry_scale
from lotus2_ros.geometry.tracking import Tracks, track_features


def tracks_of(scene, current_to_previous, rng, *, noise=0.3, wrong=0.2, lens=PINHOLE):
    """400 points as both cameras see them, each 0.3 px off, a fifth of them somewhere else."""
    pixels = rng.uniform([3, 3], [CAMERA.width - 4, CAMERA.height - 4], (400, 2))
    directions = np.column_stack([lens.normalise(pixels, CAMERA), np.ones(400)])
    to_level = inverse(scene.level_to_camera)
    depth = scene.cast(to_level[:3, 3], directions @ to_level[:3, :3].T)
    seen = np.isfinite(depth)
    points = transform_points(current_to_previous, directions[seen] * depth[seen, None])
    previous = lens.project(points, CAMERA)
    previous += noise * rng.normal(size=previous.shape)
    current = pixels[seen] + noise * rng.normal(size=previous.shape)
    lost = rng.random(len(previous)) < wrong
    previous[lost] += rng.uniform(-15.0, 15.0, (lost.sum(), 2))
    return Tracks(previous, current)


def scaled(disparity, tracks, motion, camera, **options):
    return odometry_scale(disparity, odometry_samples(tracks, motion, camera, **options))


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def run(make, seed, direction):
    """AbsRel within 5 m and surprise: 5 cm of motion, both halves of the pose 1% off."""
    rng = np.random.default_rng(seed)
    scene = make(rng)
    depth = scene.depth()
    inverse_depth = 1.0 / depth
    low, gain = rng.uniform(0.0, 0.25), rng.uniform(0.4, 0.75) / inverse_depth.max()
    noisy = inverse_depth * rng.normal(1.0, 0.02, inverse_depth.shape)
    shift = 0.05 * unit(rng.normal(size=3) if direction is None else np.array(direction))
    turn = unit(rng.normal(size=3)) * np.radians(rng.uniform(0.0, 2.0))
    tracks = tracks_of(scene, from_rotation_vector(turn, shift), rng)
    said = from_rotation_vector(
        turn + 0.01 * np.linalg.norm(turn) * unit(rng.normal(size=3)),
        shift + 0.01 * 0.05 * unit(rng.normal(size=3)),
    )
    estimate = scaled((low + gain * noisy).astype(np.float32), tracks, said, CAMERA)
    if isinstance(estimate, NoScale):
        return estimate
    off = np.array([math.log(estimate.a * gain), estimate.b + low / gain])
    error = abs_rel(low + gain * inverse_depth, estimate.a, estimate.b, depth, farthest=5.0)
    return error, float(off @ np.linalg.solve(estimate.covariance, off))


@pytest.mark.parametrize('make', [room, yard])
@pytest.mark.parametrize(
    'direction', [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0), None], ids=['sideways', 'forward', 'any']
)
def test_five_centimetres_of_motion_give_the_scale_to_its_target(make, direction):
    runs = [run(make, seed, direction) for seed in range(30)]
    scaled = [result for result in runs if not isinstance(result, NoScale)]
    # Forward, little moves in the middle of the image, and open ground is far: it may say so.
    assert len(scaled) >= (10 if direction == (0.0, 0.0, 1.0) else 26)
    for result in runs:
        if isinstance(result, NoScale):
            assert result.reason in {'motion too small', 'pure rotation'}
    assert np.mean([error for error, _ in scaled]) < 0.08
    # Two degrees of freedom: the median of an honest covariance is 1.4.
    assert np.median([surprise for _, surprise in scaled]) < 5.0


SCENE = room(np.random.default_rng(7))
DEPTH = SCENE.depth()
DISPARITY = predicted(DEPTH, np.random.default_rng(7))


def moved(degrees=(0.0, 0.0, 0.0), metres=(0.0, 0.0, 0.0)) -> np.ndarray:
    return from_rotation_vector(np.radians(np.array(degrees)), np.array(metres))


def test_without_noise_the_scale_is_exact():
    motion = moved((0.5, -1.0, 0.3), (0.08, 0.01, -0.03))
    tracks = tracks_of(SCENE, motion, np.random.default_rng(0), noise=0.0, wrong=0.0)
    estimate = scaled(DISPARITY, tracks, motion, CAMERA)
    assert isinstance(estimate, ScaleEstimate)
    assert estimate.source == 'odometry'
    assert abs_rel(DISPARITY, estimate.a, estimate.b, DEPTH) < 0.005


def test_a_distorted_image_serves_as_well():
    lens = Lens('plumb_bob', (-0.28, 0.08, 1e-3, -5e-4, -0.01))
    depth = SCENE.depth(lens=lens)
    disparity = predicted(depth, np.random.default_rng(7))
    motion = moved((0.5, -1.0, 0.3), (0.08, 0.01, -0.03))
    tracks = tracks_of(SCENE, motion, np.random.default_rng(0), noise=0.1, wrong=0.0, lens=lens)
    estimate = scaled(disparity, tracks, motion, CAMERA, lens=lens)
    assert isinstance(estimate, ScaleEstimate)
    assert abs_rel(disparity, estimate.a, estimate.b, depth, 5.0) < 0.02


@pytest.mark.parametrize('seed', range(10))
@pytest.mark.parametrize(
    ('motion', 'reason'),
    [
        (moved(), 'motion too small'),
        (moved(metres=(0.001, 0.0, 0.001)), 'motion too small'),
        (moved((0.0, 0.05, 0.0)), 'motion too small'),
        (moved((0.0, 4.0, 0.0)), 'pure rotation'),
        (moved((1.0, 2.0, 5.0), (0.001, 0.001, 0.0)), 'pure rotation'),
    ],
    ids=['still', 'a millimetre', 'a tremble', 'turning', 'turning and a millimetre'],
)
def test_motion_that_shows_no_depth_is_told(seed, motion, reason):
    tracks = tracks_of(SCENE, motion, np.random.default_rng(seed))
    assert scaled(DISPARITY, tracks, motion, CAMERA) == NoScale(reason)


def test_a_slipping_wheel_gives_no_scale():
    """Odometry says 10 cm, the images say nothing moved."""
    for seed in range(10):
        tracks = tracks_of(SCENE, moved(), np.random.default_rng(seed))
        said = moved(metres=(0.1, 0.0, 0.02))
        assert scaled(DISPARITY, tracks, said, CAMERA) == NoScale('motion too small')


def test_odometry_that_goes_another_way_than_the_images_is_told():
    for seed in range(10):
        tracks = tracks_of(SCENE, moved(metres=(0.2, 0.0, 0.0)), np.random.default_rng(seed))
        said = moved(metres=(0.1, 0.2, 0.0))
        result = scaled(DISPARITY, tracks, said, CAMERA)
        assert result == NoScale('tracks contradict odometry')


def test_odometry_backwards_is_no_scale():
    for seed in range(10):
        tracks = tracks_of(SCENE, moved(metres=(0.2, 0.0, 0.0)), np.random.default_rng(seed))
        result = scaled(DISPARITY, tracks, moved(metres=(-0.2, 0.0, 0.0)), CAMERA)
        assert isinstance(result, NoScale)


MOTION = moved(metres=(0.1, 0.0, 0.0))
TRACKS = tracks_of(SCENE, MOTION, np.random.default_rng(0))


@pytest.mark.parametrize(
    ('tracks', 'motion', 'reason'),
    [
        (TRACKS, np.full((4, 4), np.nan), 'bad transform'),
        (TRACKS, np.zeros((4, 4)), 'bad transform'),
        (Tracks(np.empty((0, 2)), np.empty((0, 2))), MOTION, 'too few tracks'),
        (Tracks(TRACKS.previous[:20], TRACKS.current[:20]), MOTION, 'too few tracks'),
        (Tracks(TRACKS.previous * np.nan, TRACKS.current), MOTION, 'too few tracks'),
    ],
)
def test_bad_input_ends_in_its_reason(tracks, motion, reason):
    assert scaled(DISPARITY, tracks, motion, CAMERA) == NoScale(reason)


def test_a_camera_of_another_size_is_told():
    other = Intrinsics.from_hfov(60.0, 64, 48)
    result = scaled(DISPARITY, TRACKS, MOTION, other)
    assert result == NoScale('camera of another size')


@pytest.mark.parametrize('value', [np.nan, 0.0, 0.5])
def test_a_prediction_without_content_gives_no_scale(value):
    empty = np.full_like(DISPARITY, value)
    assert isinstance(scaled(empty, TRACKS, MOTION, CAMERA), NoScale)


def picture(scene: Scene, current_to_camera: np.ndarray) -> np.ndarray:
    """A grey image of the scene with a texture that is painted on its surfaces."""
    rays = PINHOLE.rays(CAMERA).reshape(-1, 2)
    to_level = inverse(current_to_camera @ scene.level_to_camera)
    directions = np.column_stack([rays, np.ones(len(rays))]) @ to_level[:3, :3].T
    points = to_level[:3, 3] + directions * scene.cast(to_level[:3, 3], directions)[:, None]
    rng = np.random.default_rng(0)
    waves, phases = rng.normal(0.0, 9.0, (24, 3)), rng.uniform(0.0, 6.3, 24)
    light = np.cos(points @ waves.T + phases).sum(axis=1)
    grey = np.clip(128.0 + 18.0 * light, 0.0, 255.0)
    return grey.reshape(CAMERA.height, CAMERA.width).astype(np.uint8)


@pytest.mark.parametrize('seed', range(4))
def test_two_pictures_and_the_way_between_them_give_the_scale(seed):
    scene = room(np.random.default_rng(seed))
    depth = scene.depth()
    disparity = predicted(depth, np.random.default_rng(seed))
    motion = moved((0.3, -0.6, 0.2), (0.05, 0.0, 0.02))
    tracks = track_features(picture(scene, motion), picture(scene, np.eye(4)))
    assert len(tracks.current) > 100
    estimate = scaled(disparity, tracks, motion, CAMERA)
    assert isinstance(estimate, ScaleEstimate)
    assert abs_rel(disparity, estimate.a, estimate.b, depth, 5.0) < 0.08


def lit(grey: np.ndarray, phase: float) -> np.ndarray:
    """Under mains light, as a rolling shutter sees it: bands of 20% that move on."""
    rows = np.linspace(0.0, 8.0, len(grey))[:, None]
    return np.clip(grey * (0.8 + 0.2 * np.sin(rows + phase)), 0.0, 255.0).astype(np.uint8)


@pytest.mark.parametrize('seed', range(4))
def test_bands_of_brightness_lose_no_points_and_move_none(seed):
    scene = room(np.random.default_rng(seed))
    motion = moved((0.3, -0.6, 0.2), (0.05, 0.0, 0.02))
    before, now = picture(scene, motion), picture(scene, np.eye(4))
    steady = track_features(before, now)
    tracks = track_features(lit(before, 0.0), lit(now, 2.5))
    assert len(tracks.current) > 0.8 * len(steady.current)
    depth = scene.depth()
    disparity = predicted(depth, np.random.default_rng(seed))
    estimate = scaled(disparity, tracks, motion, CAMERA)
    assert isinstance(estimate, ScaleEstimate)
    assert abs_rel(disparity, estimate.a, estimate.b, depth, 5.0) < 0.08


def test_followed_points_are_where_the_scene_puts_them():
    motion = moved((0.3, -0.6, 0.2), (0.05, 0.0, 0.02))
    tracks = track_features(picture(SCENE, motion), picture(SCENE, np.eye(4)))
    directions = np.column_stack(
        [PINHOLE.normalise(tracks.current, CAMERA), np.ones(len(tracks.current))]
    )
    to_level = inverse(SCENE.level_to_camera)
    depth = SCENE.cast(to_level[:3, 3], directions @ to_level[:3, :3].T)
    expected = PINHOLE.project(transform_points(motion, directions * depth[:, None]), CAMERA)
    off = np.linalg.norm(expected - tracks.previous, axis=1)
    assert np.median(off) < 0.2
    assert (off < 1.0).mean() > 0.9


def test_pictures_without_corners_have_no_tracks():
    blank = np.full((60, 80), 100, dtype=np.uint8)
    assert track_features(blank, blank).current.shape == (0, 2)


def test_pictures_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match='shapes'):
        track_features(np.zeros((60, 80), np.uint8), np.zeros((60, 81), np.uint8))
