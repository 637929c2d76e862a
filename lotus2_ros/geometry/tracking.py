"""Sparse features followed from one image to the next."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lotus2_ros.types import UInt8Array

_WINDOW = (21, 21)
_LEVELS = 3
"""With a window of 21 px, movements of some 80 px are followed."""


class Tracks(NamedTuple):
    """The same points in two images.

    Attributes:
        previous: (N, 2) float64 (column, row) in the earlier image [px].
        current: (N, 2) float64 in the later image [px].
    """

    previous: NDArray[np.float64]
    current: NDArray[np.float64]


def track_features(
    previous: UInt8Array,
    current: UInt8Array,
    *,
    most: int = 500,
    distance: float = 8.0,
    back_within: float = 0.5,
) -> Tracks:
    """Follow corners of the earlier image (Shi and Tomasi 1994) by pyramidal Lucas-Kanade.

    Every point is followed there and back again; one that does not come back to where it started
    is left out.

    Args:
        previous: (H, W) grey, the earlier image.
        current: (H, W) grey, the later one.
        most: largest number of corners.
        distance: smallest distance between corners [px].
        back_within: largest distance from the start after following there and back [px].

    Returns:
        The tracks; none if the images have no corners.

    Raises:
        ValueError: the images differ in size.
    """
    if previous.shape != current.shape:
        msg = f'images to track between have shapes {previous.shape} and {current.shape}'
        raise ValueError(msg)
    corners = cv2.goodFeaturesToTrack(previous, most, 0.01, distance)
    if corners is None or len(corners) == 0:
        return Tracks(np.empty((0, 2)), np.empty((0, 2)))
    start = np.asarray(corners, dtype=np.float32).reshape(-1, 1, 2)
    there, found = _follow(previous, current, start)
    back, returned = _follow(current, previous, there)
    near = np.linalg.norm((back - start).reshape(-1, 2), axis=1) < back_within
    height, width = current.shape
    end = there.reshape(-1, 2)
    inside = (end >= 0.0).all(axis=1) & (end <= [width - 1, height - 1]).all(axis=1)
    good = found & returned & near & inside
    return Tracks(start.reshape(-1, 2)[good].astype(np.float64), end[good].astype(np.float64))


def _follow(
    source: UInt8Array, target: UInt8Array, points: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    moved = np.zeros_like(points)
    end, status, _ = cv2.calcOpticalFlowPyrLK(
        source, target, points, moved, winSize=_WINDOW, maxLevel=_LEVELS
    )
    return np.asarray(end, dtype=np.float32), np.asarray(status).reshape(-1) == 1
