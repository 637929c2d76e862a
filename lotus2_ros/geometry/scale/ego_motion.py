"""How depth changed by the camera's own motion, from optical flow and the depth before.

With the inverse depth of each pixel known, the flow of a rigid scene is linear in the six numbers
of a small motion (Longuet-Higgins and Prazdny 1980), and a robust fit finds them. It matters little
that the inverse depth has an unknown scale: the motion then has its inverse, and what comes out,
the share by which depth changes, is free of it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.scale.quantile import robust_sigma
from lotus2_ros.geometry.scale.weights import tukey_weights
from lotus2_ros.types import Float32Array

Float64Array = NDArray[np.float64]

_FOCAL = 0.65
"""Focal length in image widths, of a lens of 75 degrees. It weighs in the small terms only: those
of rotation that bend over the image."""

_STRIDE = 4
_FEWEST = 50
_ITERATIONS = 8
_SETTLED = 1e-4
"""Change of the solution, relative to its largest number, with which the iteration ends."""

_SETTLED_PX = 0.05
"""Of the flow: deviations below are its own noise [px]."""

_NEAREST = 0.5
"""Largest share of the way to a pixel that was covered since: what is nearer is not predicted."""


def depth_after_motion(inverse_depth: Float32Array, flow: Float32Array) -> Float32Array | None:
    """Inverse depth of each pixel now, from that of the same place before.

    Args:
        inverse_depth: (H, W) as it was before, at the places where the pixels of the image are now
            [1/m, or any other unit]; NaN where unknown.
        flow: (H, W, 2) from each pixel now to its place before [px].

    Returns:
        (H, W) float32 in the same unit, NaN where unknown; None if no motion explains the flow.
    """
    focal = _FOCAL * inverse_depth.shape[1]
    x, y = _rays(*inverse_depth.shape)
    grid = (slice(None, None, _STRIDE), slice(None, None, _STRIDE))
    known = np.isfinite(inverse_depth[grid]) & (inverse_depth[grid] > 0.0)
    if np.count_nonzero(known) < _FEWEST:
        return None
    places = [image[grid][known].astype(np.float64) for image in (x, y, inverse_depth)]
    target = flow[grid][known].astype(np.float64).T.reshape(1, -1) / focal
    motion = _robust(np.concatenate([_design(*places), target]), _SETTLED_PX / focal)
    if motion is None:
        return None
    forward, turn_x, turn_y = (np.float32(motion[i]) for i in (2, 3, 4))
    # z before = z now (1 + turn_x y - turn_y x) + forward.
    covered = forward * inverse_depth
    with np.errstate(divide='ignore', invalid='ignore'):
        now = inverse_depth * (1.0 + turn_x * y - turn_y * x) / (1.0 - covered)
    return np.where(np.abs(covered) < _NEAREST, now, np.nan).astype(np.float32)


@lru_cache(maxsize=8)
def _rays(height: int, width: int) -> tuple[Float32Array, Float32Array]:
    """Directions x / z and y / z of every pixel, (H, W), read-only."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    focal = np.float32(_FOCAL * width)
    rays = (columns - 0.5 * (width - 1)) / focal, (rows - 0.5 * (height - 1)) / focal
    for ray in rays:
        ray.flags.writeable = False
    return rays


def _design(x: Float64Array, y: Float64Array, r: Float64Array) -> Float64Array:
    """(6, 2 N): flow along columns, then along rows, by shift (x, y, z) and turn (x, y, z)."""
    count = len(x)
    design = np.zeros((6, 2, count))
    design[0, 0], design[1, 1] = r, r
    design[2, 0], design[2, 1] = -x * r, -y * r
    design[3, 0], design[3, 1] = -x * y, -1.0 - y * y
    design[4, 0], design[4, 1] = 1.0 + x * x, x * y
    design[5, 0], design[5, 1] = -y, x
    return design.reshape(6, 2 * count)


def _robust(table: Float64Array, floor: float) -> Float64Array | None:
    """Reweighted least squares with Tukey's weights.

    Args:
        table: (7, N), the last row of which is to be a combination of the others.
        floor: residuals below are as good as none.
    """
    design, target = table[:-1], table[-1]
    weights = np.ones_like(target)
    solution: Float64Array = np.zeros(len(design))
    for _ in range(_ITERATIONS):
        sums = (design * weights) @ table.T  # all that is needed, by one product
        try:
            found = np.asarray(np.linalg.solve(sums[:, :-1], sums[:, -1]), dtype=np.float64)
        except np.linalg.LinAlgError:
            return None
        change = float(np.abs(found - solution).max())
        solution = found
        if change <= _SETTLED * float(np.abs(solution).max()):
            break
        residual = np.abs(target - solution @ design)
        scale = max(floor, robust_sigma(residual))
        # Tukey's: what moves by itself does so together, and would pull at any other.
        weights = tukey_weights(residual, scale)
    return solution if np.isfinite(solution).all() else None
