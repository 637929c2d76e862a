"""From the model's disparity to metres and millimetres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.types import Float32Array

_MILLIMETRES_MAX = 65535


def disparity_to_depth(
    disparity: Float32Array,
    *,
    scale: float,
    shift: float,
    min_range: float,
    max_range: float,
) -> Float32Array:
    """Z-depth by z = 1 / (scale * disparity + shift), marked as REP-117 wants it.

    Args:
        disparity: (H, W) float32, larger is nearer; NaN where unknown.
        scale: a [1/m].
        shift: b [1/m].
        min_range: nearer depth becomes NaN: too near to be measured [m].
        max_range: farther depth, and depth at or behind infinity, becomes +Inf [m].

    Returns:
        (H, W) float32 [m], never 0 and never negative.
    """
    inverse = inverse_depth(disparity, scale=scale, shift=shift)
    return depth_of_inverse(inverse, min_range=min_range, max_range=max_range)


def inverse_depth(
    disparity: Float32Array, *, scale: float, shift: float, out: Float32Array | None = None
) -> Float32Array:
    """1 / z = scale * disparity + shift, (H, W) float32 [1/m]; see `disparity_to_depth`.

    Args:
        disparity: as there.
        scale: as there.
        shift: as there.
        out: (H, W) float32 that it is written to; None for a new array.
    """
    inverse = np.multiply(disparity, np.float32(scale), out=out, dtype=np.float32)
    inverse += np.float32(shift)
    return inverse


def depth_of_inverse(inverse: Float32Array, *, min_range: float, max_range: float) -> Float32Array:
    """Z-depth from its inverse, in place; see `disparity_to_depth`."""
    if is_within(inverse, min_range=min_range, max_range=max_range):
        return np.asarray(np.reciprocal(inverse, out=inverse), dtype=np.float32)
    depth = inverse
    beyond = depth <= 0.0
    with np.errstate(divide='ignore', invalid='ignore'):
        np.reciprocal(depth, out=depth)
    beyond |= depth > max_range
    too_near = depth < min_range
    too_near |= depth == 0.0  # an infinite disparity
    depth[too_near] = np.nan
    depth[beyond] = np.inf
    return depth


def is_within(inverse: Float32Array, *, min_range: float, max_range: float) -> bool:
    """Whether all of an inverse depth [1/m] is of depths within limits [m], none of it NaN."""
    least, most = inverse.min(initial=np.inf), inverse.max(initial=0.0)  # NaN where there is one
    # 1 / x falls, rounded or not: where both ends are within the limits, so is all between.
    return bool(
        least > 0.0
        and most < np.inf
        and np.reciprocal(most) >= min_range
        and np.reciprocal(least) <= max_range
    )


def depth_to_millimetres(depth: Float32Array) -> NDArray[np.uint16]:
    """The 16UC1 form of a depth image (REP-118).

    Args:
        depth: (H, W) float32 [m]; NaN and infinities are invalid.

    Returns:
        (H, W) uint16 [mm], rounded; 0 where invalid or beyond 65.535 m.
    """
    with np.errstate(invalid='ignore', over='ignore'):
        millimetres = np.rint(depth * np.float32(1000.0))
        representable = (millimetres >= 0.0) & (millimetres <= _MILLIMETRES_MAX)
    millimetres[~representable] = 0.0
    return np.asarray(millimetres, dtype=np.uint16)
