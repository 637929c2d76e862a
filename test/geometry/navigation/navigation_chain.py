"""The whole way from disparity to what a costmap gets, and the truth beside it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from navigation_scenes import CAMERA, render, smeared

from lotus2_ros.geometry.edges import flying_pixels
from lotus2_ros.geometry.limits import apply_limits
from lotus2_ros.geometry.navigation_cloud import NavigationClouds, navigation_clouds
from lotus2_ros.geometry.occupancy import OccupancyCheck, check, free_cells
from lotus2_ros.geometry.projection import unproject

BAND = (0.08, 2.0)
STRIDE = 4


class Outcome(NamedTuple):
    clouds: NavigationClouds
    occupancy: OccupancyCheck


def to_level(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    return points[:, :3].astype(np.float64) @ transform[:3, :3].T + transform[:3, 3]


def drive_past(scene, transform, how, *, edges: bool = True, noise: float = 0.0) -> Outcome:
    """Render, smear, mask, limit, thin, and check against the scene as it is."""
    truth = render(scene, transform)
    depth = smeared(truth, how).astype(np.float32)
    if noise:
        depth *= np.random.default_rng(5).normal(1.0, noise, depth.shape).astype(np.float32)
    mask = flying_pixels(depth, None, CAMERA).mask if edges else None
    limited = apply_limits(depth, 0.2, 12.0).depth
    clouds = navigation_clouds(limited, CAMERA, leave_out=mask)
    return Outcome(clouds, compare(clouds, truth, transform))


def compare(clouds: NavigationClouds, truth: np.ndarray, transform: np.ndarray) -> OccupancyCheck:
    start = STRIDE // 2
    far_ends = np.where(np.isfinite(truth), truth, 50.0).astype(np.float32)
    ends = unproject(far_ends, CAMERA)[start::STRIDE, start::STRIDE].reshape(-1, 3)
    ends = to_level(ends, transform)
    real = np.isfinite(truth[start::STRIDE, start::STRIDE]).reshape(-1)
    obstacles = ends[real & (ends[:, 2] >= BAND[0]) & (ends[:, 2] <= BAND[1])]
    camera = transform[:3, 3]
    free = free_cells(ends, obstacles, camera=camera, band=BAND)
    cloud = to_level(clouds.obstacles, transform)
    return check(cloud, obstacles, free, camera=camera, band=BAND)
