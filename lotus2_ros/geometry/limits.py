"""What a depth image may claim: range limits and sky, marked as REP-117 wants it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.projection import ray_map
from lotus2_ros.types import BoolArray, Float32Array


class LimitCounts(NamedTuple):
    """Pixels by what became of them; the sum is the number of pixels.

    Attributes:
        kept: finite and within the limits.
        near: nearer than min_range, or -Inf (REP-117: too near to be measured); now NaN.
        far: farther than max_range, or +Inf; now +Inf.
        sky: said to be sky, whatever their depth; now +Inf.
        invalid: NaN, zero or negative; now NaN.
    """

    kept: int
    near: int
    far: int
    sky: int
    invalid: int


class LimitedDepth(NamedTuple):
    """A depth image within limits.

    Attributes:
        depth: (H, W) float32 Z-depth [m]: finite and above 0, or +Inf, or NaN; nothing else.
        counts: pixels by cause.
    """

    depth: Float32Array
    counts: LimitCounts


def apply_limits(
    depth: Float32Array,
    min_range: float,
    max_range: float,
    sky: BoolArray | None = None,
    *,
    along_ray: Intrinsics | None = None,
    out: Float32Array | None = None,
) -> LimitedDepth:
    """Take out of a Z-depth image what is too near, too far or sky.

    REP-117 has -Inf for what is too near; it becomes NaN here, because what consumers of depth
    images and clouds check for is NaN, and a few of them take -Inf for a number. +Inf says that
    nothing is there up to max_range: rays that clear.

    Args:
        depth: (H, W) float32 along the optical axis [m].
        min_range: nearest distance kept [m].
        max_range: farthest distance kept [m].
        sky: (H, W) bool, True at sky; None for no such knowledge.
        along_ray: the camera, if the limits are distances from the camera to the point. None if
            they are Z-depths, as in a depth image. The result holds Z-depth in both cases.
        out: (H, W) float32 that the image is written to, not the one that is read; None for a new
            one.

    Returns:
        The image and the counts.

    Raises:
        ValueError: sizes differ, or min_range is not below max_range.
    """
    if not 0.0 <= min_range < max_range:
        msg = f'min_range {min_range} must be at least 0 and below max_range {max_range}'
        raise ValueError(msg)
    if sky is not None and sky.shape != depth.shape:
        msg = f'the sky mask has shape {sky.shape} but the depth has {depth.shape}'
        raise ValueError(msg)
    distance = depth if along_ray is None else _ray_lengths(depth, along_ray)
    limited = np.empty(depth.shape, dtype=np.float32) if out is None else out
    kept = (distance >= min_range) & (distance <= max_range)
    if np.float32(min_range) == 0.0 or along_ray is not None:
        kept &= depth > 0.0
    far = distance > max_range
    sky_count = 0
    if sky is not None:
        sky_count = int(np.count_nonzero(sky))
        outside = ~sky
        far &= outside
        kept &= outside
    kept_count, far_count = int(np.count_nonzero(kept)), int(np.count_nonzero(far))
    left = depth.size - kept_count - far_count - sky_count
    near_count = 0
    if left:
        near = (distance < min_range) & (depth > 0.0)
        near |= np.isneginf(depth)
        if sky is not None:
            near &= outside
        near_count = int(np.count_nonzero(near))
    counts = LimitCounts(kept_count, near_count, far_count, sky_count, left - near_count)
    np.copyto(limited, depth)
    beyond = far if sky is None else far | sky
    # Four times as fast as NumPy's ways where the mask is no large patch.
    if left:
        cv2.copyTo(np.full_like(limited, np.nan), (~(kept | beyond)).view(np.uint8), limited)
    if far_count or sky_count:
        cv2.copyTo(np.full_like(limited, np.inf), beyond.view(np.uint8), limited)
    return LimitedDepth(limited, counts)


@lru_cache(maxsize=8)
def ray_lengths(intrinsics: Intrinsics) -> Float32Array:
    """Distance from the camera per Z-depth, sqrt(x^2 + y^2 + 1), (H, W) float32, read-only."""
    rays = ray_map(intrinsics)
    lengths = np.sqrt(rays[..., 0] ** 2 + rays[..., 1] ** 2 + np.float32(1.0))
    lengths.flags.writeable = False
    return np.asarray(lengths, dtype=np.float32)


def _ray_lengths(depth: Float32Array, intrinsics: Intrinsics) -> Float32Array:
    if depth.shape != (intrinsics.height, intrinsics.width):
        msg = (
            f'depth is {depth.shape[1]}x{depth.shape[0]} px but the intrinsics are for '
            f'{intrinsics.width}x{intrinsics.height} px'
        )
        raise ValueError(msg)
    return depth * ray_lengths(intrinsics)
