"""Flying pixels: depth interpolated across the edge of an object, where nothing is."""

from __future__ import annotations

import numpy as np

from lotus2_ros.types import BoolArray, Float32Array


def edge_mask(depth: Float32Array, threshold: float) -> BoolArray:
    """Mark both pixels of every depth jump to a 4-neighbour.

    The jump between z1 and z2 is |z1 - z2| / min(z1, z2); it is relative, so that one threshold
    serves near and far. Neighbours without a depth:

    - +Inf (beyond range) is a jump: the outline of an object against the sky is where flying
      pixels are worst, and a wall that crosses max_range loses only its outermost pixel.
    - NaN (unknown) is no jump: nothing can be said, and marking it would eat away at every hole.

    A floor seen at a grazing angle jumps too in its last rows under the horizon (1 / n from the
    n-th row under it to the next); those rows are marked.

    Args:
        depth: (H, W) float32 [m].
        threshold: largest relative jump kept; 0 or less marks nothing.

    Returns:
        (H, W) bool, True at pixels to leave out.
    """
    mask = np.zeros(depth.shape, dtype=np.bool_)
    if threshold <= 0.0:
        return mask
    factor = np.float32(1.0 + threshold)
    # max > factor * min is the same comparison, and false by itself for NaN and for two Infs.
    upper, lower = depth[:-1], depth[1:]
    jump = np.maximum(upper, lower) > factor * np.minimum(upper, lower)
    mask[:-1] |= jump
    mask[1:] |= jump
    left, right = depth[:, :-1], depth[:, 1:]
    jump = np.maximum(left, right) > factor * np.minimum(left, right)
    mask[:, :-1] |= jump
    mask[:, 1:] |= jump
    return mask
