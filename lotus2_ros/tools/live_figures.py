"""What one image's results are worth, against the truth about it; plain arrays in, numbers out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.alignment import align_disparity
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.occupancy import check, free_cells
from lotus2_ros.geometry.projection import unproject
from lotus2_ros.geometry.rigid import transform_points
from lotus2_ros.ros import plan
from lotus2_ros.settings import NodeSettings
from lotus2_ros.simulation.occupancy import BAND
from lotus2_ros.types import BoolArray, Float32Array

if TYPE_CHECKING:
    from lotus2_ros.ros.truth_listener import Moment, Scan

Figures = dict[str, float]
Float64Array = NDArray[np.float64]

NEAREST, FARTHEST = 0.2, 20.0
"""True depths that are judged [m]."""

_ROUNDS = 15
_LEAST_RESIDUAL = 1e-3
_OBSTACLES = 1500
_SKY_AT = 50.0
_UNCHANGED = 1e-3
"""Where true depth changes by less than this share, nothing moved."""


def depth_figures(depth: Float32Array, truth: Float32Array) -> Figures:
    """AbsRel and delta1 of metric depth, and the share of judged pixels that have any."""
    judged = (truth >= NEAREST) & (truth <= FARTHEST)
    both = judged & np.isfinite(depth)
    if not both.any():
        return {}
    ratio = depth[both] / truth[both]
    return {
        'abs_rel': float(np.mean(np.abs(ratio - 1))),
        'delta1': float(np.mean(np.maximum(ratio, 1 / ratio) < 1.25)),
        'depth_share': float(both.sum() / judged.sum()),
    }


def oracle_abs_rel(disparity: Float32Array, truth: Float32Array) -> float:
    """AbsRel after the best scale and shift for this very image; NaN if nothing can be judged.

    Least squares to 1 / z, as the protocol of affine-invariant depth has it, is where it begins;
    from there least absolute relative error of depth, by weights that are renewed; the best counts.
    """
    judged = (truth >= NEAREST) & (truth <= FARTHEST) & np.isfinite(disparity)
    if judged.sum() < 10:
        return math.nan
    d, w = disparity[judged].astype(np.float64), 1 / truth[judged].astype(np.float64)
    design = np.column_stack([d, np.ones(len(d))])
    a, b = align_disparity(d.astype(np.float32), w.astype(np.float32))
    best = math.inf
    for _ in range(_ROUNDS):
        # Depth at or behind infinity counts as far beyond what is judged.
        fitted = np.maximum(a * d + b, 1 / (4 * FARTHEST))
        error = np.abs(w / fitted - 1)
        best = min(best, float(error.mean()))
        weights = 1 / (fitted**2 * np.maximum(error, _LEAST_RESIDUAL))
        normal = (design * weights[:, None]).T
        a, b = (
            float(value) for value in np.linalg.lstsq(normal @ design, normal @ w, rcond=None)[0]
        )
    return best


def scale_of(depth: Float32Array, disparity: Float32Array) -> tuple[float, float] | None:
    """The scale and shift that were applied, from what was published: 1 / z = a d + b."""
    both = np.isfinite(depth) & np.isfinite(disparity) & (depth > 0)
    if both.sum() < 10:
        return None
    a, b = align_disparity(disparity, np.reciprocal(np.where(both, depth, 1)), both)
    return (a, b) if a > 0 else None


def normal_figures(normals: Float32Array, truth: Float32Array) -> Figures:
    """Mean and median angle between normals [deg]."""
    judged = np.isfinite(truth[..., 0]) & np.isfinite(normals[..., 0])
    if not judged.any():
        return {}
    cosine = (normals[judged] * truth[judged]).sum(axis=-1).clip(-1, 1)
    angles = np.degrees(np.arccos(cosine))
    return {
        'normals_mean_deg': float(angles.mean()),
        'normals_median_deg': float(np.median(angles)),
    }


def cloud_figures(points: Float32Array, truth: Float32Array, camera: Intrinsics) -> Figures:
    """Distance between an organized cloud's points and the true ones, as a share of the range."""
    judged = (truth >= NEAREST) & (truth <= FARTHEST) & np.isfinite(points[..., 2])
    if not judged.any():
        return {}
    true = unproject(np.where(judged, truth, 1).astype(np.float32), camera)[judged]
    away = np.linalg.norm(points[judged] - true, axis=-1) / np.linalg.norm(true, axis=-1)
    return {'cloud_error': float(away.mean()), 'cloud_error_median': float(np.median(away))}


def nav_figures(
    cloud: Float32Array, truth: Float32Array, camera: Intrinsics, on_base: Float64Array
) -> Figures:
    """Share of true obstacles found, and of free cells marked (`geometry.occupancy`)."""
    ends, real = _true_points(truth, camera, on_base)
    obstacles = ends[real & (ends[:, 2] >= BAND[0]) & (ends[:, 2] <= BAND[1])]
    obstacles = obstacles[:: max(1, len(obstacles) // _OBSTACLES)]
    eye = on_base[:3, 3]
    free = free_cells(ends, obstacles, camera=eye, band=BAND)
    on_ground = transform_points(on_base, cloud.reshape(-1, 3).astype(np.float64))
    result = check(on_ground, obstacles, free, camera=eye, band=BAND)
    return {'nav_found': result.found_share, 'nav_marked': result.marked_share}


def scan_figures(
    scan: Scan,
    truth: Float32Array,
    camera: Intrinsics,
    on_base: Float64Array,
    node: NodeSettings,
) -> Figures:
    """Beams whose range is true within 10 cm or 5%, of those that should hit something."""
    ends, real = _true_points(truth, camera, on_base, step=1)
    low, high = node.scan_min_height, node.scan_max_height
    hits = ends[real & (ends[:, 2] >= low) & (ends[:, 2] <= high)]
    beam = np.rint((np.arctan2(hits[:, 1], hits[:, 0]) - scan.angle_min) / scan.increment).astype(
        int
    )
    inside = (beam >= 0) & (beam < len(scan.ranges))
    nearest = np.full(len(scan.ranges), np.inf)
    np.minimum.at(nearest, beam[inside], np.hypot(hits[inside, 0], hits[inside, 1]))
    asked = (nearest <= scan.range_max) & ~np.isnan(scan.ranges)
    if not asked.any():
        return {}
    error = np.abs(scan.ranges[asked] - nearest[asked])
    return {'scan_right': float(np.mean(error <= np.maximum(0.1, 0.05 * nearest[asked])))}


def flicker(first: Float32Array, second: Float32Array, still: BoolArray) -> float:
    """Mean change between two images where nothing moved, as a share of the first's spread."""
    both = still & np.isfinite(first) & np.isfinite(second)
    if both.mean() < 0.05:
        return math.nan
    low, high = (float(q) for q in np.quantile(first[both], [0.02, 0.98]))
    if not high > low:
        return math.nan
    return float(np.mean(np.abs(second[both] - first[both]))) / (high - low)


def unchanged(first: Float32Array, second: Float32Array) -> BoolArray:
    """(H, W) bool, where the truth of two images is the same; sky stays sky."""
    with np.errstate(invalid='ignore'):
        same = np.abs(second - first) <= _UNCHANGED * first
    return np.asarray((same & np.isfinite(first)) | (np.isinf(first) & np.isinf(second)))


def moment_figures(moment: Moment, node: NodeSettings, *, occupancy: bool) -> Figures:
    """Everything that one image's results allow.

    Args:
        moment: with its truth.
        node: heights of the scan.
        occupancy: judge the navigation cloud and the scan too; they take longest.
    """
    truth, camera, on_base = moment.depth, moment.camera, moment.on_base
    if truth is None or camera is None or on_base is None:
        raise ValueError(f'the truth about the image of {moment.stamp} ns has not come')
    figures: Figures = {}
    results = {k: v for k, v in moment.results.items() if _fits(v, truth)}
    depth, disparity = results.get(plan.DEPTH_IMAGE), results.get(plan.DISPARITY)
    if depth is not None:
        figures |= depth_figures(depth, truth)
    if disparity is not None:
        figures['oracle_abs_rel'] = oracle_abs_rel(disparity, truth)
    if 'abs_rel' in figures and 'oracle_abs_rel' in figures:
        figures['ratio'] = figures['abs_rel'] / figures['oracle_abs_rel']
    scale = None if depth is None or disparity is None else scale_of(depth, disparity)
    if scale is not None:
        figures['a'], figures['b'] = scale
    if plan.NORMALS_IMAGE in results and moment.normals is not None:
        figures |= normal_figures(results[plan.NORMALS_IMAGE], moment.normals)
    if plan.POINTS in results:
        figures |= cloud_figures(results[plan.POINTS], truth, camera)
    if occupancy and plan.NAV_POINTS in results:
        figures |= nav_figures(results[plan.NAV_POINTS], truth, camera, on_base)
    if occupancy and plan.SCAN in results:
        figures |= scan_figures(results[plan.SCAN], truth, camera, on_base, node)
    for topic, seconds in moment.latencies.items():
        figures[f'latency {topic}'] = seconds
    return figures


def _fits(result: object, truth: Float32Array) -> bool:
    """Images and organized clouds of the truth's size; all else is free in its size."""
    if isinstance(result, np.ndarray) and result.ndim >= 2 and result.shape[0] > 1:
        return bool(result.shape[:2] == truth.shape)
    return True


def _true_points(
    truth: Float32Array, camera: Intrinsics, on_base: Float64Array, step: int = 2
) -> tuple[Float64Array, BoolArray]:
    """(N, 3) ends of the rays of every `step`-th pixel in the base frame, and which are surface."""
    far = np.where(np.isfinite(truth), truth, _SKY_AT).astype(np.float32)
    ends = unproject(far, camera)[::step, ::step].reshape(-1, 3)
    real = np.isfinite(truth)[::step, ::step].reshape(-1)
    return transform_points(on_base, ends.astype(np.float64)), real
