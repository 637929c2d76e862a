"""Spinning lidars, by MuJoCo's rays, turning while the robot moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.simulation.engine import load_mujoco
from lotus2_ros.simulation.scene import Scene
from lotus2_ros.types import AnyArray, BoolArray, Float32Array

Float64Array = NDArray[np.float64]

ELEVATIONS = {
    16: np.radians(np.linspace(-15.0, 15.0, 16)),
    64: np.radians(np.linspace(-24.8, 2.0, 64)),
}
"""Number of lines to their angles above the horizon [rad], as common lidars have them."""

_SECTORS = 18
"""The robot stands still within each of them: 3 mm at 1 m/s and 20 turns a second."""

_NEAREST = 0.3
_HIDDEN = 5
"""Geom group of what a sector cannot see."""


class LidarScan(NamedTuple):
    """One turn; only what answered.

    Attributes:
        points: (N, 3) float32 in the lidar's frame at each point's own time [m].
        intensity: (N,) float32, 0 to 1.
        ring: (N,) uint16, line from below.
        time: (N,) float32 since the beginning of the turn [s].
    """

    points: Float32Array
    intensity: Float32Array
    ring: NDArray[np.uint16]
    time: Float32Array


def scan_turn(
    scene: Scene,
    pose_at: Callable[[float], Float64Array],
    start: float,
    duration: float,
    rng: np.random.Generator,
    *,
    lines: int,
    columns: int,
    noise: float,
    dropout: float,
    max_range: float,
) -> LidarScan:
    """Turn once, counter-clockwise from behind.

    Args:
        scene: as it is; people do not walk on within a turn.
        pose_at: time to (4, 4), lidar to the world.
        start: when the turn begins [s].
        duration: of the turn [s].
        rng: decides noise and dropouts.
        lines: key of `ELEVATIONS`.
        columns: shots of each line.
        noise: standard deviation of ranges [m].
        dropout: share of shots without an answer.
        max_range: nothing is answered from beyond [m].
    """
    elevation = ELEVATIONS[lines]
    share = (np.arange(columns) + 0.5) / columns
    azimuth = -np.pi + 2 * np.pi * share
    around = (
        np.stack([np.cos(azimuth), np.sin(azimuth)], axis=-1)[:, None] * np.cos(elevation)[:, None]
    )
    up = np.broadcast_to(np.sin(elevation)[None, :, None], (columns, lines, 1))
    directions = np.concatenate([around, up], axis=-1)  # (columns, lines, 3)
    ranges = np.empty((columns, lines))
    slant = np.empty((columns, lines))
    for part in np.array_split(np.arange(columns), _SECTORS):
        pose = pose_at(start + duration * float(share[part].mean()))
        rays = directions[part].reshape(-1, 3) @ pose[:3, :3].T
        found, facing = _shoot(scene, pose[:3, 3], rays, max_range)
        ranges[part], slant[part] = found.reshape(-1, lines), facing.reshape(-1, lines)
    measured = ranges + noise * rng.standard_normal(ranges.shape)
    answered = (ranges <= max_range) & (measured >= _NEAREST)
    answered &= rng.uniform(size=ranges.shape) >= dropout
    column, ring = np.nonzero(answered)
    points = directions[column, ring] * measured[column, ring][:, None]
    intensity = slant[column, ring] / (1 + 0.02 * ranges[column, ring])
    return LidarScan(
        points.astype(np.float32),
        intensity.astype(np.float32),
        ring.astype(np.uint16),
        (duration * share[column]).astype(np.float32),
    )


def _shoot(
    scene: Scene, origin: Float64Array, rays: AnyArray, max_range: float
) -> tuple[Float64Array, Float64Array]:
    """Distances, infinite without an answer, and cosines of incidence."""
    model, data, count = scene.model, scene.data, len(rays)
    geoms, distances = np.full(count, -1, np.int32), np.empty(count)
    normals = np.zeros(3 * count)
    # MuJoCo tests every ray against every geom: those that the sector cannot see are left out.
    model.geom_group[:] = np.where(_in_sector(scene, origin, rays, max_range), 0, _HIDDEN)
    groups = np.ones(6, np.uint8)
    groups[_HIDDEN] = 0
    try:
        load_mujoco().mj_multiRay(
            model, data, np.ascontiguousarray(origin), np.ascontiguousarray(rays).ravel(), groups,
            True, -1, geoms, distances, normals, count, max_range,
        )  # fmt: skip
    finally:
        model.geom_group[:] = 0
    distances[geoms < 0] = np.inf
    facing = np.abs((normals.reshape(-1, 3) * rays).sum(axis=1))
    return distances, facing


def _in_sector(scene: Scene, origin: Float64Array, rays: AnyArray, max_range: float) -> BoolArray:
    """Geoms whose bounding sphere reaches into the bearings of the rays; all planes."""
    radius = scene.model.geom_rbound
    away = scene.data.geom_xpos - origin
    distance = np.hypot(away[:, 0], away[:, 1])
    bearings = np.arctan2(rays[:, 1], rays[:, 0])
    middle = np.arctan2(rays[:, 1].sum(), rays[:, 0].sum())
    half = np.abs(_wrapped(bearings - middle)).max()
    wide = np.arcsin(np.minimum(1.0, radius / np.maximum(distance, 1e-9)))
    off = np.abs(_wrapped(np.arctan2(away[:, 1], away[:, 0]) - middle))
    near = np.linalg.norm(away, axis=1) - radius <= max_range
    inside = (off <= half + wide) | (distance <= radius)
    return np.asarray((radius == 0) | (near & inside))


def _wrapped(angles: AnyArray) -> AnyArray:
    return np.asarray((angles + np.pi) % (2 * np.pi) - np.pi)
