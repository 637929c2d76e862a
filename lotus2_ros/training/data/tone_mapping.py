"""Hypersim's own tone mapping, for frames whose preview is missing."""

from __future__ import annotations

import numpy as np

from lotus2_ros.types import AnyArray, BoolArray, UInt8Array

_GAMMA = 1 / 2.2
_PERCENTILE, _BRIGHTNESS = 90, 0.8
_DARKEST = 1e-4
_LUMA = (0.3, 0.59, 0.11)


def tone_mapped(linear: AnyArray, geometry: BoolArray) -> UInt8Array:
    """(c s)^(1 / 2.2), with s such that the 90th percentile of brightness becomes 0.8.

    As scene_generate_images_tonemap.py of apple/ml-hypersim makes the previews.

    Args:
        linear: (H, W, 3) high dynamic range colour.
        geometry: (H, W) where there is geometry: the percentile is taken there.

    Returns:
        (H, W, 3) RGB.
    """
    colour = linear.astype(np.float64)
    scale = 1.0
    if geometry.any():
        bright = float(np.percentile((colour @ np.array(_LUMA))[geometry], _PERCENTILE))
        scale = 0.0 if bright < _DARKEST else _BRIGHTNESS ** (1 / _GAMMA) / bright
    mapped = np.maximum(colour * scale, 0) ** _GAMMA
    return np.asarray(np.rint(mapped.clip(0, 1) * 255), np.uint8)
