"""How depth changed by the camera's own motion, from optical flow and the depth before.

With the inverse depth of each pixel known, the flow of a rigid scene is linear in the six numbers
of a small motion (Longuet-Higgins and Prazdny 1980), and a robust fit finds them. It matters little
that the inverse depth has an unknown scale: the motion then has its inverse, and what comes out,
the share by which depth changes, is free of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.scale.quantile import robust_sigma
from lotus2_ros.types import Float32Array

Float64Array = NDArray[np.float64]

_FOCAL = 0.65
"""Focal length in image widths, of a lens of 75 degrees. It weighs in the small terms only: those
of rotation that bend over the image."""

_STRIDE = 4
_FEWEST = 50
_ITERATIONS = 8
_TUKEY = 4.685
"""Tukey's constant: 95% efficiency for normal errors (Huber and Ronchetti 2009)."""

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
    height, width = inverse_depth.shape
    focal = _FOCAL * width
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x = (columns - 0.5 * (width - 1)) / np.float32(focal)
    y = (rows - 0.5 * (height - 1)) / np.float32(focal)
    grid = (slice(None, None, _STRIDE), slice(None, None, _STRIDE))
    known = np.isfinite(inverse_depth[grid]) & (inverse_depth[grid] > 0.0)
    if np.count_nonzero(known) < _FEWEST:
        return None
    places = [image[grid][known].astype(np.float64) for image in (x, y, inverse_depth)]
    target = np.concatenate([flow[grid][known][:, i].astype(np.float64) for i in range(2)]) / focal
    motion = _robust(_design(*places), target, _SETTLED_PX / focal)
    if motion is None:
        return None
    forward, turn_x, turn_y = (np.float32(motion[i]) for i in (2, 3, 4))
    # z before = z now (1 + turn_x y - turn_y x) + forward.
    covered = forward * inverse_depth
    with np.errstate(divide='ignore', invalid='ignore'):
        now = inverse_depth * (1.0 + turn_x * y - turn_y * x) / (1.0 - covered)
    return np.where(np.abs(covered) < _NEAREST, now, np.nan).astype(np.float32)


def _design(x: Float64Array, y: Float64Array, r: Float64Array) -> Float64Array:
    """(2 N, 6): flow along columns, then along rows, by shift (x, y, z) and turn (x, y, z)."""
    zero, one = np.zeros_like(x), np.ones_like(x)
    columns = np.stack([r, zero, -x * r, -x * y, one + x * x, -y], axis=1)
    rows = np.stack([zero, r, -y * r, -one - y * y, x * y, x], axis=1)
    return np.concatenate([columns, rows])


def _robust(design: Float64Array, target: Float64Array, floor: float) -> Float64Array | None:
    """Reweighted least squares with Tukey's weights."""
    weights = np.ones_like(target)
    solution: Float64Array = np.zeros(design.shape[1])
    for _ in range(_ITERATIONS):
        weighted = design.T * weights
        try:
            found = np.linalg.solve(weighted @ design, weighted @ target)
        except np.linalg.LinAlgError:
            return None
        solution = np.asarray(found, dtype=np.float64)
        residual = np.abs(target - design @ solution)
        scale = max(floor, robust_sigma(residual))
        # Tukey's: what moves by itself does so together, and would pull at any other.
        weights = (1.0 - np.minimum(residual / (_TUKEY * scale), 1.0) ** 2) ** 2
    return solution if np.isfinite(solution).all() else None
