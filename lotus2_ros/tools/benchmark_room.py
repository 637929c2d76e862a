"""A room of flat surfaces, as a camera, a depth camera and a lidar see it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.projection import ray_map
from lotus2_ros.geometry.rigid import from_rotation_vector, transform_points
from lotus2_ros.geometry.scale.lidar_points import LidarScan
from lotus2_ros.geometry.scale.scan_memory import Drive, ScanMemory
from lotus2_ros.settings import NodeSettings
from lotus2_ros.types import Float32Array, UInt8Array

Float64Array = NDArray[np.float64]

HEIGHT_M = 0.8
"""Of the camera over the ground, which it looks along."""

_CORNERS = np.array([[-2.5, -1.8, -4.0], [3.0, HEIGHT_M, 7.0]])
_BOXES = np.array(
    [
        [[-1.2, 0.0, 2.5], [-0.5, HEIGHT_M, 3.1]],
        [[0.6, -0.4, 3.5], [1.4, HEIGHT_M, 4.2]],
        [[-0.3, 0.4, 1.8], [0.2, HEIGHT_M, 2.2]],
    ]
)
"""Of the room and of what stands in it, lower and upper (x, y, z) in the optical frame [m]."""

LIDAR_TO_CAMERA = np.array(
    [[0.0, -1.0, 0.0, 0.05], [0.0, 0.0, -1.0, -0.1], [1.0, 0.0, 0.0, -0.1], [0.0, 0.0, 0.0, 1.0]]
)
"""A lidar (x forward, y left, z up) beside, above and behind the camera -> optical frame."""


def room_depth(camera: Intrinsics, origin: Float64Array) -> Float32Array:
    """(H, W) Z-depth of the room from a place in it [m]."""
    rays = ray_map(camera).reshape(-1, 2).astype(np.float64)
    directions = np.column_stack([rays, np.ones(len(rays))])
    ends = _cast(origin, directions).astype(np.float32)
    return ends.reshape(camera.height, camera.width)


def _cast(origin: Float64Array, directions: Float64Array) -> Float64Array:
    """Multiples of the (N, 3) directions at which rays end."""
    directions = np.where(directions == 0.0, 1e-12, directions)
    walls = np.where(directions > 0.0, _CORNERS[1] - origin, _CORNERS[0] - origin) / directions
    ends = walls.min(axis=1)
    for low, high in _BOXES:
        one, other = (low - origin) / directions, (high - origin) / directions
        enters, leaves = np.minimum(one, other).max(axis=1), np.maximum(one, other).min(axis=1)
        hit = (enters < leaves) & (enters > 0.0) & (enters < ends)
        ends = np.where(hit, enters, ends)
    return np.asarray(ends, dtype=np.float64)


def with_errors(values: Float32Array, rng: np.random.Generator) -> Float32Array:
    """2% noise and 20% gross errors."""
    result = values * rng.normal(1.0, 0.02, values.shape).astype(np.float32)
    wrong = rng.random(values.shape) < 0.2
    result[wrong] = rng.uniform(0.3, 15.0, int(wrong.sum()))
    return np.asarray(result, dtype=np.float32)


def with_holes(depth: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Half of the image without a value, in patches."""
    patches = cv2.resize(rng.random((12, 16)), depth.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.where(patches < np.median(patches), 0.0, depth), dtype=np.float32)


def room_picture(camera: Intrinsics, depth: Float32Array, x: float) -> UInt8Array:
    """(H, W) grey: a texture that is fixed to the room, seen from x to the right."""
    rng = np.random.default_rng(1)
    rays = ray_map(camera)
    points = np.stack([rays[..., 0] * depth + x, rays[..., 1] * depth, depth], axis=-1)
    light = np.zeros(depth.shape)
    for wave in rng.normal(0.0, 9.0, (12, 3)):
        light += np.cos(points @ wave)
    return np.clip(128.0 + 25.0 * light, 0.0, 255.0).astype(np.uint8)


def room_drive(lines: int, rng: np.random.Generator) -> Drive:
    """Straight ahead to where the camera is now, with a scan every 30 cm and one there."""
    way = NodeSettings().lidar_memory
    memory, pose, number = ScanMemory(), np.eye(4), 0
    for number, left in enumerate(np.arange(way, -0.1, -0.3)):
        pose = np.eye(4)
        pose[2, 3] = -left
        scan = room_scan(lines, rng, pose[:3, 3]).astype(np.float64)
        points = transform_points(LIDAR_TO_CAMERA, scan)
        memory.earlier(pose, 0.5 * number, way)
        memory.keep(points, pose, 0.5 * number)
    return Drive(memory, np.eye(4), 0.5 * (number + 1), way)


def room_scan(
    lines: int, rng: np.random.Generator, place: Float64Array | None = None
) -> Float32Array:
    """(N, 3) points of a whole turn, in the lidar's frame; from a place of the camera's."""
    elevation = np.radians(np.linspace(-22.5, 22.5, lines))
    azimuth = np.radians(np.arange(-180.0, 180.0, 0.35))
    e, a = (grid.ravel() for grid in np.meshgrid(elevation, azimuth, indexing='ij'))
    rays = np.column_stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    origin = LIDAR_TO_CAMERA[:3, 3] + (0.0 if place is None else place)
    ends = _cast(origin, rays @ LIDAR_TO_CAMERA[:3, :3].T)
    return np.asarray(rays * with_errors(ends.astype(np.float32), rng)[:, None], dtype=np.float32)


def while_turning(scan: LidarScan) -> LidarScan:
    """The same points as a sensor measures them that turns by 10 degrees and moves by 10 cm."""
    points = np.asarray(scan.points, dtype=np.float64)
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    fraction = (azimuth + np.pi) / (2.0 * np.pi)
    turn, way = np.array([0.0, 0.0, np.radians(10.0)]), np.array([0.1, 0.0, 0.0])
    end = scan.to_camera @ from_rotation_vector(turn, way)
    # A point at fraction f is seen from f times the way, turned by f times the angle.
    cosine, sine = np.cos(fraction * turn[2]), np.sin(fraction * turn[2])
    moved = points - fraction[:, None] * way
    points = np.column_stack(
        [
            cosine * moved[:, 0] + sine * moved[:, 1],
            cosine * moved[:, 1] - sine * moved[:, 0],
            moved[:, 2],
        ]
    )
    return LidarScan(points.astype(np.float32), scan.to_camera, end, fraction)
