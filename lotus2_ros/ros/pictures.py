"""What is kept of an image: colours for a cloud, and grey to follow it from frame to frame."""

from __future__ import annotations

import cv2
import numpy as np

from lotus2_ros.geometry.scale.frame_alignment import WIDTH
from lotus2_ros.types import UInt8Array


def picture_size(references: tuple[str, ...], width: int, height: int) -> tuple[int, int]:
    """(width, height) of the picture: whole where points are tracked, small for alignment.

    Args:
        references: that the scale is estimated from.
        width: of the disparity [px].
        height: of the disparity [px].
    """
    if 'odometry' in references or width <= WIDTH:
        return width, height
    return WIDTH, max(1, round(WIDTH * height / width))


def grey_of(rgb: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """(h, w) grey of an RGB picture, at (width, height)."""
    return np.asarray(cv2.cvtColor(_reduced(rgb, size), cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def colors_of(rgb: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """(h, w, 3) copy of an RGB picture, at (width, height)."""
    reduced = _reduced(rgb, size)
    return rgb.copy() if reduced is rgb else reduced


def _reduced(rgb: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    if (rgb.shape[1], rgb.shape[0]) == size:
        return rgb
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
