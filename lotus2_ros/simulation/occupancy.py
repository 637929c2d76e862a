"""True obstacles and free cells of the world, and how a depth image's navigation cloud compares."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.depth import disparity_to_depth
from lotus2_ros.geometry.edges import flying_pixels
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.limits import apply_limits
from lotus2_ros.geometry.navigation_cloud import NavigationClouds, navigation_clouds
from lotus2_ros.geometry.occupancy import OccupancyCheck, check, free_cells
from lotus2_ros.geometry.rigid import transform_points
from lotus2_ros.settings import NodeSettings
from lotus2_ros.simulation.engine import trace
from lotus2_ros.simulation.robot import SimulatedRobot
from lotus2_ros.types import Float32Array

Float64Array = NDArray[np.float64]

BAND = (0.08, 1.8)
"""Heights over the ground that count: lower the robot drives over, higher it passes under [m]."""

_RAYS = 12_000
_SKY_AT = 50.0


class TrueSpace(NamedTuple):
    """What a camera could see, in its level base frame.

    Attributes:
        obstacles: (M, 3) points on surfaces in the band [m].
        free: (K, 2) int64 cells without, see `geometry.occupancy`.
        camera: (3,) position of the camera [m].
    """

    obstacles: Float64Array
    free: NDArray[np.int64]
    camera: Float64Array


def true_space(robot: SimulatedRobot, time: float, rng: np.random.Generator) -> TrueSpace:
    """Follow rays through random places of the image: no pixel, raster or cloud has a part in it.

    Args:
        robot: in the world.
        time: [s].
        rng: decides the rays.
    """
    robot.scene.move(time)
    camera = robot.intrinsics
    u = rng.uniform(-0.5, camera.width - 0.5, _RAYS)
    v = rng.uniform(-0.5, camera.height - 0.5, _RAYS)
    rays = np.column_stack(
        [(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(_RAYS)]
    )
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    pose = robot.camera_pose(time)
    hits = trace(robot.scene.model, robot.scene.data, pose[:3, 3], rays @ pose[:3, :3].T)
    real = np.isfinite(hits.distances)
    far = np.where(real, hits.distances, _SKY_AT)
    on_base = robot.camera_on_base(time)
    ends = transform_points(on_base, rays * far[:, None])
    obstacles = ends[real & (ends[:, 2] >= BAND[0]) & (ends[:, 2] <= BAND[1])]
    eye = on_base[:3, 3]
    return TrueSpace(obstacles, free_cells(ends, obstacles, camera=eye, band=BAND), eye)


def published_clouds(
    disparity: Float32Array,
    normals: Float32Array | None,
    camera: Intrinsics,
    scale: tuple[float, float],
    settings: NodeSettings,
) -> NavigationClouds:
    """What the node makes of a disparity image, by the same functions in the same order.

    Args:
        disparity: (H, W) float32.
        normals: (H, W, 3) float32 or None.
        camera: of that image.
        scale: a and b of 1 / z = a d + b.
        settings: ranges, edges and budget.
    """
    depth = disparity_to_depth(
        disparity, scale=scale[0], shift=scale[1], min_range=0.0, max_range=np.inf
    )
    flying = flying_pixels(
        depth,
        normals,
        camera,
        ratio=1.0 + settings.cloud_edge_threshold,
        view_angle=settings.edge_view_angle_deg,
    )
    return navigation_clouds(
        apply_limits(depth, settings.min_range, settings.max_range).depth,
        camera,
        leave_out=flying.mask,
        max_points=settings.nav_max_points,
        voxel=settings.nav_voxel,
        clearing_range=min(settings.clearing_range, settings.max_range),
    )


def compare(clouds: NavigationClouds, space: TrueSpace, on_base: Float64Array) -> OccupancyCheck:
    """Check a navigation cloud against the truth.

    Args:
        clouds: in the optical frame.
        space: of the same moment.
        on_base: (4, 4), optical frame to the base frame.
    """
    cloud = transform_points(on_base, clouds.obstacles[:, :3].astype(np.float64))
    return check(cloud, space.obstacles, space.free, camera=space.camera, band=BAND)
