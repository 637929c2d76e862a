"""Scale from the robot's own motion: two views, and the odometry between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.lens import PINHOLE, Lens
from lotus2_ros.geometry.rigid import from_rotation_vector, is_rigid, rotation_vector
from lotus2_ros.geometry.scale.epipolar import Epipolar, Rays, epipolar, pose_jacobians
from lotus2_ros.geometry.scale.estimate import NoScale, References, ScaleEstimate
from lotus2_ros.geometry.scale.fit import fit_scale
from lotus2_ros.geometry.scale.pose_refinement import (
    JointFit,
    fit_with_pose_error,
    variance_by_pose,
)
from lotus2_ros.geometry.scale.quantile import median
from lotus2_ros.geometry.scale.sampling import Places, places_at, sample_disparity
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


class OdometrySamples(NamedTuple):
    """Tracked points and the motion between them, whatever is predicted; see `odometry_samples`.

    Attributes:
        places: of N points in the image.
        rays: of them, in both images.
        lines: the same along and across their epipolar lines.
        pose: (4, 4), optical frame now -> optical frame at the previous image.
        prior: (6,) standard deviations of its error, rotation vector [rad] and translation [m].
        sigma: standard deviation of a normalised coordinate of both images together.
        seed: of what is drawn.
    """

    places: Places
    rays: Rays
    lines: Epipolar
    pose: Float64Array
    prior: Float64Array
    sigma: float
    seed: int


def odometry_samples(
    tracks: Tracks,
    current_to_previous: Float64Array,
    intrinsics: Intrinsics,
    *,
    lens: Lens = PINHOLE,
    noise: OdometryNoise | None = None,
    seed: int = 0,
) -> OdometrySamples | NoScale:
    """What tracked points and odometry say together, before anything is predicted.

    Args:
        tracks: points in the previous and the current image.
        current_to_previous: (4, 4), optical frame now -> optical frame at the previous image, from
            odometry.
        intrinsics: camera of both images.
        lens: its distortion; the default is rectified images.
        noise: None is `OdometryNoise()`.
        seed: of the robust fit.

    Returns:
        The samples; or why there are none: 'bad transform', 'too few tracks', 'motion too small',
        'pure rotation', 'tracks contradict odometry'.
    """
    noise = noise or OdometryNoise()
    pose = np.asarray(current_to_previous, dtype=np.float64)
    if not is_rigid(pose):
        return NoScale('bad transform')
    pixels, rays = _normalised(tracks, intrinsics, lens)
    if len(pixels) < _FEWEST:
        return NoScale('too few tracks')
    distance = float(np.linalg.norm(pose[:3, 3]))
    angle = float(np.linalg.norm(rotation_vector(pose[:3, :3])))
    turn = float(np.hypot(noise.rotation * angle, np.radians(noise.rotation_deg)))
    sigma = np.sqrt(2.0) * noise.pixel / intrinsics.fx
    lines = epipolar(pose, rays)
    problem = _motion(rays, lines, distance, float(np.hypot(sigma, turn)), intrinsics.fx)
    if problem is not None:
        return problem
    prior = np.array([turn] * 3 + [max(noise.translation * distance, 1e-9)] * 3)
    places = places_at(pixels, (intrinsics.height, intrinsics.width), reach=_EDGE_REACH)
    return OdometrySamples(places, rays, lines, pose, prior, sigma, seed)


def odometry_scale(
    disparity: Float32Array, samples: OdometrySamples | NoScale
) -> ScaleEstimate | NoScale:
    """Fit 1 / z = a d + b to tracked points, triangulated over the distance moved.

    The pose's error is estimated along with (a, b), mostly by the distance of the points from their
    epipolar lines; see `fit_with_pose_error`.

    Args:
        disparity: (H, W) predicted for the current image, NaN where unknown.
        samples: what `odometry_samples` gave for it.

    Returns:
        The estimate; or why there is none: what `odometry_samples` says, 'camera of another size',
        'motion too small', 'tracks contradict odometry', 'too few samples', or what `fit_scale`
        says.
    """
    if isinstance(samples, NoScale):
        return samples
    if disparity.shape != samples.places.size:
        return NoScale('camera of another size')
    sampled = sample_disparity(disparity, samples.places)
    smooth = np.flatnonzero(sampled.smooth)
    rays, lines = samples.rays.at(smooth), samples.lines.at(smooth)
    return _refined(samples, sampled.value[smooth], rays, lines)


def _normalised(tracks: Tracks, intrinsics: Intrinsics, lens: Lens) -> tuple[Float64Array, Rays]:
    """Pixels now, (N, 2), and normalised coordinates, of tracks with both."""
    pixels = np.asarray(tracks.current, dtype=np.float64)
    now = lens.normalise(pixels, intrinsics)
    before = lens.normalise(np.asarray(tracks.previous, dtype=np.float64), intrinsics)
    valid = np.isfinite(now).all(axis=1) & np.isfinite(before).all(axis=1)
    both = (np.ascontiguousarray(values[valid].T) for values in (now, before))
    return pixels[valid], Rays(*both)


def _motion(
    rays: Rays, lines: Epipolar, distance: float, floor: float, focal: float
) -> NoScale | None:
    """Whether the points moved for lack of translation, against what noise alone makes of them."""
    if median(np.abs(lines.parallax)) >= _PARALLAX_GATE * floor:
        if median(np.abs(lines.off)) > _EPIPOLAR_GATE * floor:
            return NoScale('tracks contradict odometry')
        # Parallax that odometry cannot have caused at any depth is not the robot's.
        if distance < 1e-4:
            return NoScale('tracks contradict odometry')
        return None
    rotation = lines.turned[:2] / lines.turned[2] - rays.now
    if focal * median(np.hypot(*rotation)) > _TURNING:
        return NoScale('pure rotation')
    return NoScale('motion too small')


def _refined(
    samples: OdometrySamples, disparity: Float64Array, rays: Rays, lines: Epipolar
) -> ScaleEstimate | NoScale:
    """Fit, correct the pose by what the fit and the epipolar lines say of it, fit again."""
    prior, sigma = samples.prior, samples.sigma
    estimate = _fit(samples, disparity, rays, lines, None)
    if isinstance(estimate, NoScale):
        return estimate
    joint = JointFit(estimate.a, estimate.b, np.zeros(6), np.diag([0.0, 0.0, *prior**2]))
    design = np.zeros((2, 2 * len(disparity)))
    design[0, : len(disparity)] = disparity * lines.length
    design[1, : len(disparity)] = lines.length
    target = np.concatenate([lines.parallax, lines.off])
    for _ in range(_REFINEMENTS):
        smooth = np.maximum(joint.a * disparity + joint.b, 0.0)
        along, across = pose_jacobians(lines, rays, smooth)
        model = np.hypot(sigma, _MODEL_NOISE * smooth * lines.length)
        refined = fit_with_pose_error(
            design,
            target,
            np.concatenate([model, np.full_like(model, sigma)]),
            np.concatenate([along, across], axis=1),
            prior,
            joint,
        )
        if refined is None:
            return estimate
        joint = refined
    if joint.covariance[0, 0] > _LEAST_CERTAIN**2:
        return NoScale('motion too small')
    lines = epipolar(_corrected(samples.pose, joint.pose), rays)
    estimate = _fit(samples, disparity, rays, lines, joint)
    if isinstance(estimate, NoScale):
        return estimate
    return replace(estimate, covariance=joint.covariance[:2, :2])


def _fit(
    samples: OdometrySamples,
    disparity: Float64Array,
    rays: Rays,
    lines: Epipolar,
    joint: JointFit | None,
) -> ScaleEstimate | NoScale:
    """The robust fit to points near their epipolar lines, with what is left (6, 6) in sigma."""
    left = np.diag(samples.prior**2) if joint is None else joint.covariance[2:, 2:]
    triangulated = lines.parallax / lines.length
    smooth = np.maximum(triangulated if joint is None else joint.a * disparity + joint.b, 0.0)
    along, across = pose_jacobians(lines, rays, smooth)
    spread = np.sqrt(samples.sigma**2 + variance_by_pose(along, left))
    off = np.sqrt(samples.sigma**2 + variance_by_pose(across, left))
    sigma = np.hypot(spread / lines.length, _MODEL_NOISE * smooth)
    near = np.abs(lines.off) < _EPIPOLAR_GATE * off
    keep = np.flatnonzero(near)
    if len(keep) < _FEWEST:
        few = len(near) < 2 * _FEWEST or near.mean() > 0.5
        return NoScale('too few samples' if few else 'tracks contradict odometry')
    references = References(disparity[keep], triangulated[keep], sigma[keep])
    start = None if joint is None else (joint.a, joint.b)
    return fit_scale(references, source='odometry', seed=samples.seed, start=start)


def _corrected(pose: Float64Array, error: Float64Array) -> Float64Array:
    """The pose with its error (rotation vector, translation) taken out."""
    result = pose.copy()
    result[:3, :3] = from_rotation_vector(error[:3], np.zeros(3))[:3, :3] @ pose[:3, :3]
    result[:3, 3] += error[3:]
    return result
