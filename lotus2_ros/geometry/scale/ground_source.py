"""Scale from the camera's height over a flat ground."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.ground_plane import GroundPlane, lies_flat
from lotus2_ros.geometry.scale.estimate import NoScale, References, ScaleEstimate
from lotus2_ros.geometry.scale.fit import fit_scale
from lotus2_ros.geometry.scale.quantile import quantiles
from lotus2_ros.types import BoolArray, Float32Array

Float64Array = NDArray[np.float64]

_PIXELS = 4000
"""Pixels looked at, on a grid over the image."""

_FARTHEST = 15.0
"""Ground beyond it says little of the scale, and all of the error of the tilt [m]."""

_FEWEST = 100
_HYPOTHESES = 200
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


class _Pixels(NamedTuple):
    """A grid over the image, flat.

    Attributes:
        disparity: (N,) predicted, finite.
        ground: (N,) 1 / z that the ground would have [1/m]; 0 or negative above the horizon.
        candidate: (N,) bool, what may be ground.
        below_horizon: pixels that would show the ground if nothing stood on it.
        flat: whether candidates were chosen by their normals.
        rays: (N, 2).
        slack: how far 1 / z may be off by the tilt alone, twice its sigma [1/m].
    """

    disparity: Float64Array
    ground: Float64Array
    candidate: BoolArray
    below_horizon: int
    flat: bool
    rays: Float64Array
    slack: float


def ground_scale(
    disparity: Float32Array,
    rays: NDArray[np.floating],
    plane: GroundPlane,
    *,
    normals: Float32Array | None = None,
    seed: int = 0,
) -> ScaleEstimate | NoScale:
    """Fit 1 / z = a d + b to the ground.

    On the ground 1 / z is known for every pixel, so disparity there determines a and b. Which
    pixels are ground is found by it too: those of the largest set that is on the plane under one
    (a, b) with little under the plane and nothing behind infinity. (A wall seen by a camera that
    looks up is linear in the pixel as well, but its upper part would lie behind infinity.)

    Args:
        disparity: (H, W) predicted, NaN where unknown.
        rays: (H, W, 2) of its camera, as (x / z, y / z); NaN where the lens sees nothing.
        plane: height and direction of the ground, with their accuracy.
        normals: (H, W, 3) facing the camera, in the optical frame; ground must lie flat by them.
        seed: of the hypotheses.

    Returns:
        The estimate, its covariance with the errors of height and tilt; or why there is none: 'bad
        ground plane', 'camera of another size', 'no prediction', 'no ground in view', 'ground not
        planar', 'too little ground in view', or what `fit_scale` says.
    """
    if not plane.is_usable:
        return NoScale('bad ground plane')
    if disparity.shape != rays.shape[:2]:
        return NoScale('camera of another size')
    if normals is not None and normals.shape[:2] != disparity.shape:
        return NoScale('camera of another size')
    pixels = _pixels(disparity, rays, plane, normals)
    if len(pixels.disparity) == 0:
        return NoScale('no prediction')
    if np.count_nonzero(pixels.candidate) < _FEWEST:
        return NoScale('no ground in view')
    found = _search(pixels, np.random.default_rng(seed))
    if found is None:
        return NoScale('no ground in view')
    estimate: ScaleEstimate | NoScale = NoScale('no ground in view')
    for _ in range(_ROUNDS):
        on = pixels.candidate & _on_plane(pixels, *found)
        doubt = _doubt(pixels, on, *found)
        if doubt is not None:
            return doubt
        ground = pixels.ground[on]
        references = References(pixels.disparity[on], ground, _NOISE * ground)
        estimate = fit_scale(references, source='ground', seed=seed, start=found)
        if isinstance(estimate, NoScale):
            return estimate
        found = estimate.a, estimate.b
    if isinstance(estimate, NoScale):
        return estimate
    on = pixels.candidate & _on_plane(pixels, *found)
    share = np.count_nonzero(on) / np.count_nonzero(pixels.candidate)
    covariance = estimate.covariance + _plane_covariance(pixels, on, plane, estimate.a)
    return replace(estimate, covariance=covariance, inlier_share=float(share))


def _pixels(
    disparity: Float32Array,
    rays: NDArray[np.floating],
    plane: GroundPlane,
    normals: Float32Array | None,
) -> _Pixels:
    stride = max(1, int(np.sqrt(disparity.size / _PIXELS)))
    d = disparity[::stride, ::stride].astype(np.float64)
    r = rays[::stride, ::stride].astype(np.float64)
    ground = plane.inverse_depth(r)
    finite = np.isfinite(d) & np.isfinite(ground)
    candidate = ground > 1.0 / _FARTHEST
    below = int(np.count_nonzero(candidate & finite))
    if normals is not None:
        candidate &= lies_flat(normals[::stride, ::stride], plane, _STEEPEST_DEG)
    return _Pixels(
        d[finite],
        ground[finite],
        candidate[finite],
        below,
        normals is not None,
        r[finite],
        2.0 * float(np.radians(plane.tilt_sigma_deg)) / plane.height,
    )


def _search(pixels: _Pixels, rng: np.random.Generator) -> tuple[float, float] | None:
    """The (a, b) with the most ground and the least under it, of many through two pixels each."""
    candidates = np.flatnonzero(pixels.candidate)
    one, other = rng.choice(candidates, (2, _HYPOTHESES))
    with np.errstate(divide='ignore', invalid='ignore'):
        a = (pixels.ground[one] - pixels.ground[other]) / (
            pixels.disparity[one] - pixels.disparity[other]
        )
    possible = np.isfinite(a) & (a > 0.0)
    if not possible.any():
        return None
    a = a[possible]
    b = pixels.ground[one[possible]] - a * pixels.disparity[one[possible]]
    some = rng.permutation(len(pixels.disparity))[: _PIXELS // 4]
    # One hypothesis a row; in single precision, as this only chooses.
    found = np.multiply.outer(a, pixels.disparity[some]).astype(np.float32)
    found += b[:, None].astype(np.float32)
    ground, candidate = pixels.ground[some], pixels.candidate[some]
    low, high = (1.0 + sign * _BAND * _NOISE for sign in (-1.0, 1.0))
    below = found < _floor(pixels, ground).astype(np.float32)
    near = found[:, candidate]
    on = (near > (low * ground[candidate]).astype(np.float32)) & (
        near < (high * ground[candidate]).astype(np.float32)
    )
    best = int((np.count_nonzero(on, axis=1) - np.count_nonzero(below, axis=1)).argmax())
    return float(a[best]), float(b[best])


def _on_plane(pixels: _Pixels, a: float, b: float) -> BoolArray:
    off = np.abs(a * pixels.disparity + b - pixels.ground)
    return np.asarray(off < _BAND * _NOISE * pixels.ground, dtype=np.bool_)


def _below_plane(pixels: _Pixels, a: float, b: float) -> BoolArray:
    """Farther than the ground, or than infinity: by more than the noise of either."""
    floor = _floor(pixels, pixels.ground)
    return np.asarray(a * pixels.disparity + b < floor, dtype=np.bool_)


def _floor(pixels: _Pixels, ground: Float64Array) -> Float64Array:
    """The least 1 / z that noise and tilt make of the ground's, and of infinity."""
    nearest = np.maximum(ground, 1.0 / _FARTHEST)
    return np.maximum(ground, 0.0) - 2.0 * _BAND * _NOISE * nearest - pixels.slack


def _doubt(pixels: _Pixels, on: BoolArray, a: float, b: float) -> NoScale | None:
    """Why the pixels on the plane are not the ground."""
    count = int(np.count_nonzero(on))
    if pixels.flat and count < _LEAST_SHARE_OF_FLAT * np.count_nonzero(pixels.candidate):
        return NoScale('ground not planar')
    share = _LEAST_SHARE_BY_NORMALS if pixels.flat else _LEAST_SHARE
    if count < max(_FEWEST, share * pixels.below_horizon):
        return NoScale('no ground in view')
    if np.count_nonzero(_below_plane(pixels, a, b)) > _MOST_BELOW * count:
        return NoScale('no ground in view')
    far, near = quantiles(pixels.ground[on], 0.05, 0.95)
    if near < _LEAST_EXTENT * far:
        return NoScale('too little ground in view')
    return None


def _plane_covariance(pixels: _Pixels, on: BoolArray, plane: GroundPlane, a: float) -> Float64Array:
    """Covariance of (log a, b) that comes from height and tilt, (2, 2).

    The fit is linear in the ground's 1 / z, so it is propagated through the weighted normal
    equations: d(a, b) = (A^T W A)^-1 A^T W dq with q = -(up . ray) / h.
    """
    ground, rays = pixels.ground[on], pixels.rays[on]
    design = np.column_stack([pixels.disparity[on], np.ones(len(ground))])
    weighted = design / ground[:, None] ** 2
    gain = np.linalg.solve(weighted.T @ design, weighted.T)
    directions = np.column_stack([rays, np.ones(len(rays))])
    # up moves by w x up, so q by -(w x up) . ray / h = -w . (up x ray) / h.
    tilt = -np.cross(plane.unit_up, directions) / plane.height * np.radians(plane.tilt_sigma_deg)
    height = -ground[:, None] * plane.height_sigma
    change = gain @ np.column_stack([tilt, height])
    change[0] /= a
    return np.asarray(change @ change.T, dtype=np.float64)
