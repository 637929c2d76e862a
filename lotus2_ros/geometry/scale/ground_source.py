"""Scale from the camera's height over a flat ground."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.ground_plane import GroundPlane, lies_flat
from lotus2_ros.geometry.scale.choice import draws, some
from lotus2_ros.geometry.scale.estimate import NoScale, References, ScaleEstimate
from lotus2_ros.geometry.scale.fit import fit_scale
from lotus2_ros.geometry.scale.quantile import quantiles
from lotus2_ros.geometry.scale.two_by_two import inverse
from lotus2_ros.types import BoolArray, Float32Array

Float64Array = NDArray[np.float64]

_PIXELS = 4000
"""Pixels looked at, on a grid over the image."""

_FARTHEST = 15.0
"""Ground beyond it says little of the scale, and all of the error of the tilt [m]."""

_FEWEST = 100
_HYPOTHESES = 150
_JUDGES = 400
"""Pixels that choose among the hypotheses."""

_NOISE = 0.03
"""Standard deviation of the predicted 1 / z of the ground, as a share of it."""

_BAND = 3.0
"""Ground lies within so many standard deviations of the plane."""

_LEAST_SHARE = 0.25
"""Of the pixels under the horizon: with less ground in view, walls and table tops pass for it."""

_LEAST_SHARE_BY_NORMALS = 0.05
"""The same where normals have told walls apart."""

_LEAST_SHARE_OF_FLAT = 0.35
"""Of the pixels that lie flat by their normals: with less on the plane, it is not one plane."""

_LEAST_EXTENT = 1.3
"""Farthest to nearest ground: a narrower strip determines no shift."""

_MOST_BELOW = 0.35
"""Pixels under the ground, per pixel on it: nothing is there, so more of them contradict it."""

_STEEPEST_DEG = 30.0
_ROUNDS = 3
_SETTLED = 0.2
"""Change of the solution, in standard deviations, with which the rounds end."""


class GroundSamples(NamedTuple):
    """A grid over the image and what the ground would be there; see `ground_samples`.

    Attributes:
        size: (height, width) of the image.
        plane: the ground.
        pixels: (N,) places in the flat image.
        rays: (N, 2) of them, finite.
        inverse_depth: (N,) 1 / z that the ground would have [1/m]; 0 or negative above the horizon.
        candidate: (N,) bool, what may be ground.
        floor: (N,) the least 1 / z that noise and tilt make of the ground's, or of infinity [1/m].
        seed: of what is drawn.
    """

    size: tuple[int, int]
    plane: GroundPlane
    pixels: NDArray[np.intp]
    rays: Float64Array
    inverse_depth: Float64Array
    candidate: BoolArray
    floor: Float64Array
    seed: int


class _Seen(NamedTuple):
    """The pixels of the grid for which something is predicted; as in `GroundSamples`, and more.

    Attributes:
        rays: (N, 2).
        ground: (N,) its 1 / z [1/m].
        floor: (N,) the least of it [1/m].
        disparity: (N,) predicted.
        candidate: (N,) bool.
        below_horizon: pixels that would show the ground if nothing stood on it.
        flat: whether candidates were chosen by their normals.
        seed: of what is drawn.
    """

    rays: Float64Array
    ground: Float64Array
    floor: Float64Array
    disparity: Float64Array
    candidate: BoolArray
    below_horizon: int
    flat: bool
    seed: int


def ground_samples(
    rays: NDArray[np.floating], plane: GroundPlane, *, seed: int = 0
) -> GroundSamples | NoScale:
    """Where the ground would be in an image.

    Args:
        rays: (H, W, 2) of its camera, as (x / z, y / z); NaN where the lens sees nothing.
        plane: height and direction of the ground, with their accuracy.
        seed: of the hypotheses.

    Returns:
        The samples; or why there are none: 'bad ground plane'.
    """
    if not plane.is_usable:
        return NoScale('bad ground plane')
    height, width = rays.shape[:2]
    stride = max(1, int(np.sqrt(height * width / _PIXELS)))
    on_grid = rays[::stride, ::stride].astype(np.float64)
    inverse_depth = plane.inverse_depth(on_grid)
    rows, columns = np.nonzero(np.isfinite(inverse_depth))
    on_grid, inverse_depth = on_grid[rows, columns], inverse_depth[rows, columns]
    slack = 2.0 * float(np.radians(plane.tilt_sigma_deg)) / plane.height
    nearest = np.maximum(inverse_depth, 1.0 / _FARTHEST)
    return GroundSamples(
        (height, width),
        plane,
        stride * (rows * width + columns),
        on_grid,
        inverse_depth,
        inverse_depth > 1.0 / _FARTHEST,
        np.maximum(inverse_depth, 0.0) - 2.0 * _BAND * _NOISE * nearest - slack,
        seed,
    )


def ground_scale(
    disparity: Float32Array,
    samples: GroundSamples | NoScale,
    *,
    normals: Float32Array | None = None,
) -> ScaleEstimate | NoScale:
    """Fit 1 / z = a d + b to the ground.

    On the ground 1 / z is known for every pixel, so disparity there determines a and b. Which
    pixels are ground is found by it too: those of the largest set that is on the plane under one
    (a, b) with little under the plane and nothing behind infinity. (A wall seen by a camera that
    looks up is linear in the pixel as well, but its upper part would lie behind infinity.)

    Args:
        disparity: (H, W) predicted, NaN where unknown.
        samples: what `ground_samples` gave for its camera.
        normals: (H, W, 3) facing the camera, in the optical frame; ground must lie flat by them.

    Returns:
        The estimate, its covariance with the errors of height and tilt; or why there is none: what
        `ground_samples` says, 'camera of another size', 'no prediction', 'no ground in view',
        'ground not planar', 'too little ground in view', or what `fit_scale` says.
    """
    if isinstance(samples, NoScale):
        return samples
    if disparity.shape != samples.size:
        return NoScale('camera of another size')
    if normals is not None and normals.shape[:2] != disparity.shape:
        return NoScale('camera of another size')
    seen = _seen(disparity, samples, normals)
    if len(seen.disparity) == 0:
        return NoScale('no prediction')
    if np.count_nonzero(seen.candidate) < _FEWEST:
        return NoScale('no ground in view')
    found = _search(seen)
    if found is None:
        return NoScale('no ground in view')
    estimate: ScaleEstimate | NoScale = NoScale('no ground in view')
    for _ in range(_ROUNDS):
        on = np.flatnonzero(_on_plane(seen, *found))
        doubt = _doubt(seen, on, *found)
        if doubt is not None:
            return doubt
        ground = seen.ground[on]
        references = References(seen.disparity[on], ground, _NOISE * ground)
        estimate = fit_scale(references, source='ground', seed=seen.seed, start=found)
        if isinstance(estimate, NoScale):
            return estimate
        before, found = found, (estimate.a, estimate.b)
        if _settled(estimate, *before):
            break
    if isinstance(estimate, NoScale):
        return estimate
    on = np.flatnonzero(_on_plane(seen, *found))
    share = len(on) / np.count_nonzero(seen.candidate)
    covariance = estimate.covariance + _plane_covariance(seen, on, samples.plane, estimate.a)
    return replace(estimate, covariance=covariance, inlier_share=float(share))


def _seen(disparity: Float32Array, samples: GroundSamples, normals: Float32Array | None) -> _Seen:
    d = disparity.reshape(-1).take(samples.pixels).astype(np.float64)
    rays, ground, floor = samples.rays, samples.inverse_depth, samples.floor
    below = candidate = samples.candidate
    if normals is not None:
        facing = normals.reshape(-1, 3).take(samples.pixels, axis=0)
        candidate = candidate & lies_flat(facing, samples.plane, _STEEPEST_DEG)
    finite = np.isfinite(d)
    if not finite.all():
        d, rays, ground, floor = d[finite], rays[finite], ground[finite], floor[finite]
        below, candidate = below[finite], candidate[finite]
    count = int(np.count_nonzero(below))
    return _Seen(rays, ground, floor, d, candidate, count, normals is not None, samples.seed)


def _search(seen: _Seen) -> tuple[float, float] | None:
    """The (a, b) with the most ground and the least under it, of many through two pixels each."""
    candidates = np.flatnonzero(seen.candidate)
    drawn = (len(candidates) * draws(2 * _HYPOTHESES, seen.seed)).astype(np.intp)
    one, other = candidates[drawn].reshape(2, _HYPOTHESES)
    with np.errstate(divide='ignore', invalid='ignore'):
        a = (seen.ground[one] - seen.ground[other]) / (seen.disparity[one] - seen.disparity[other])
    possible = np.flatnonzero(np.isfinite(a) & (a > 0.0))
    if len(possible) == 0:
        return None
    a, one = a[possible], one[possible]
    b = seen.ground[one] - a * seen.disparity[one]
    judges = some(len(seen.disparity), _JUDGES, seen.seed)
    table = np.stack([seen.disparity[judges], np.ones(len(judges)), -seen.ground[judges]])
    band = np.where(seen.candidate[judges], _BAND * _NOISE * seen.ground[judges], 0.0)
    floor = seen.floor[judges] - seen.ground[judges]
    # One hypothesis a row: 1 / z over the ground's. In single precision, as this only chooses.
    off = np.stack([a, b, np.ones_like(a)], axis=1).astype(np.float32) @ table.astype(np.float32)
    below = off < floor.astype(np.float32)
    on = np.abs(off, out=off) < band.astype(np.float32)
    score = np.subtract(on, below, dtype=np.float32) @ np.ones(len(judges), dtype=np.float32)
    best = int(score.argmax())
    return float(a[best]), float(b[best])


def _on_plane(seen: _Seen, a: float, b: float) -> BoolArray:
    off = np.abs(a * seen.disparity + b - seen.ground)
    return np.asarray(seen.candidate & (off < _BAND * _NOISE * seen.ground), dtype=np.bool_)


def _doubt(seen: _Seen, on: NDArray[np.intp], a: float, b: float) -> NoScale | None:
    """Why the pixels on the plane are not the ground."""
    count = len(on)
    if seen.flat and count < _LEAST_SHARE_OF_FLAT * np.count_nonzero(seen.candidate):
        return NoScale('ground not planar')
    share = _LEAST_SHARE_BY_NORMALS if seen.flat else _LEAST_SHARE
    if count < max(_FEWEST, share * seen.below_horizon):
        return NoScale('no ground in view')
    # Farther than the ground, or than infinity: by more than the noise of either.
    below = a * seen.disparity + b < seen.floor
    if np.count_nonzero(below) > _MOST_BELOW * count:
        return NoScale('no ground in view')
    far, near = quantiles(seen.ground[on], 0.05, 0.95)
    if near < _LEAST_EXTENT * far:
        return NoScale('too little ground in view')
    return None


def _settled(estimate: ScaleEstimate, a: float, b: float) -> bool:
    """Whether an estimate is as good as (a, b): the same pixels are on the plane under both."""
    sigma = np.sqrt(np.diag(estimate.covariance))
    change = abs(math.log(estimate.a / a)), abs(estimate.b - b)
    return bool(change[0] < _SETTLED * sigma[0] and change[1] < _SETTLED * sigma[1])


def _plane_covariance(
    seen: _Seen, on: NDArray[np.intp], plane: GroundPlane, a: float
) -> Float64Array:
    """Covariance of (log a, b) that comes from height and tilt, (2, 2).

    The fit is linear in the ground's 1 / z, so it is propagated through the weighted normal
    equations: d(a, b) = (A^T W A)^-1 A^T W dq with q = -(up . ray) / h.
    """
    ground = seen.ground[on]
    # By rows, with the weights in both factors: one product gives all sums.
    unit = 1.0 / ground
    table = np.empty((6, len(on)))
    table[0], table[1] = seen.disparity[on] * unit, unit
    # up moves by w x up, so q by -(w x up) . ray / h = -w . (up x ray) / h: what the sums over the
    # rays x, y and 1 give, crossed with up.
    table[2], table[3] = seen.rays[on].T * unit
    table[4], table[5] = unit, 1.0  # the last one: q itself
    sums = table[:2] @ table.T  # (2, 6)
    gain = inverse(sums[:, :2]) @ sums[:, 2:]
    x, y, z = plane.unit_up
    crossed = gain[:, :3] @ np.array([[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]])
    tilt = -crossed / plane.height * np.radians(plane.tilt_sigma_deg)
    change = np.column_stack([tilt, -gain[:, 3] * plane.height_sigma])
    change[0] /= a
    return np.asarray(change @ change.T, dtype=np.float64)
