from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from lotus2_ros.geometry.rigid import (
    from_rotation_vector,
    inverse,
    is_rigid,
    rotation_vector,
    transform_moving_points,
    transform_points,
)

seeds = st.integers(0, 2**32 - 1)


def pose(rng: np.random.Generator, angle: float = np.pi) -> np.ndarray:
    axis = rng.normal(size=3)
    vector = axis / np.linalg.norm(axis) * rng.uniform(0.0, angle)
    return from_rotation_vector(vector, rng.normal(size=3))


@given(seeds)
def test_a_transform_and_its_inverse_leave_points_where_they_were(seed):
    rng = np.random.default_rng(seed)
    transform, points = pose(rng), rng.normal(size=(5, 3))
    assert is_rigid(transform)
    back = transform_points(inverse(transform), transform_points(transform, points))
    np.testing.assert_allclose(back, points, atol=1e-12)


@given(seeds, st.sampled_from([0.0, 1e-9, 1e-5, 1.0, np.pi - 1e-7, np.pi]))
def test_rotation_vectors_agree_with_scipy(seed, angle):
    axis = np.random.default_rng(seed).normal(size=3)
    vector = axis / np.linalg.norm(axis) * angle
    matrix = from_rotation_vector(vector, np.zeros(3))[:3, :3]
    np.testing.assert_allclose(matrix, Rotation.from_rotvec(vector).as_matrix(), atol=1e-12)
    again = Rotation.from_rotvec(rotation_vector(matrix)).as_matrix()
    np.testing.assert_allclose(again, matrix, atol=1e-6)


@given(seeds)
def test_moving_points_go_through_the_slerp_of_both_poses(seed):
    rng = np.random.default_rng(seed)
    start, end, points = pose(rng), pose(rng), rng.normal(size=(7, 3))
    fraction = rng.uniform(size=7)
    slerp = Slerp([0.0, 1.0], Rotation.from_matrix([start[:3, :3], end[:3, :3]]))
    origin = start[:3, 3] + fraction[:, None] * (end[:3, 3] - start[:3, 3])
    expected = slerp(fraction).apply(points) + origin
    moved = transform_moving_points(start, end, fraction, points)
    np.testing.assert_allclose(moved, expected, atol=1e-6)


@pytest.mark.parametrize(
    'transform',
    [
        np.eye(3),
        np.full((4, 4), np.nan),
        np.diag([1.0, 1.0, -1.0, 1.0]),
        np.diag([2.0, 2.0, 2.0, 1.0]),
        np.zeros((4, 4)),
    ],
    ids=['3x3', 'NaN', 'mirror', 'scaled', 'zero'],
)
def test_what_is_no_rigid_transform_is_told(transform):
    assert not is_rigid(transform)
