"""A registered depth image as a depth camera gives it: noisy, with holes and a range."""

from __future__ import annotations

import cv2
import numpy as np

from lotus2_ros.types import BoolArray, Float32Array

_JUMP = 1.15
"""Ratio of neighbouring depths at an edge, beside which nothing is measured."""


def measured_depth(
    depth: Float32Array,
    rng: np.random.Generator,
    *,
    holes: float,
    noise: float,
    max_range: float,
) -> Float32Array:
    """What is left of the truth.

    Args:
        depth: (H, W) true Z-depth [m].
        rng: decides patches and noise.
        holes: share of the image that patches of holes cover.
        noise: standard deviation at 1 m; it grows with the square of the depth, as a stereo
            matcher's does [m].
        max_range: nothing beyond [m].

    Returns:
        (H, W) float32 [m], NaN in holes.
    """
    near = np.minimum(depth, np.float32(2 * max_range))
    measured = near + np.float32(noise) * near**2 * rng.standard_normal(
        depth.shape, dtype=np.float32
    )
    lost = (depth > max_range) | (measured <= 0) | _edges(near)
    if holes:
        lost |= _patches(depth.shape, holes, rng)
    measured[lost] = np.nan
    return np.asarray(measured, dtype=np.float32)


def _edges(depth: Float32Array) -> BoolArray:
    """Beside a jump: what one eye of a stereo camera sees and the other does not."""
    ratio = depth[:, 1:] / depth[:, :-1]
    jump = np.zeros(depth.shape, dtype=np.uint8)
    jump[:, 1:] = (ratio > _JUMP) | (ratio < 1 / _JUMP)
    ratio = depth[1:] / depth[:-1]
    jump[1:] |= ((ratio > _JUMP) | (ratio < 1 / _JUMP)).astype(np.uint8)
    side = max(3, depth.shape[1] // 60)
    return np.asarray(cv2.dilate(jump, np.ones((3, side), dtype=np.uint8)) > 0)


def _patches(shape: tuple[int, ...], share: float, rng: np.random.Generator) -> BoolArray:
    height, width = shape
    cells = rng.standard_normal((max(2, height // 12), max(2, width // 12)), dtype=np.float32)
    smooth = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth < np.quantile(smooth, share))
