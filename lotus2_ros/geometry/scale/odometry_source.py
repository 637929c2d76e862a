"""Scale from the robot's own motion: two views, and the odometry between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.lens import PINHOLE, Lens
from lotus2_ros.geometry.rigid import from_rotation_vector, is_rigid, rotation_vector
from lotus2_ros.geometry.scale.estimate import NoScale, References, ScaleEstimate
from lotus2_ros.geometry.scale.fit import fit_scale
from lotus2_ros.geometry.scale.pose_refinement import (
    JointFit,
    fit_with_pose_error,
    variance_by_pose,
)
from lotus2_ros.geometry.scale.sampling import sample_disparity
from lotus2_ros.geometry.tracking import Tracks
from lotus2_ros.types import Float32Array

Float64Array = NDArray[np.float64]

_FEWEST = 30
_MODEL_NOISE = 0.03
"""Standard deviation of the predicted 1 / z, as a share of it."""

_EDGE_REACH = 3.0
"""Corners sit on edges, where it is open to which side they belong; so far away it is not [px]."""

_PARALLAX_GATE = 2.0
"""The median parallax, in standard deviations of what noise and rotation leave of it; without
motion it is at 0.7, or 0.9 with a fifth of the tracks wrong."""

_LEAST_CERTAIN = 0.2
"""Largest standard deviation of log a: a scale less certain says that the motion was too small."""

_TURNING = 3.0
"""Flow by rotation that makes 'motion too small' a 'pure rotation' [px]."""

_EPIPOLAR_GATE = 5.0
"""Largest distance from the epipolar line, in its standard deviations."""

_REFINEMENTS = 2


@dataclass(frozen=True, slots=True)
class OdometryNoise:
    """Standard deviations of what the triangulation builds on.

    Attributes:
        pixel: of a tracked point, in each image [px].
        translation: along each axis, as a share of the distance moved.
        rotation: about each axis, as a share of the angle turned.
        rotation_deg: about each axis, at any angle [deg].
    """

    pixel: float = 0.3
    translation: float = 0.01
    rotation: float = 0.01
    rotation_deg: float = 0.02


def odometry_scale(
    disparity: Float32Array,
    tracks: Tracks,
    current_to_previous: Float64Array,
    intrinsics: Intrinsics,
    *,
    lens: Lens = PINHOLE,
    noise: OdometryNoise | None = None,
    seed: int = 0,
) -> ScaleEstimate | NoScale:
    """Fit 1 / z = a d + b to tracked points, triangulated over the distance moved.

    The pose's error is estimated along with (a, b), mostly by the distance of the points from their
    epipolar lines; see `fit_with_pose_error`.

    Args:
        disparity: (H, W) predicted for the current image, NaN where unknown.
        tracks: points in the previous and the current image.
        current_to_previous: (4, 4), optical frame now -> optical frame at the previous image, from
            odometry.
        intrinsics: camera of both images, of the size of the disparity.
        lens: its distortion; the default is rectified images.
        noise: None is `OdometryNoise()`.
        seed: of the robust fit.

    Returns:
        The estimate; or why there is none: 'bad transform', 'camera of another size', 'too few
        tracks', 'motion too small', 'pure rotation', 'tracks contradict odometry', 'too few
        samples', or what `fit_scale` says.
    """
    noise = noise or OdometryNoise()
    pose = np.asarray(current_to_previous, dtype=np.float64)
    if not is_rigid(pose):
        return NoScale('bad transform')
    if disparity.shape != (intrinsics.height, intrinsics.width):
        return NoScale('camera of another size')
    pixels, now, before = _normalised(tracks, intrinsics, lens)
    if len(now) < _FEWEST:
        return NoScale('too few tracks')
    distance = float(np.linalg.norm(pose[:3, 3]))
    angle = float(np.linalg.norm(rotation_vector(pose[:3, :3])))
    turn = np.hypot(noise.rotation * angle, np.radians(noise.rotation_deg))
    views = _Views(pose, np.sqrt(2.0) * noise.pixel / intrinsics.fx)
    motion = _motion(views, now, before, float(turn), intrinsics.fx)
    if motion is not None:
        return motion
    samples = sample_disparity(disparity, pixels, reach=_EDGE_REACH)
    rays = _Rays(samples.value[samples.smooth], now[samples.smooth], before[samples.smooth])
    prior = np.array([turn] * 3 + [max(noise.translation * distance, 1e-9)] * 3)
    return _refined(views, rays, prior, seed)


class _Views(NamedTuple):
    """current -> previous (4, 4), and the noise of a normalised coordinate of both together."""

    pose: Float64Array
    sigma: float


class _Rays(NamedTuple):
    """Disparity (N,) and normalised coordinates (N, 2) of points now and before."""

    disparity: Float64Array
    now: Float64Array
    before: Float64Array


class _Epipolar(NamedTuple):
    """The flow after removing the rotation, along and across the epipolar lines.

    With p = R (x, y, 1) and x' the point before, x' (p_z + t_z r) = p_xy + t_xy r, so k r = g with
    k = x' t_z - t_xy and g = p_xy - x' p_z. It is linear in r = 1 / z, so noise does not bias r.

    Attributes:
        turned: (N, 3) p.
        along: (N, 2) unit vectors of k.
        length: (N,) |k| [m].
        parallax: (N,) component of g along k.
        off: (N,) component of g across k: 0 but for noise, and for points that move by themselves.
    """

    turned: Float64Array
    along: Float64Array
    length: Float64Array
    parallax: Float64Array
    off: Float64Array


def _epipolar(pose: Float64Array, now: Float64Array, before: Float64Array) -> _Epipolar:
    turned = now @ pose[:3, :2].T + pose[:3, 2]
    # Column by column: NumPy's reductions over an axis of length 2 are many times slower.
    u, v, pz = before[:, 0], before[:, 1], turned[:, 2]
    kx, ky = u * pose[2, 3] - pose[0, 3], v * pose[2, 3] - pose[1, 3]
    gx, gy = turned[:, 0] - u * pz, turned[:, 1] - v * pz
    length = np.maximum(np.hypot(kx, ky), 1e-12)
    x, y = kx / length, ky / length
    return _Epipolar(turned, np.column_stack([x, y]), length, x * gx + y * gy, x * gy - y * gx)


def _normalised(
    tracks: Tracks, intrinsics: Intrinsics, lens: Lens
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Pixels now, and normalised coordinates now and before, of tracks with both."""
    now = lens.normalise(np.asarray(tracks.current, dtype=np.float64), intrinsics)
    before = lens.normalise(np.asarray(tracks.previous, dtype=np.float64), intrinsics)
    valid = np.isfinite(now).all(axis=1) & np.isfinite(before).all(axis=1)
    return np.asarray(tracks.current, dtype=np.float64)[valid], now[valid], before[valid]


def _motion(
    views: _Views, now: Float64Array, before: Float64Array, turn: float, focal: float
) -> NoScale | None:
    """Whether the points moved for lack of translation, against what noise alone makes of them."""
    lines = _epipolar(views.pose, now, before)
    floor = float(np.hypot(views.sigma, turn))
    if np.median(np.abs(lines.parallax)) >= _PARALLAX_GATE * floor:
        if np.median(np.abs(lines.off)) > _EPIPOLAR_GATE * floor:
            return NoScale('tracks contradict odometry')
        # Parallax that odometry cannot have caused at any depth is not the robot's.
        if np.linalg.norm(views.pose[:3, 3]) < 1e-4:
            return NoScale('tracks contradict odometry')
        return None
    rotation = lines.turned[:, :2] / lines.turned[:, 2:] - now
    if focal * np.median(np.linalg.norm(rotation, axis=1)) > _TURNING:
        return NoScale('pure rotation')
    return NoScale('motion too small')


def _refined(views: _Views, rays: _Rays, prior: Float64Array, seed: int) -> ScaleEstimate | NoScale:
    """Fit, correct the pose by what the fit and the epipolar lines say of it, fit again."""
    joint: JointFit | None = None
    estimate = _fit(views, rays, joint, np.diag(prior**2), seed)
    if isinstance(estimate, NoScale):
        return estimate
    joint = JointFit(estimate.a, estimate.b, np.zeros(6), np.diag([0.0, 0.0, *prior**2]))
    lines = _epipolar(views.pose, rays.now, rays.before)
    for _ in range(_REFINEMENTS):
        smooth = np.maximum(joint.a * rays.disparity + joint.b, 0.0)
        along, across = _pose_jacobians(lines, rays, smooth)
        factors = np.column_stack([rays.disparity, np.ones(len(smooth))]) * lines.length[:, None]
        model = _MODEL_NOISE * smooth * lines.length
        refined = fit_with_pose_error(
            np.concatenate([factors, np.zeros_like(factors)]),
            np.concatenate([lines.parallax, lines.off]),
            np.concatenate([np.hypot(views.sigma, model), np.full(len(smooth), views.sigma)]),
            np.concatenate([along, across]),
            prior,
            joint,
        )
        if refined is None:
            return estimate
        joint = refined
    if joint.covariance[0, 0] > _LEAST_CERTAIN**2:
        return NoScale('motion too small')
    estimate = _fit(views, rays, joint, joint.covariance[2:, 2:], seed)
    if isinstance(estimate, NoScale):
        return estimate
    return replace(estimate, covariance=joint.covariance[:2, :2])


def _fit(
    views: _Views, rays: _Rays, joint: JointFit | None, left: Float64Array, seed: int
) -> ScaleEstimate | NoScale:
    """The robust fit to points near their epipolar lines, with what is left (6, 6) in sigma."""
    pose = views.pose if joint is None else _corrected(views.pose, joint.pose)
    lines = _epipolar(pose, rays.now, rays.before)
    triangulated = lines.parallax / lines.length
    smooth = np.maximum(triangulated if joint is None else joint.a * rays.disparity + joint.b, 0.0)
    along, across = _pose_jacobians(lines, rays, smooth)
    spread = np.sqrt(views.sigma**2 + variance_by_pose(along, left))
    off = np.sqrt(views.sigma**2 + variance_by_pose(across, left))
    sigma = np.hypot(spread / lines.length, _MODEL_NOISE * smooth)
    keep = np.abs(lines.off) < _EPIPOLAR_GATE * off
    if np.count_nonzero(keep) < _FEWEST:
        few = len(keep) < 2 * _FEWEST or keep.mean() > 0.5
        return NoScale('too few samples' if few else 'tracks contradict odometry')
    references = References(rays.disparity[keep], triangulated[keep], sigma[keep])
    start = None if joint is None else (joint.a, joint.b)
    return fit_scale(references, source='odometry', seed=seed, start=start)


def _corrected(pose: Float64Array, error: Float64Array) -> Float64Array:
    """The pose with its error (rotation vector, translation) taken out."""
    result = pose.copy()
    result[:3, :3] = from_rotation_vector(error[:3], np.zeros(3))[:3, :3] @ pose[:3, :3]
    result[:3, 3] += error[3:]
    return result


def _pose_jacobians(
    lines: _Epipolar, rays: _Rays, inverse_depth: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Change of the flow along and across the epipolar lines with the pose error, each (N, 6).

    For the true pose, (w x + 1) R and t + s, holds g + dg = (k + dk) r, so g = k r + r dk - dg with
    dg = (w x p)_xy - x' (w x p)_z and dk = x' s_z - s_xy.
    """
    x, y = lines.along[:, 0], lines.along[:, 1]
    along = _pose_jacobian(lines.turned, rays.before, inverse_depth, x, y)
    return along, _pose_jacobian(lines.turned, rays.before, inverse_depth, -y, x)


def _pose_jacobian(
    turned: Float64Array,
    before: Float64Array,
    inverse_depth: Float64Array,
    x: Float64Array,
    y: Float64Array,
) -> Float64Array:
    """The same in the direction (x, y) in the image, (N, 6)."""
    px, py, pz = turned.T
    r = inverse_depth
    depth_wise = x * before[:, 0] + y * before[:, 1]
    rows = np.empty((6, len(r)))
    rows[0] = y * pz + depth_wise * py
    rows[1] = -x * pz - depth_wise * px
    rows[2] = x * py - y * px
    rows[3] = -x * r
    rows[4] = -y * r
    rows[5] = depth_wise * r
    return rows.T
