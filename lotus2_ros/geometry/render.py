"""A picture of a point cloud from beside the camera, for reports and contact sheets."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from lotus2_ros.types import Float32Array, UInt8Array

_BACKGROUND = (24, 26, 30)

_FRAMED_DEPTH = 2.0
"""What is farther than this many times the median depth is drawn, but does not shrink the view."""


def render_cloud(
    points: Float32Array,
    colors: UInt8Array,
    *,
    width: int,
    height: int,
    yaw_deg: float = 20.0,
    pitch_deg: float = 12.0,
    hfov_deg: float = 45.0,
    splat: int = 2,
    background: tuple[int, int, int] = _BACKGROUND,
) -> UInt8Array:
    """Draw points as z-buffered squares from a viewpoint turned about the cloud's middle.

    The distance is such that the central 96% of the points fit, those far behind the others left
    out, so that neither stray points nor a distant background shrink the view.

    Args:
        points: (..., 3) float32 in the optical frame (x right, y down, z forward); points that are
            not finite are left out.
        colors: (..., 3) uint8 RGB of the points.
        width: width of the picture [px].
        height: height of the picture [px].
        yaw_deg: how far the viewpoint is carried to the right, about the vertical [deg].
        pitch_deg: how far it is raised [deg].
        hfov_deg: horizontal field of view of the picture [deg].
        splat: side of a point's square [px].
        background: RGB where there is no point.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    canvas = np.empty((height, width, 3), dtype=np.uint8)
    canvas[:] = background
    xyz = np.asarray(points, dtype=np.float32).reshape(-1, 3)
    finite = np.isfinite(xyz).all(axis=1)
    xyz, rgb = xyz[finite], np.asarray(colors).reshape(-1, 3)[finite]
    if len(xyz) == 0:
        return canvas

    # 1. Into the viewpoint's frame: about the middle, then away from it.
    local = (xyz - np.median(xyz, axis=0)) @ _view_rotation(yaw_deg, pitch_deg).T
    focal = 0.5 * width / math.tan(0.5 * math.radians(hfov_deg))
    framed = local[xyz[:, 2] <= _FRAMED_DEPTH * np.median(xyz[:, 2])]
    low, high = np.quantile(framed, (0.02, 0.98), axis=0)
    local -= (0.5 * (low + high)).astype(np.float32)
    half = np.maximum(0.5 * (high - low), 1e-6)
    distance = half[2] + 1.05 * focal * max(half[0] / (0.5 * width), half[1] / (0.5 * height))
    z = local[:, 2] + np.float32(distance)

    # 2. To pixels. The limit near the viewpoint keeps stray points from filling the picture.
    seen = z > 0.05 * distance
    z, rgb = z[seen], rgb[seen]
    columns = np.rint(focal * local[seen, 0] / z + 0.5 * (width - 1))
    rows = np.rint(focal * local[seen, 1] / z + 0.5 * (height - 1))
    inside = (columns > -splat) & (columns < width) & (rows > -splat) & (rows < height)

    # 3. Far to near: where squares overlap, the one assigned last, the nearest, stays.
    order = np.flatnonzero(inside)
    order = order[np.argsort(-z[order], kind='stable')]
    if len(order) == 0:
        return canvas
    column, row, rgb = columns[order].astype(np.int64), rows[order].astype(np.int64), rgb[order]
    nearest = np.full((height + 2 * splat, width + 2 * splat), -1, dtype=np.int64)
    rank = np.arange(len(order))
    for dy in range(splat):
        for dx in range(splat):
            layer = np.full_like(nearest, -1)
            layer[row + dy + splat, column + dx + splat] = rank
            np.maximum(nearest, layer, out=nearest)
    nearest = nearest[splat:-splat, splat:-splat]
    drawn = nearest >= 0
    canvas[drawn] = rgb[nearest[drawn]]
    return canvas


def _view_rotation(yaw_deg: float, pitch_deg: float) -> NDArray[np.float32]:
    """Optical frame to the frame of the turned, raised viewpoint, (3, 3)."""
    yaw, _ = cv2.Rodrigues(np.array([0.0, math.radians(yaw_deg), 0.0]))
    pitch, _ = cv2.Rodrigues(np.array([math.radians(pitch_deg), 0.0, 0.0]))
    return np.asarray(pitch @ yaw, dtype=np.float32)
