from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.projection import ray_map
from lotus2_ros.training.data.depth_normals import normals_from_depth

CAMERA = Intrinsics(70.0, 75.0, 47.0, 30.0, 96, 64)
RAYS = np.dstack([ray_map(CAMERA).astype(np.float64), np.ones((64, 96))])
ALL = np.ones((64, 96), bool)


def angle(normals: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Degrees between unit vectors."""
    return np.degrees(np.arccos(np.clip((normals * expected).sum(-1), -1, 1)))


def plane(normal: np.ndarray, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth of normal . P = offset, and where it is in front of the camera and within 50 m."""
    towards = RAYS @ normal
    valid = towards > offset / 50
    return np.where(valid, offset / np.where(valid, towards, 1), 0).astype(np.float32), valid


@settings(max_examples=60, deadline=None)
@given(st.floats(-75, 75), st.floats(0, 360), st.floats(0.3, 20), st.sampled_from([1, 2, 4]))
def test_every_pixel_of_a_plane_has_its_outward_normal(tilt, turn, offset, radius):
    tilt, turn = np.radians(tilt), np.radians(turn)
    normal = np.array([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)])
    depth, valid = plane(normal, offset)
    normals, surface = normals_from_depth(depth, valid, CAMERA, radius=radius)
    assert (
        surface[radius:-radius, radius:-radius][valid[radius:-radius, radius:-radius]].mean() > 0.9
    )
    assert not (surface & ~valid).any()
    assert angle(normals, normal)[surface].max() < 0.5


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(2, 10), st.floats(0.3, 0.8))
def test_normals_of_a_sphere_point_to_its_centre(across, down, away, share):
    centre, size = np.array([across, down, 1]) * away, share * away
    half, squared = RAYS @ centre, (RAYS**2).sum(-1)
    discriminant = half**2 - squared * (centre @ centre - size**2)
    hit = discriminant > 0
    depth = np.where(hit, (half - np.sqrt(np.where(hit, discriminant, 0))) / squared, 0)
    expected = (centre - RAYS * depth[..., None]) / size
    normals, surface = normals_from_depth(depth.astype(np.float32), hit, CAMERA)
    # Where it is seen at a grazing angle, a window covers a large turn of the surface.
    seen = (expected * RAYS).sum(-1) / np.sqrt(squared)
    inner = surface & (seen > 0.5)
    assert inner.sum() > 0.95 * (hit & (seen > 0.5)).sum()
    # A window covers an angle of the sphere that goes with one over its size.
    assert angle(normals, expected)[inner].mean() < 1 / share
    assert angle(normals, expected)[inner].max() < 4 / share


def test_normals_face_away_from_the_camera_everywhere():
    depth = np.random.default_rng(0).uniform(2, 2.2, (64, 96)).astype(np.float32)
    normals, surface = normals_from_depth(depth, ALL, CAMERA, tolerance=0.2)
    assert surface.mean() > 0.9
    assert ((normals * RAYS).sum(-1) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-6)


def test_a_step_bends_no_normal():
    depth = np.where(np.arange(96) < 40, 2.0, 5.0) * np.ones((64, 1))
    normals, surface = normals_from_depth(depth.astype(np.float32), ALL, CAMERA)
    assert surface.all()
    assert angle(normals, np.array([0, 0, 1.0])).max() < 0.1


def test_two_walls_that_meet_keep_their_own_normals():
    left, right = np.array([0.6, 0, 0.8]), np.array([-0.6, 0, 0.8])
    depth = np.minimum(plane(left, 3.0)[0], plane(right, 3.0)[0])
    normals, surface = normals_from_depth(depth, ALL, CAMERA)
    expected = np.where((plane(left, 3.0)[0] < plane(right, 3.0)[0])[..., None], left, right)
    assert surface.all()
    assert angle(normals, expected).max() < 1


def test_a_wire_in_front_of_a_wall_has_no_normal_and_the_wall_keeps_its_own():
    depth = np.full((64, 96), 5.0, np.float32)
    depth[:, 50] = 2.0
    normals, surface = normals_from_depth(depth, ALL, CAMERA)
    assert not surface[:, 50].any()
    beside = np.delete(np.arange(96), [50])
    assert surface[:, beside].all()
    assert angle(normals, np.array([0, 0, 1.0]))[:, beside].max() < 0.1


def test_unknown_pixels_have_no_normal_and_do_not_spoil_others():
    depth, valid = plane(np.array([0.3, 0.4, np.sqrt(0.75)]), 2.0)
    holes = np.random.default_rng(1).random((64, 96)) < 0.15
    depth[holes] = np.nan
    normals, surface = normals_from_depth(depth, valid & ~holes, CAMERA)
    assert not surface[holes].any()
    assert surface[2:-2, 2:-2][~holes[2:-2, 2:-2]].mean() > 0.95
    assert angle(normals, np.array([0.3, 0.4, np.sqrt(0.75)]))[surface].max() < 0.5


def test_noise_is_averaged_over_a_larger_window():
    depth, _ = plane(np.array([0.0, 0.6, 0.8]), 2.0)
    noisy = (depth * (1 + 0.002 * np.random.default_rng(2).standard_normal(depth.shape))).astype(
        np.float32
    )
    expected = np.array([0, 0.6, 0.8])
    errors = []
    for radius in (2, 4):
        normals, surface = normals_from_depth(noisy, ALL, CAMERA, radius=radius)
        errors.append(angle(normals, expected)[surface].mean())
    assert errors[1] < 0.5 * errors[0]


def test_depth_of_another_size_is_refused():
    with pytest.raises(ValueError, match='differ in size'):
        normals_from_depth(np.ones((10, 10), np.float32), np.ones((10, 10), bool), CAMERA)
