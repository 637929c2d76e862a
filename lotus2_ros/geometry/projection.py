"""Between pixels with depth and points in the optical frame (x right, y down, z forward)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.types import Float32Array


@lru_cache(maxsize=8)
def ray_map(intrinsics: Intrinsics) -> Float32Array:
    """Direction of every pixel's ray as (x / z, y / z).

    Returns:
        (H, W, 2) float32, read-only: the same array is handed to every caller.
    """
    rays = np.empty((intrinsics.height, intrinsics.width, 2), dtype=np.float32)
    columns = np.arange(intrinsics.width, dtype=np.float64)
    rows = np.arange(intrinsics.height, dtype=np.float64)
    rays[..., 0] = (columns - intrinsics.cx) / intrinsics.fx
    rays[..., 1] = ((rows - intrinsics.cy) / intrinsics.fy)[:, None]
    rays.flags.writeable = False
    return rays


def unproject(depth: Float32Array, intrinsics: Intrinsics) -> Float32Array:
    """Points of a Z-depth image.

    Args:
        depth: (H, W) float32 along the optical axis, not along the ray [m].
        intrinsics: camera of that image, of the same size.

    Returns:
        (H, W, 3) float32 [m]; all three NaN where the depth is not finite.

    Raises:
        ValueError: depth and intrinsics differ in size.
    """
    if depth.shape != (intrinsics.height, intrinsics.width):
        msg = (
            f'depth is {depth.shape[1]}x{depth.shape[0]} px but the intrinsics are for '
            f'{intrinsics.width}x{intrinsics.height} px'
        )
        raise ValueError(msg)
    points = np.empty((*depth.shape, 3), dtype=np.float32)
    z = points[..., 2]
    z[...] = depth
    z[~np.isfinite(depth)] = np.nan
    rays = ray_map(intrinsics)
    np.multiply(rays[..., 0], z, out=points[..., 0])
    np.multiply(rays[..., 1], z, out=points[..., 1])
    return points


def project(points: Float32Array, intrinsics: Intrinsics) -> Float32Array:
    """Pixel coordinates (column, row) of points.

    Args:
        points: (..., 3) [m].
        intrinsics: camera to project into.

    Returns:
        (..., 2) float32 [px], not clipped to the image; NaN for points not in front of the camera.
    """
    z = np.where(points[..., 2] > 0.0, points[..., 2], np.float32(np.nan))
    pixels = np.empty((*points.shape[:-1], 2), dtype=np.float32)
    pixels[..., 0] = intrinsics.fx * points[..., 0] / z + intrinsics.cx
    pixels[..., 1] = intrinsics.fy * points[..., 1] / z + intrinsics.cy
    return pixels
