"""Sparse features followed from one image to the next."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lotus2_ros.types import UInt8Array

_WINDOW = (11, 11)
"""Small: at an outline, what lies in a larger one moves in two ways."""

_LEVELS = 4
"""With a window of 11 px, movements of some 80 px are followed."""

_SETTLED = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)
"""Steps at most, and a step so small that it is the last one [px]."""

_SMALLEST = 120
"""Corners are looked for at half the size if that leaves so many pixels; where they are need not be
known to a pixel [px]."""


_EVENED_OVER = 10
"""Light is evened out over the image's width divided by this."""

_EVENED_AT = 80
"""Width at which the mean is taken [px]."""

_MIDDLE = 128.0
_DARKEST = np.float32(16.0)
"""Mean grey below which light is not evened out: there, noise would be raised most."""


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
    most: int = 300,
    distance: float = 8.0,
    back_within: float = 0.5,
) -> Tracks:
    """Follow corners of the earlier image (Shi and Tomasi 1994) by pyramidal Lucas-Kanade.

    Every point is followed there and back again; one that does not come back to where it started
    is left out. The way back begins at the start: a right match stays there, a wrong one leaves.
    Both images are evened out before: bands of brightness under mains light, or an exposure that
    changes, would look like motion.

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
    start = _corners(previous, most, distance)
    if len(start) == 0:
        return Tracks(np.empty((0, 2)), np.empty((0, 2)))
    one, other = _evened(previous), _evened(current)
    there, found = _follow(one, other, start, start, _LEVELS)
    back, returned = _follow(other, one, there, start, 0)
    near = np.linalg.norm((back - start).reshape(-1, 2), axis=1) < back_within
    height, width = current.shape
    end = there.reshape(-1, 2)
    inside = (end >= 0.0).all(axis=1) & (end <= [width - 1, height - 1]).all(axis=1)
    good = found & returned & near & inside
    return Tracks(start.reshape(-1, 2)[good].astype(np.float64), end[good].astype(np.float64))


def _evened(image: UInt8Array) -> UInt8Array:
    """The image divided by its own mean around each pixel; the mean is taken small, and smooth."""
    height, width = image.shape
    small = min(_EVENED_AT, width), max(1, round(min(_EVENED_AT, width) * height / width))
    side = small[0] // _EVENED_OVER | 1
    mean = cv2.boxFilter(
        cv2.resize(image, small, interpolation=cv2.INTER_AREA), cv2.CV_32F, (side, side)
    )
    gain = cv2.divide(_MIDDLE, np.maximum(mean, _DARKEST))
    gain = cv2.resize(gain, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(image, gain, dtype=cv2.CV_8U), dtype=np.uint8)


def _corners(image: UInt8Array, most: int, distance: float) -> NDArray[np.float32]:
    """(N, 1, 2) float32."""
    factor = 2.0 if min(image.shape) >= 2 * _SMALLEST else 1.0
    if factor > 1.0:
        size = image.shape[1] // 2, image.shape[0] // 2
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    found = cv2.goodFeaturesToTrack(image, most, 0.01, distance / factor)
    if found is None:
        return np.empty((0, 1, 2), dtype=np.float32)
    # Pixels have their centres at whole numbers, in both sizes.
    places = (np.asarray(found, dtype=np.float32) + np.float32(0.5)) * np.float32(factor)
    return (places - np.float32(0.5)).reshape(-1, 1, 2)


def _follow(
    source: UInt8Array,
    target: UInt8Array,
    points: NDArray[np.float32],
    guess: NDArray[np.float32],
    levels: int,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    end, status, _ = cv2.calcOpticalFlowPyrLK(
        source,
        target,
        points,
        guess.copy(),  # OpenCV writes the result there
        winSize=_WINDOW,
        maxLevel=levels,
        criteria=_SETTLED,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    return np.asarray(end, dtype=np.float32), np.asarray(status).reshape(-1) == 1
