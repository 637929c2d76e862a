from __future__ import annotations

import math

import numpy as np
import pytest
from ray_scene import CAMERA, Scene, abs_rel, look_down, predicted, room, yard

from lotus2_ros.geometry.ground_plane import GroundPlane
from lotus2_ros.geometry.lens import PINHOLE, Lens
from lotus2_ros.geometry.rigid import from_rotation_vector
from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.geometry.scale.ground_source import ground_samples, ground_scale

RAYS = PINHOLE.rays(CAMERA)


def scaled(disparity, rays, plane, *, normals=None):
    return ground_scale(disparity, ground_samples(rays, plane), normals=normals)


def noisy_normals(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    normals = scene.normals() + 0.1 * rng.normal(size=(*RAYS.shape[:2], 3)).astype(np.float32)
    return normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def run(make, seed, *, with_normals, pitch_sign):
    """AbsRel within 10 m and surprise: 0.5 degree of pitch, 2% of height, noise and outliers."""
    rng = np.random.default_rng(seed)
    scene = make(rng)
    depth = scene.depth()
    inverse = 1.0 / depth
    seen = inverse * rng.normal(1.0, 0.02, inverse.shape)
    wrong = rng.random(inverse.shape) < 0.2
    seen[wrong] = rng.uniform(0.05, 2.0, wrong.sum())
    low, gain = rng.uniform(0.0, 0.25), rng.uniform(0.4, 0.75) / inverse.max()
    disparity = (low + gain * seen).astype(np.float32)
    pitch = from_rotation_vector(np.array([pitch_sign * np.radians(0.5), 0.0, 0.0]), np.zeros(3))
    plane = GroundPlane(tuple(pitch[:3, :3] @ scene.up), scene.height * rng.choice([0.98, 1.02]))
    normals = noisy_normals(scene, rng) if with_normals else None
    estimate = scaled(disparity, RAYS, plane, normals=normals)
    assert isinstance(estimate, ScaleEstimate), (seed, estimate)
    off = np.array([math.log(estimate.a * gain), estimate.b + low / gain])
    error = abs_rel(low + gain * inverse, estimate.a, estimate.b, depth, farthest=10.0)
    return error, float(off @ np.linalg.solve(estimate.covariance, off))


@pytest.mark.parametrize('pitch_sign', [-1, 1])
@pytest.mark.parametrize('with_normals', [True, False])
@pytest.mark.parametrize('make', [room, yard])
def test_height_and_direction_give_the_scale_to_its_target(make, with_normals, pitch_sign):
    runs = [run(make, s, with_normals=with_normals, pitch_sign=pitch_sign) for s in range(20)]
    assert np.mean([error for error, _ in runs]) < 0.06
    # The error is one standard deviation by construction; the covariance must know of it.
    assert max(surprise for _, surprise in runs) < 9.0


def exact(scene: Scene, seed: int = 0) -> tuple[np.ndarray, np.ndarray, GroundPlane]:
    depth = scene.depth()
    disparity = predicted(depth, np.random.default_rng(seed))
    return depth, disparity, GroundPlane(tuple(scene.up), scene.height)


def test_without_noise_the_scale_is_exact():
    for seed in range(6):
        depth, disparity, plane = exact(room(np.random.default_rng(seed)), seed)
        estimate = scaled(disparity, RAYS, plane)
        assert isinstance(estimate, ScaleEstimate)
        assert estimate.source == 'ground'
        assert abs_rel(disparity, estimate.a, estimate.b, depth) < 0.01, seed


def test_twice_the_height_is_a_world_of_twice_the_size():
    scene = yard(np.random.default_rng(1))
    _, disparity, plane = exact(scene)
    one = scaled(disparity, RAYS, plane)
    # Nearer than the farthest ground that is used in both worlds.
    other = scaled(disparity, RAYS, GroundPlane(plane.up, 2.0 * plane.height))
    assert isinstance(one, ScaleEstimate)
    assert isinstance(other, ScaleEstimate)
    assert other.a / one.a == pytest.approx(0.5, rel=0.01)


def test_a_distorted_image_serves_as_well():
    scene = yard(np.random.default_rng(4))
    lens = Lens('plumb_bob', (-0.28, 0.08, 1e-3, -5e-4, -0.01))
    depth = scene.depth(lens=lens)
    disparity = predicted(depth, np.random.default_rng(4))
    plane = GroundPlane(tuple(scene.up), scene.height)
    estimate = scaled(disparity, lens.rays(CAMERA), plane)
    assert isinstance(estimate, ScaleEstimate)
    assert abs_rel(disparity, estimate.a, estimate.b, depth, 10.0) < 0.01


def test_a_camera_that_is_upside_down_finds_the_ground_above():
    scene = yard(np.random.default_rng(2))
    flip = from_rotation_vector(np.array([0.0, 0.0, np.pi]), np.zeros(3)) @ scene.level_to_camera
    turned = Scene(scene.height, scene.room, scene.boxes, flip)
    depth, disparity, plane = exact(turned)
    estimate = scaled(disparity, RAYS, plane)
    assert isinstance(estimate, ScaleEstimate)
    assert abs_rel(disparity, estimate.a, estimate.b, depth, 10.0) < 0.01


def walls_only(rng: np.random.Generator, pitch_deg: float) -> Scene:
    """A wall that fills the view, slanted to the side, and nothing of the floor."""
    yaw = from_rotation_vector(np.array([0.0, rng.uniform(-0.6, 0.6), 0.0]), np.zeros(3))
    corners = np.array([[-50.0, -50.0, -5.0], [50.0, 50.0, rng.uniform(0.8, 3.0)]])
    return Scene(1.0, corners, [], look_down(rng, pitch_deg) @ yaw)


@pytest.mark.parametrize('pitch_deg', [-20.0, -8.0, 0.0, 8.0, 20.0])
@pytest.mark.parametrize('with_normals', [True, False])
def test_a_wall_is_not_taken_for_the_ground(pitch_deg, with_normals):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        scene = walls_only(rng, pitch_deg)
        _, disparity, plane = exact(scene, seed)
        disparity = disparity + 0.01 * rng.normal(size=disparity.shape).astype(np.float32)
        normals = noisy_normals(scene, rng) if with_normals else None
        result = scaled(disparity, RAYS, plane, normals=normals)
        assert isinstance(result, NoScale), seed
        assert result.reason in {
            'no ground in view',
            'too little ground in view',
            'ground not planar',
            'negative scale',
        }


def test_a_camera_that_looks_up_has_no_ground_in_view():
    scene = room(np.random.default_rng(0), pitch_deg=-60.0)
    _, disparity, plane = exact(scene)
    assert scaled(disparity, RAYS, plane) == NoScale('no ground in view')


def test_flat_pixels_at_many_heights_are_no_plane():
    """Steps, all level by their normals."""
    rng = np.random.default_rng(0)
    scene = yard(rng)
    _, _, plane = exact(scene)
    ground = plane.inverse_depth(RAYS)
    heights = rng.uniform(0.4, 2.5, (30, 40)).repeat(8, axis=0).repeat(8, axis=1)
    disparity = np.clip(ground * heights, 0.01, None)
    normals = np.broadcast_to(plane.unit_up.astype(np.float32), (*ground.shape, 3))
    result = scaled(disparity.astype(np.float32), RAYS, plane, normals=normals)
    assert result == NoScale('ground not planar')


SCENE = yard(np.random.default_rng(3))
DEPTH, DISPARITY, PLANE = exact(SCENE)
UP = PLANE.up


@pytest.mark.parametrize(
    'plane',
    [
        GroundPlane(UP, 0.0),
        GroundPlane(UP, -1.0),
        GroundPlane(UP, math.nan),
        GroundPlane((0.0, 0.0, 0.0), 1.0),
        GroundPlane((math.nan, 0.0, 0.0), 1.0),
    ],
)
def test_a_ground_plane_that_is_none_is_told(plane):
    assert scaled(DISPARITY, RAYS, plane) == NoScale('bad ground plane')


@pytest.mark.parametrize(
    ('disparity', 'reason'),
    [
        (np.full_like(DISPARITY, np.nan), 'no prediction'),
        (np.zeros_like(DISPARITY), 'no ground in view'),
        (np.full_like(DISPARITY, 0.5), 'no ground in view'),
        ((1.0 - DISPARITY).astype(np.float32), 'no ground in view'),
        (DISPARITY[:10], 'camera of another size'),
    ],
    ids=['NaN', 'zero', 'constant', 'negative', 'size'],
)
def test_a_bad_prediction_ends_in_its_reason(disparity, reason):
    assert scaled(disparity, RAYS, PLANE) == NoScale(reason)


def test_noise_is_no_ground():
    for seed in range(5):
        noise = np.random.default_rng(seed).random(DISPARITY.shape, np.float32)
        result = scaled(noise, RAYS, PLANE)
        assert isinstance(result, NoScale)
        assert 'ground in view' in result.reason


def test_normals_of_another_size_are_told():
    normals = np.zeros((4, 4, 3), np.float32)
    result = scaled(DISPARITY, RAYS, PLANE, normals=normals)
    assert result == NoScale('camera of another size')
