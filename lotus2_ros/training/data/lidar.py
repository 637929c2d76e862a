"""Lidar points seen by the camera: projected, the nearest of each pixel, hidden ones left out."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.projection import project
from lotus2_ros.types import AnyArray, BoolArray, Float32Array

_NEARER = 0.9
"""A point is hidden by points that have less than this share of its depth."""

_NEAREST = 0.05
"""Metres before the camera below which there is nothing to see."""


def sparse_depth(
    points: AnyArray, camera_from_lidar: NDArray[np.float64], intrinsics: Intrinsics
) -> tuple[Float32Array, BoolArray]:
    """Z-depth of the pixels that a lidar point falls on.

    The lidar sits beside the camera and sees behind what the camera sees; such points fall between
    those of the thing in front. A point with clearly nearer points on opposite sides (left and
    right, or above and below) in a small window is therefore hidden. Points of a floor have nearer
    ones on one side only and stay.

    Args:
        points: (N, 3) in the lidar's frame [m].
        camera_from_lidar: (4, 4) takes points into the camera's optical frame.
        intrinsics: of the image, which is free of distortion.

    Returns:
        (H, W) float32 [m], 0 where there is none; (H, W) where there is one.
    """
    rotation, shift = camera_from_lidar[:3, :3], camera_from_lidar[:3, 3]
    seen = (points.astype(np.float64) @ rotation.T + shift).astype(np.float32)
    seen = seen[np.isfinite(seen).all(1) & (seen[:, 2] > _NEAREST)]
    pixels = np.rint(project(seen, intrinsics))
    inside = (pixels >= 0).all(1) & (pixels < (intrinsics.width, intrinsics.height)).all(1)
    seen, pixels = seen[inside], pixels[inside].astype(np.int64)
    depth = np.full((intrinsics.height, intrinsics.width), np.inf, np.float32)
    np.minimum.at(depth, (pixels[:, 1], pixels[:, 0]), seen[:, 2])
    depth[_hidden(depth, window_radius(intrinsics.width))] = np.inf
    valid = np.isfinite(depth)
    return np.where(valid, depth, np.float32(0)), valid


def window_radius(width: int) -> int:
    """How far [px] to look for points in front: about the gap between a lidar's lines."""
    return max(2, round(width / 128))


def _hidden(depth: Float32Array, radius: int) -> BoolArray:
    """(H, W) where nearer points lie on opposite sides; `depth` is infinite where unknown."""
    limit = depth * np.float32(_NEARER)
    limit[np.isinf(depth)] = -np.inf

    def nearer(rows: slice, columns: slice) -> BoolArray:
        """Where a part of the window around a pixel holds something clearly nearer."""
        part = np.zeros((2 * radius + 1, 2 * radius + 1), np.uint8)
        part[rows, columns] = 1
        lowest = cv2.erode(depth, part, borderType=cv2.BORDER_CONSTANT, borderValue=(np.inf,) * 4)
        return np.asarray(lowest < limit)

    before, after = slice(0, radius), slice(radius + 1, None)
    about = slice(radius - radius // 2, radius + radius // 2 + 1)
    across = nearer(about, before) & nearer(about, after)
    along = nearer(before, about) & nearer(after, about)
    return across | along
