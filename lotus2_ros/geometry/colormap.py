"""Colours for people: depth and normals as pictures."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from lotus2_ros.types import Float32Array, UInt8Array

_OPENCV = {
    'turbo': cv2.COLORMAP_TURBO,
    'inferno': cv2.COLORMAP_INFERNO,
    'viridis': cv2.COLORMAP_VIRIDIS,
    'magma': cv2.COLORMAP_MAGMA,
}


@lru_cache(maxsize=8)
def _table(colormap: str) -> UInt8Array:
    """(256, 3) uint8 RGB, read-only."""
    ramp = np.arange(256, dtype=np.uint8)
    if colormap == 'gray':
        table = np.repeat(ramp[:, None], 3, axis=1)
    elif colormap in _OPENCV:
        bgr = cv2.applyColorMap(ramp[:, None], _OPENCV[colormap])
        table = np.ascontiguousarray(bgr[:, 0, ::-1], dtype=np.uint8)
    else:
        msg = f'colour map {colormap!r} is unknown; known: {", ".join([*_OPENCV, "gray"])}'
        raise ValueError(msg)
    table.flags.writeable = False
    return table


def colorize_disparity(
    disparity: Float32Array, *, colormap: str = 'turbo', low: float = 0.0, high: float = 1.0
) -> UInt8Array:
    """Colour a disparity image over a fixed range, so that colours mean the same in every frame.

    Args:
        disparity: (H, W) float32; NaN becomes black.
        colormap: turbo, inferno, viridis, magma or gray.
        low: disparity at the far end of the map; smaller ones have that colour too.
        high: disparity at the near end; larger ones have that colour too.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the colour map is unknown, or the range is empty.
    """
    if not low < high:
        msg = f'the colour range from {low} to {high} is empty'
        raise ValueError(msg)
    levels = np.subtract(disparity, np.float32(low), dtype=np.float32)
    levels *= np.float32(255.0 / (high - low))
    levels += np.float32(0.5)
    np.clip(levels, 0.0, 255.0, out=levels)
    unknown = np.isnan(levels)
    levels[unknown] = 0.0
    colors = np.take(_table(colormap), levels.astype(np.uint8), axis=0)
    colors[unknown] = 0
    return colors


def colorize_normals(normals: Float32Array) -> UInt8Array:
    """Colour normals the way surface-normal pictures usually look.

    Those pictures show (m + 1) / 2 of OUTWARD vectors m (DSINE's convention: a wall that faces the
    camera is (0, 0, +1), bluish; floors are greenish). Ours face the camera, m = -n, so the
    colour is (1 - n) / 2: the same picture as everywhere else.

    Args:
        normals: (H, W, 3) float32 unit vectors facing the camera, optical frame; NaN becomes black.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    levels = np.subtract(np.float32(1.0), normals, dtype=np.float32)
    levels *= np.float32(127.5)
    levels += np.float32(0.5)
    np.clip(levels, 0.0, 255.0, out=levels)
    np.nan_to_num(levels, copy=False, nan=0.0)
    return levels.astype(np.uint8)
