"""Scale from a lidar: its points projected into the image."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.rigid import from_rotation_vector, transform_points
from lotus2_ros.geometry.scale.estimate import NoScale, References, ScaleEstimate
from lotus2_ros.geometry.scale.fit import fit_scale
from lotus2_ros.geometry.scale.lidar_points import NEAREST
from lotus2_ros.geometry.scale.lidar_samples import LidarSamples
from lotus2_ros.geometry.scale.pose_refinement import (
    JointFit,
    fit_with_pose_error,
    variance_by_pose,
)
from lotus2_ros.geometry.scale.quantile import quantiles
from lotus2_ros.geometry.scale.relative_fit import mixed, refine_over_image
from lotus2_ros.geometry.scale.sampling import (
    DisparitySamples,
    disparity_span,
    places_at,
    sample_disparity,
)
from lotus2_ros.types import Float32Array

Float64Array = NDArray[np.float64]

_FEWEST = 30
_FARTHEST = 0.005
"""200 m: no lidar sees farther [1/m]."""

_REFINEMENTS = 2
_SETTLED_PX = 2.0
"""A correction that moves points by less needs no other one."""

_SHRINK = 1.35
"""Factor by which residuals may still become less once points are where a correction puts them."""

_NETWORK_ERRS = 1.5, 1.73
"""Three quarters of the residuals are below 1.15 times the sensor's noise if they are the sensor's
alone, and below the first of these with gross errors among them; above the second they are the
network's. In between, both estimates are mixed."""


def lidar_scale(
    disparity: Float32Array, samples: LidarSamples | NoScale
) -> ScaleEstimate | NoScale:
    """Fit 1 / z = a d + b to a lidar scan.

    The mounting's error is estimated along with (a, b) as far as the scene shows it, see
    `fit_with_pose_error`; the covariance holds what is left of it.

    Args:
        disparity: (H, W) predicted, NaN where unknown.
        samples: what `lidar_samples` gave for the image.

    Returns:
        The estimate; or why there is none: what `lidar_samples` says, 'camera of another size',
        'lidar out of view', 'too few samples', or what `fit_scale` says.
    """
    if isinstance(samples, NoScale):
        return samples
    if disparity.shape != samples.places.size:
        return NoScale('camera of another size')
    if len(samples.points) == 0:
        return NoScale('lidar out of view')
    view = _View(disparity, disparity_span(disparity), samples)
    sampled = sample_disparity(disparity, samples.places, span=view.span)
    placed = _placed(samples.points, sampled)
    prior = samples.noise.pose
    estimate = _fit(view, placed, None, np.diag(prior**2))
    if isinstance(estimate, NoScale):
        return estimate
    corrected = _corrected(view, placed, estimate)
    if corrected is None:
        return estimate
    joint, placed, share = corrected
    if share < 1.0:
        found = _fit(view, placed, joint, joint.covariance[2:, 2:])
        if isinstance(found, NoScale):
            return found
        estimate = replace(found, covariance=joint.covariance[:2, :2])
    if share == 0.0:
        return estimate
    return mixed(estimate, _over_image(view, sampled, (1.0 - share) * joint.pose, estimate), share)


class _View(NamedTuple):
    """What stays the same over the refinement of one frame."""

    disparity: Float32Array
    span: float
    samples: LidarSamples


class _Placed(NamedTuple):
    """Points where disparity is smooth: disparity, its gradient (2, N), 1 / z, (x / z, y / z)."""

    disparity: Float64Array
    gradient: Float64Array
    inverse_depth: Float64Array
    plane: Float64Array


class _Corrected(NamedTuple):
    """A fit with the mounting's error, the points there, and the network's share of what is left.

    Where that is all, points are as they were: no more is made of the mounting then.
    """

    joint: JointFit
    placed: _Placed
    share: float


def _corrected(view: _View, placed: _Placed, estimate: ScaleEstimate) -> _Corrected | None:
    """Correct the mounting by what a fit says of it, once more where that moves points far.

    Returns:
        None if the points do not determine it.
    """
    samples, share = view.samples, 0.0
    prior = samples.noise.pose
    joint = JointFit(estimate.a, estimate.b, np.zeros(6), np.diag([0.0, 0.0, *prior**2]))
    for _ in range(_REFINEMENTS):
        sigma, jacobian = _weights(view, placed, joint)
        design = np.stack([placed.disparity, np.ones_like(sigma)])
        # The prior is about the whole correction: what was applied already counts against it.
        target = placed.inverse_depth + joint.pose @ jacobian
        refined = fit_with_pose_error(design, target, sigma, jacobian, prior, joint)
        if refined is None:
            return None
        joint = refined
        left = target - joint.a * placed.disparity - joint.b - joint.pose @ jacobian
        if _network_share(left, sigma * _SHRINK) == 1.0:
            return _Corrected(joint, placed, 1.0)
        placed = _placed(*_moved(view, joint.pose))
        if len(placed.disparity) < _FEWEST:
            break  # `_fit` will say so
        fitted = np.maximum(joint.a * placed.disparity + joint.b, _FARTHEST)
        share = _network_share(placed.inverse_depth - fitted, samples.noise.of_inverse(fitted))
        turn, shift = np.linalg.norm(joint.pose[:3]), np.linalg.norm(joint.pose[3:])
        if samples.intrinsics.fx * (turn + shift / samples.distance) < _SETTLED_PX:
            break
    return _Corrected(joint, placed, share)


def _moved(view: _View, pose: Float64Array) -> tuple[Float64Array, DisparitySamples]:
    """All points corrected by a pose error, and what is predicted there."""
    samples = view.samples
    points = transform_points(from_rotation_vector(pose[:3], pose[3:]), samples.points)
    pixels, places = samples.lens.project(points, samples.intrinsics), samples.places
    there = places_at(pixels, places.size, reach=places.step)
    return points, sample_disparity(view.disparity, there, span=view.span)


def _placed(points: Float64Array, sampled: DisparitySamples) -> _Placed:
    smooth = np.flatnonzero(sampled.smooth)
    x, y, z = points.T.take(smooth, axis=1)
    inverse_depth = 1.0 / z
    return _Placed(
        sampled.value[smooth],
        sampled.gradient.take(smooth, axis=1),
        inverse_depth,
        np.stack([x, y]) * inverse_depth,
    )


def _fit(
    view: _View, placed: _Placed, joint: JointFit | None, pose: Float64Array
) -> ScaleEstimate | NoScale:
    """The robust fit, with what is left of the pose error (6, 6) in every point's sigma."""
    if len(placed.disparity) < _FEWEST:
        return NoScale('too few samples')
    sigma, jacobian = _weights(view, placed, joint)
    sigma = np.sqrt(sigma**2 + variance_by_pose(jacobian, pose))
    references = References(placed.disparity, placed.inverse_depth, sigma)
    start = None if joint is None else (joint.a, joint.b)
    return fit_scale(references, source='points', seed=view.samples.seed, start=start)


def _network_share(left: Float64Array, sigma: Float64Array) -> float:
    """How surely the residuals are the network's, 0 to 1: more than the sensor's noise explains.

    What lies off an affine map is told for outliers and for a mounting error only where the network
    errs less than the sensor. Else its errors pass for a mounting that is wrong by degrees, and
    what it got right in one part of the image makes outliers of all others.

    Args:
        left: (N,) residuals of 1 / z [1/m].
        sigma: (N,) standard deviation of it by the range alone [1/m].
    """
    low, high = _NETWORK_ERRS
    (most,) = quantiles(np.abs(left) / sigma, 0.75)
    return min(1.0, max(0.0, (most - low) / (high - low)))


def _over_image(
    view: _View, sampled: DisparitySamples, pose: Float64Array, start: ScaleEstimate
) -> ScaleEstimate:
    """`refine_over_image` with all points, edges too.

    Args:
        view: the frame.
        sampled: what is predicted at the points as they are.
        pose: by which they are corrected.
        start: found by `fit_scale`.
    """
    samples = view.samples
    points = samples.points
    if pose.any():
        points, sampled = _moved(view, pose)
    inverse_depth = 1.0 / np.maximum(points[:, 2], NEAREST)
    references = References(sampled.value, inverse_depth, samples.noise.of_inverse(inverse_depth))
    return refine_over_image(references, samples.areas, start)


def _weights(
    view: _View, placed: _Placed, joint: JointFit | None
) -> tuple[Float64Array, Float64Array]:
    """Sigma of 1 / z by the range alone, (N,), and its change with the pose error, (6, N).

    Both are taken at the model's own 1 / z once there is one: weights and derivatives that hold the
    measured one follow its noise, and the fit with them.
    """
    if joint is None:
        a, smooth = _rough_scale(placed), placed.inverse_depth
    else:
        a, smooth = joint.a, np.maximum(joint.a * placed.disparity + joint.b, _FARTHEST)
    samples = view.samples
    return samples.noise.of_inverse(smooth), _pose_jacobian(placed, smooth, a, samples.intrinsics)


def _rough_scale(placed: _Placed) -> float:
    """The ratio of both spreads: good enough to weigh points by."""
    low, high = quantiles(placed.disparity, 0.1, 0.9)
    below, above = quantiles(placed.inverse_depth, 0.1, 0.9)
    return (above - below) / max(high - low, 1e-9)


def _pose_jacobian(
    placed: _Placed, inverse_depth: Float64Array, a: float, intrinsics: Intrinsics
) -> Float64Array:
    """Change of the reference 1 / z with the pose error, (6, N) over (rotation, translation).

    A point P that truly lies at P + w x P + t has the inverse depth r + dr and belongs to another
    pixel, whose disparity is d + g . dp: r + dr = a (d + g . dp) + b, so r = a d + b + J (w, t)
    with J = a g . dp - dr. The lens is taken for a pinhole here, which changes dp by some per cent.
    """
    (x, y), r = placed.plane, inverse_depth
    # d(w x P + t) / z, along x, y and z, is w2 - w3 y + r t1, w3 x - w1 + r t2, w1 y - w2 x + r t3.
    # A point moves by p and q along column and row for x and y, and by what is left for z.
    p = (a * intrinsics.fx) * placed.gradient[0]
    q = (a * intrinsics.fy) * placed.gradient[1]
    along_z = r - p * x - q * y
    rows = np.empty((6, len(r)))
    rows[0] = along_z * y - q
    rows[1] = p - along_z * x
    rows[2] = q * x - p * y
    rows[3] = p * r
    rows[4] = q * r
    rows[5] = along_z * r
    return rows
