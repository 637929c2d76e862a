"""Scale from a lidar: its points projected into the image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.lens import PINHOLE, Lens
from lotus2_ros.geometry.rigid import from_rotation_vector, transform_points
from lotus2_ros.geometry.scale.estimate import NoScale, References, ScaleEstimate
from lotus2_ros.geometry.scale.fit import fit_scale
from lotus2_ros.geometry.scale.lidar_points import (
    NEAREST,
    LidarScan,
    points_in_camera,
    visible_points,
    with_earlier_points,
)
from lotus2_ros.geometry.scale.pose_refinement import (
    JointFit,
    fit_with_pose_error,
    variance_by_pose,
)
from lotus2_ros.geometry.scale.quantile import median, quantiles
from lotus2_ros.geometry.scale.relative_fit import mixed, refine_over_image
from lotus2_ros.geometry.scale.sampling import disparity_span, sample_disparity
from lotus2_ros.geometry.scale.scan_memory import Drive
from lotus2_ros.types import Float32Array

Float64Array = NDArray[np.float64]

_FEWEST = 30
_MOST = 600
"""Points that are fitted; more cost time and, against errors they share, gain nothing."""

_FARTHEST = 0.005
"""200 m: no lidar sees farther [1/m]."""

_REFINEMENTS = 2

_NETWORK_ERRS = 1.5, 1.73
"""Three quarters of the residuals are below 1.15 times the sensor's noise if they are the sensor's
alone, and below the first of these with gross errors among them; above the second they are the
network's. In between, both estimates are mixed."""


@dataclass(frozen=True, slots=True)
class LidarNoise:
    """How far a projected point may be wrong, as standard deviations.

    Attributes:
        range_relative: of the range, as a share of it.
        range_m: of the range, at any distance [m].
        rotation_deg: of the mounting (extrinsics), about each axis [deg].
        translation_m: of the mounting, along each axis [m].
    """

    range_relative: float = 0.01
    range_m: float = 0.01
    rotation_deg: float = 1.0
    translation_m: float = 0.02


def lidar_scale(
    disparity: Float32Array,
    scan: LidarScan,
    intrinsics: Intrinsics,
    *,
    drive: Drive | None = None,
    lens: Lens = PINHOLE,
    noise: LidarNoise | None = None,
    seed: int = 0,
) -> ScaleEstimate | NoScale:
    """Fit 1 / z = a d + b to a lidar scan.

    The mounting's error is estimated along with (a, b) as far as the scene shows it, see
    `fit_with_pose_error`; the covariance holds what is left of it.

    Args:
        disparity: (H, W) predicted, NaN where unknown.
        scan: points and poses.
        intrinsics: camera of the image that was predicted from, of the same size.
        drive: the robot's motion and its earlier scans, of which those count too that are still in
            view; None is the new scan alone.
        lens: its distortion; the default is a rectified image.
        noise: None is `LidarNoise()`.
        seed: of the choice among many points.

    Returns:
        The estimate, or why there is none: 'empty cloud', 'no valid points', 'bad transform',
        'bad point times', 'camera of another size', 'lidar out of view', 'too few samples', or
        what `fit_scale` says.
    """
    noise = noise or LidarNoise()
    points = points_in_camera(scan, enough=_MOST, seed=seed)
    if isinstance(points, NoScale):
        return points
    if disparity.shape != (intrinsics.height, intrinsics.width):
        return NoScale('camera of another size')
    visible = visible_points(points, intrinsics, lens)
    if drive is not None:
        visible = with_earlier_points(visible, drive.earlier(points), intrinsics, lens)
    if len(visible) == 0:
        return NoScale('lidar out of view')
    chosen = np.random.default_rng(seed).permutation(len(visible))[:_MOST]
    return _refined(disparity, visible[chosen], intrinsics, lens, noise, seed)


def _refined(
    disparity: Float32Array,
    points: Float64Array,
    intrinsics: Intrinsics,
    lens: Lens,
    noise: LidarNoise,
    seed: int,
) -> ScaleEstimate | NoScale:
    """Fit, correct the mounting by what the fit says of it as far as can be told, fit again."""
    turn, shift = np.radians(noise.rotation_deg), noise.translation_m
    prior = np.maximum([turn] * 3 + [shift] * 3, 1e-9)
    reach = intrinsics.fx * (turn + shift / max(median(points[:, 2]), 0.5))
    view = _View(disparity, disparity_span(disparity), intrinsics, lens, noise, reach)
    placed = _place(view, points, None)
    estimate = _fit(view, placed, None, np.diag(prior**2), seed)
    if isinstance(estimate, NoScale):
        return estimate
    joint = JointFit(estimate.a, estimate.b, np.zeros(6), np.diag([0.0, 0.0, *prior**2]))
    for _ in range(_REFINEMENTS):
        sigma, jacobian = _weights(view, placed, joint)
        # The prior is about the whole correction: what was applied already counts against it.
        refined = fit_with_pose_error(
            np.column_stack([placed.disparity, np.ones(len(sigma))]),
            placed.inverse_depth + jacobian @ joint.pose,
            sigma,
            jacobian,
            prior,
            joint,
        )
        if refined is None:
            return estimate
        joint, placed = refined, _place(view, points, refined.pose)
    estimate = _fit(view, placed, joint, joint.covariance[2:, 2:], seed)
    if isinstance(estimate, NoScale):
        return estimate
    estimate = replace(estimate, covariance=joint.covariance[:2, :2])
    share = _network_share(view, placed, joint)
    if share == 0.0:
        return estimate
    moved = (1.0 - share) * joint.pose
    points = transform_points(from_rotation_vector(moved[:3], moved[3:]), points)
    inverse_depth = 1.0 / np.maximum(points[:, 2], NEAREST)
    pixels, sigma = lens.project(points, intrinsics), _range_sigma(noise, inverse_depth)
    inclusive = refine_over_image(disparity, pixels, inverse_depth, sigma, estimate)
    return mixed(estimate, inclusive, share)


def _network_share(view: _View, placed: _Placed, joint: JointFit) -> float:
    """How surely the residuals are the network's, 0 to 1: more than the sensor's noise explains.

    What lies off an affine map is told for outliers and for a mounting error only where the network
    errs less than the sensor. Else its errors pass for a mounting that is wrong by degrees, and
    what it got right in one part of the image makes outliers of all others.
    """
    fitted = np.maximum(joint.a * placed.disparity + joint.b, _FARTHEST)
    errors = np.abs(placed.inverse_depth - fitted) / _range_sigma(view.noise, fitted)
    low, high = _NETWORK_ERRS
    (most,) = quantiles(errors, 0.75)
    return min(1.0, max(0.0, (most - low) / (high - low)))


class _View(NamedTuple):
    """What stays the same over the refinement of one frame."""

    disparity: Float32Array
    span: float
    intrinsics: Intrinsics
    lens: Lens
    noise: LidarNoise
    reach: float


class _Placed(NamedTuple):
    """Points at their pixels: disparity, its gradient (N, 2), 1 / z and (x / z, y / z)."""

    disparity: Float64Array
    gradient: Float64Array
    inverse_depth: Float64Array
    plane: Float64Array


def _place(view: _View, points: Float64Array, pose: Float64Array | None) -> _Placed:
    """Points corrected by a pose error, at pixels where the disparity is smooth."""
    if pose is not None:
        points = transform_points(from_rotation_vector(pose[:3], pose[3:]), points)
    pixels = view.lens.project(points, view.intrinsics)
    inside = np.isfinite(pixels[:, 0])
    samples = sample_disparity(view.disparity, pixels[inside], reach=view.reach, span=view.span)
    points = points[inside][samples.smooth]
    return _Placed(
        samples.value[samples.smooth],
        samples.gradient[samples.smooth],
        1.0 / points[:, 2],
        points[:, :2] / points[:, 2:],
    )


def _fit(
    view: _View, placed: _Placed, joint: JointFit | None, pose: Float64Array, seed: int
) -> ScaleEstimate | NoScale:
    """The robust fit, with what is left of the pose error (6, 6) in every point's sigma."""
    if len(placed.disparity) < _FEWEST:
        return NoScale('too few samples')
    sigma, jacobian = _weights(view, placed, joint)
    shared = variance_by_pose(jacobian, pose)
    references = References(placed.disparity, placed.inverse_depth, np.sqrt(sigma**2 + shared))
    start = None if joint is None else (joint.a, joint.b)
    return fit_scale(references, source='points', seed=seed, start=start)


def _weights(
    view: _View, placed: _Placed, joint: JointFit | None
) -> tuple[Float64Array, Float64Array]:
    """Sigma of 1 / z by the range alone, (N,), and its change with the pose error, (N, 6).

    Both are taken at the model's own 1 / z once there is one: weights and derivatives that hold the
    measured one follow its noise, and the fit with them.
    """
    if joint is None:
        a, smooth = _rough_scale(placed), placed.inverse_depth
    else:
        a, smooth = joint.a, np.maximum(joint.a * placed.disparity + joint.b, _FARTHEST)
    return _range_sigma(view.noise, smooth), _pose_jacobian(placed, smooth, a, view.intrinsics)


def _range_sigma(noise: LidarNoise, inverse_depth: Float64Array) -> Float64Array:
    """Standard deviation of 1 / z by the range alone, (N,) [1/m]."""
    return np.hypot(noise.range_relative, noise.range_m * inverse_depth) * inverse_depth


def _rough_scale(placed: _Placed) -> float:
    """The ratio of both spreads: good enough to weigh points by."""
    low, high = quantiles(placed.disparity, 0.1, 0.9)
    below, above = quantiles(placed.inverse_depth, 0.1, 0.9)
    return (above - below) / max(high - low, 1e-9)


def _pose_jacobian(
    placed: _Placed, inverse_depth: Float64Array, a: float, intrinsics: Intrinsics
) -> Float64Array:
    """Change of the reference 1 / z with the pose error, (N, 6) over (rotation, translation).

    A point P that truly lies at P + w x P + t has the inverse depth r + dr and belongs to another
    pixel, whose disparity is d + g . dp: r + dr = a (d + g . dp) + b, so r = a d + b + J (w, t)
    with J = a g . dp - dr. The lens is taken for a pinhole here, which changes dp by some per cent.
    """
    x, y, r = placed.plane[:, 0], placed.plane[:, 1], inverse_depth
    # d(w x P + t) / z, along x, y and z, is w2 - w3 y + r t1, w3 x - w1 + r t2, w1 y - w2 x + r t3.
    # A point moves by p and q along column and row for x and y, and by what is left for z.
    p = (a * intrinsics.fx) * placed.gradient[:, 0]
    q = (a * intrinsics.fy) * placed.gradient[:, 1]
    along_z = r - p * x - q * y
    rows = np.empty((6, len(r)))
    rows[0] = along_z * y - q
    rows[1] = p - along_z * x
    rows[2] = q * x - p * y
    rows[3] = p * r
    rows[4] = q * r
    rows[5] = along_z * r
    return rows.T
