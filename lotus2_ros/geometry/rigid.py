"""Rigid transforms as 4x4 matrices, and points that were measured while the sensor moved."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

_ORTHOGONAL_WITHIN = 1e-3
"""Largest deviation of R^T R from the identity: float32 quaternions reach 1e-6, text files 1e-4."""


def is_rigid(transform: Float64Array) -> bool:
    """Whether a matrix is (4, 4), finite, and a proper rotation with a translation."""
    if transform.shape != (4, 4) or not np.isfinite(transform).all():
        return False
    rotation = transform[:3, :3]
    orthogonal = np.abs(rotation.T @ rotation - np.eye(3)).max() < _ORTHOGONAL_WITHIN
    affine = np.abs(transform[3] - [0.0, 0.0, 0.0, 1.0]).max() < _ORTHOGONAL_WITHIN
    return bool(orthogonal and affine and np.linalg.det(rotation) > 0.0)


def inverse(transform: Float64Array) -> Float64Array:
    """Inverse of a rigid transform, (4, 4)."""
    result = np.eye(4)
    result[:3, :3] = transform[:3, :3].T
    result[:3, 3] = -transform[:3, :3].T @ transform[:3, 3]
    return result


def from_rotation_vector(vector: Float64Array, translation: Float64Array) -> Float64Array:
    """Transform of a rotation vector (axis times angle [rad]) and a translation [m], (4, 4)."""
    x, y, z = (float(value) for value in vector)
    angle = math.sqrt(x * x + y * y + z * z)
    # Rodrigues' formula, R = I + s K + c K^2 with K = [vector]_x; both factors go over to a limit.
    s = math.sin(angle) / angle if angle > 1e-8 else 1.0
    c = (1.0 - math.cos(angle)) / angle**2 if angle > 1e-4 else 0.5
    p, q, r = translation
    return np.array(
        [
            [1.0 - c * (y * y + z * z), c * x * y - s * z, c * x * z + s * y, p],
            [c * x * y + s * z, 1.0 - c * (x * x + z * z), c * y * z - s * x, q],
            [c * x * z - s * y, c * y * z + s * x, 1.0 - c * (x * x + y * y), r],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def rotation_vector(rotation: Float64Array) -> Float64Array:
    """Axis times angle [rad] of a rotation matrix, (3,); the angle lies in [0, pi]."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation.tolist()
    skew = 0.5 * np.array([zy - yz, xz - zx, yx - xy])
    sine, cosine = math.sqrt(float(skew @ skew)), 0.5 * (xx + yy + zz - 1.0)
    angle = math.atan2(sine, cosine)
    if sine > 1e-6:
        return np.asarray(skew * (angle / sine), dtype=np.float64)
    if cosine > 0.0:
        return skew
    # Half a turn: the skew part vanishes, the axis is the eigenvector of R + I = 2 n n^T.
    symmetric = rotation + np.eye(3)
    axis = symmetric[:, int(np.argmax(np.diag(symmetric)))]
    return np.asarray(axis / np.linalg.norm(axis) * angle, dtype=np.float64)


def transform_points(transform: Float64Array, points: Float64Array) -> Float64Array:
    """Points in the target frame.

    Args:
        transform: (4, 4) from the frame of the points to the target frame.
        points: (N, 3) [m].

    Returns:
        (N, 3) float64 [m].
    """
    result = np.asarray(points, dtype=np.float64) @ transform[:3, :3].T
    result += transform[:3, 3]
    return np.asarray(result, dtype=np.float64)


def transform_moving_points(
    start: Float64Array, end: Float64Array, fraction: Float64Array, points: Float64Array
) -> Float64Array:
    """Points, each through the pose that the sensor had when it was measured.

    The pose between start and end turns about one axis at a constant rate (slerp of the two
    rotations) while its origin moves on a straight line.

    Args:
        start: (4, 4), sensor at the beginning of the scan -> target frame.
        end: (4, 4), sensor at the end of the scan -> target frame.
        fraction: (N,), 0 at the beginning, 1 at the end; values outside extrapolate.
        points: (N, 3) in the sensor frame at each point's own time [m].

    Returns:
        (N, 3) float64 in the target frame [m].
    """
    turn = rotation_vector(start[:3, :3].T @ end[:3, :3])
    angle = float(np.linalg.norm(turn))
    x, y, z = turn / angle if angle > 0.0 else turn
    points = np.asarray(points, dtype=np.float64)
    # Rodrigues' formula for one axis n: p cos + (n x p) sin + n (n . p) (1 - cos).
    axis = np.array([x, y, z])
    across = points @ np.array([[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]])
    cosine, sine = np.cos(fraction * angle)[:, None], np.sin(fraction * angle)[:, None]
    turned = points * cosine + across * sine
    turned += ((points @ axis)[:, None] * (1.0 - cosine)) * axis
    origin = start[:3, 3] + fraction[:, None] * (end[:3, 3] - start[:3, 3])
    return np.asarray(turned @ start[:3, :3].T + origin, dtype=np.float64)
