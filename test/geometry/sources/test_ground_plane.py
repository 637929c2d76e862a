from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray_scene import CAMERA, room

from lotus2_ros.geometry.ground_plane import (
    GROUND,
    OBSTACLE,
    UNKNOWN,
    GroundPlane,
    label_ground,
)
from lotus2_ros.geometry.lens import PINHOLE

RAYS = PINHOLE.rays(CAMERA)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_heights_are_those_of_the_scene_and_labels_follow_them(seed):
    scene = room(np.random.default_rng(seed))
    plane = GroundPlane(tuple(scene.up), scene.height)
    depth = scene.depth()
    points = np.concatenate([RAYS, np.ones((*depth.shape, 1))], axis=-1) * depth[..., None]
    true = points @ scene.up + scene.height
    result = label_ground((1.0 / depth).astype(np.float32), RAYS, plane, normals=scene.normals())
    np.testing.assert_allclose(result.height, true, atol=1e-3)
    assert (result.labels[np.abs(true) < 1e-6] == GROUND).mean() > 0.99
    assert (result.labels[true > 0.5] == OBSTACLE).all()
    assert result.labels.dtype == np.uint8


def test_what_is_below_the_ground_too_high_or_without_depth_is_unknown():
    plane = GroundPlane((0.0, -1.0, 0.0), 1.0, tilt_sigma_deg=0.0)
    rays = np.array([[[0.0, 0.5], [0.0, 0.5], [0.0, 0.5], [0.0, -0.5], [0.0, 0.5], [0.0, 0.5]]])
    depth = np.array([[2.0, 1.2, 3.0, 5.0, np.inf, np.nan]], dtype=np.float32)
    result = label_ground(1.0 / depth, rays, plane, ceiling=2.0)
    expected = [GROUND, OBSTACLE, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]
    np.testing.assert_array_equal(result.labels[0], expected)
    np.testing.assert_allclose(result.height[0], [0.0, 0.4, -0.5, 3.5, np.nan, np.nan], atol=1e-5)


def test_a_wall_foot_within_the_tolerance_is_no_ground_by_its_normal():
    plane = GroundPlane((0.0, -1.0, 0.0), 1.0)
    rays, near = np.array([[[0.0, 0.5]]]), np.array([[0.5]], dtype=np.float32)
    wall = np.array([[[0.0, 0.0, -1.0]]], dtype=np.float32)
    floor = np.array([[[0.0, -1.0, 0.0]]], dtype=np.float32)
    assert label_ground(near, rays, plane, normals=wall).labels[0, 0] == UNKNOWN
    assert label_ground(near, rays, plane, normals=floor).labels[0, 0] == GROUND


@given(st.floats(0.1, 3.0), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(0.5, 9.0))
def test_every_point_of_the_plane_has_its_inverse_depth(height, roll, pitch, length):
    up = np.array([roll, -1.0, pitch])
    plane = GroundPlane(tuple(up * length), height)
    ray = np.array([0.1, 1.0])
    inverse_depth = plane.inverse_depth(ray)
    point = np.array([*ray, 1.0]) / inverse_depth
    assert plane.unit_up @ point == pytest.approx(-height)
