"""Points seen from two places: along and across their epipolar lines."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


class Rays(NamedTuple):
    """Normalised coordinates (2, N) of points now and before."""

    now: Float64Array
    before: Float64Array

    def at(self, chosen: NDArray[np.intp]) -> Rays:
        """Some of them."""
        return Rays(*(values.take(chosen, axis=-1) for values in self))


class Epipolar(NamedTuple):
    """The flow after removing the rotation, along and across the epipolar lines.

    With p = R (x, y, 1) and x' the point before, x' (p_z + t_z r) = p_xy + t_xy r, so k r = g with
    k = x' t_z - t_xy and g = p_xy - x' p_z. It is linear in r = 1 / z, so noise does not bias r.

    Attributes:
        turned: (3, N) p.
        along: (2, N) unit vectors of k.
        length: (N,) |k| [m].
        parallax: (N,) component of g along k.
        off: (N,) component of g across k: 0 but for noise, and for points that move by themselves.
    """

    turned: Float64Array
    along: Float64Array
    length: Float64Array
    parallax: Float64Array
    off: Float64Array

    def at(self, chosen: NDArray[np.intp]) -> Epipolar:
        """Some of them."""
        return Epipolar(*(values.take(chosen, axis=-1) for values in self))


def epipolar(pose: Float64Array, rays: Rays) -> Epipolar:
    """Take a motion's rotation out of the flow.

    Args:
        pose: (4, 4), optical frame now -> optical frame before.
        rays: of the points.
    """
    turned = pose[:3, :2] @ rays.now + pose[:3, 2:3]
    u, v = rays.before
    px, py, pz = turned
    kx, ky = u * pose[2, 3] - pose[0, 3], v * pose[2, 3] - pose[1, 3]
    gx, gy = px - u * pz, py - v * pz
    length = np.maximum(np.hypot(kx, ky), 1e-12)
    x, y = kx / length, ky / length
    return Epipolar(turned, np.stack([x, y]), length, x * gx + y * gy, x * gy - y * gx)


def pose_jacobians(
    lines: Epipolar, rays: Rays, inverse_depth: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Change of the flow along and across the epipolar lines with the pose error, each (6, N).

    For the true pose, (w x + 1) R and t + s, holds g + dg = (k + dk) r, so g = k r + r dk - dg with
    dg = (w x p)_xy - x' (w x p)_z and dk = x' s_z - s_xy.

    Args:
        lines: of the points.
        rays: of the points.
        inverse_depth: (N,) their 1 / z now [1/m].
    """
    x, y = lines.along
    along = _pose_jacobian(lines.turned, rays.before, inverse_depth, x, y)
    return along, _pose_jacobian(lines.turned, rays.before, inverse_depth, -y, x)


def _pose_jacobian(
    turned: Float64Array,
    before: Float64Array,
    inverse_depth: Float64Array,
    x: Float64Array,
    y: Float64Array,
) -> Float64Array:
    """The same in the direction (x, y) in the image, (6, N)."""
    px, py, pz = turned
    r = inverse_depth
    depth_wise = x * before[0] + y * before[1]
    rows = np.empty((6, len(r)))
    rows[0] = y * pz + depth_wise * py
    rows[1] = -x * pz - depth_wise * px
    rows[2] = x * py - y * px
    rows[3] = -x * r
    rows[4] = -y * r
    rows[5] = depth_wise * r
    return rows
