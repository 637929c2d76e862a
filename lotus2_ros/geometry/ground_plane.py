"""The ground as the plane that a camera at a known height stands over, and what rises from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.types import BoolArray, Float32Array, UInt8Array

Float64Array = NDArray[np.float64]

UNKNOWN, GROUND, OBSTACLE = 0, 1, 2
"""Labels of `label_ground`."""


@dataclass(frozen=True, slots=True)
class GroundPlane:
    """A flat ground, in the optical frame.

    Attributes:
        up: (x, y, z), away from the ground (against gravity); of any length but 0.
        height: of the camera over the ground [m].
        tilt_sigma_deg: standard deviation of the direction, about each axis [deg].
        height_sigma: standard deviation of the height, as a share of it.
    """

    up: tuple[float, float, float]
    height: float
    tilt_sigma_deg: float = 0.5
    height_sigma: float = 0.02

    @property
    def is_usable(self) -> bool:
        """Whether direction and height are finite, the height above 0, and the direction one."""
        numbers = np.array([*self.up, self.height], dtype=np.float64)
        return bool(np.isfinite(numbers).all() and np.linalg.norm(self.up) > 1e-6) and (
            self.height > 0.0
        )

    @property
    def unit_up(self) -> Float64Array:
        """(3,) float64 of length 1."""
        up = np.asarray(self.up, dtype=np.float64)
        return np.asarray(up / np.linalg.norm(up), dtype=np.float64)

    def inverse_depth(self, rays: NDArray[np.floating]) -> Float64Array:
        """1 / z of the ground along rays, negative above the horizon [1/m].

        From up . X = -height with X = z (x, y, 1): 1 / z = -(up . (x, y, 1)) / height, which is
        linear in the pixel.

        Args:
            rays: (..., 2) as (x / z, y / z).
        """
        up = self.unit_up / -self.height
        return np.asarray(rays[..., 0] * up[0] + rays[..., 1] * up[1] + up[2], dtype=np.float64)


class GroundLabels(NamedTuple):
    """What stands where.

    Attributes:
        labels: (H, W) uint8: UNKNOWN, GROUND or OBSTACLE.
        height: (H, W) float32 over the ground [m], negative below it; NaN where the depth is
            unknown or infinite.
    """

    labels: UInt8Array
    height: Float32Array


def label_ground(
    inverse_depth: Float32Array,
    rays: NDArray[np.floating],
    plane: GroundPlane,
    *,
    normals: Float32Array | None = None,
    tolerance: float = 0.05,
    relative_tolerance: float = 0.05,
    ceiling: float = float('inf'),
    largest_slope_deg: float = 30.0,
) -> GroundLabels:
    """Tell ground from what rises from it.

    The height over the ground is h (1 - q z), with q the ground's own 1 / z at the pixel. A pixel
    is ground if its height is within the tolerance of 0, which grows with the error of the depth
    and, with the distance, with that of the tilt; and, where normals are at hand, if it lies flat.
    Above, up to the ceiling, it is an obstacle. Below (a step down, or a reflection), at heights of
    ground that is too steep, and where there is no depth, it is unknown.

    Args:
        inverse_depth: (H, W) 1 / z [1/m]; not finite, 0 or negative where there is no depth.
        rays: (H, W, 2) of the camera, as (x / z, y / z).
        plane: the ground.
        normals: (H, W, 3) facing the camera, in the optical frame.
        tolerance: of the height, at any distance [m].
        relative_tolerance: of the depth, as a share of it.
        ceiling: higher is no obstacle [m].
        largest_slope_deg: steeper is no ground [deg].
    """
    with np.errstate(divide='ignore', invalid='ignore'):
        depth = np.where(inverse_depth > 0.0, 1.0 / inverse_depth, np.nan).astype(np.float64)
        depth[~np.isfinite(depth)] = np.nan
        drop = plane.inverse_depth(rays) * depth * plane.height  # how far below the camera
        height = plane.height - drop
        tilt = np.radians(plane.tilt_sigma_deg) * depth
        allowed = np.sqrt(tolerance**2 + (relative_tolerance * drop) ** 2 + tilt**2)
        ground = np.abs(height) <= allowed
        obstacle = (height > allowed) & (height <= ceiling)
    if normals is not None:
        ground &= lies_flat(normals, plane, largest_slope_deg)
    labels = np.full(depth.shape, UNKNOWN, dtype=np.uint8)
    labels[ground] = GROUND
    labels[obstacle] = OBSTACLE
    return GroundLabels(labels, height.astype(np.float32))


def lies_flat(normals: Float32Array, plane: GroundPlane, largest_slope_deg: float) -> BoolArray:
    """Where normals point up to within an angle; False where they are NaN.

    Args:
        normals: (..., 3) unit vectors facing the camera, in the optical frame.
        plane: the ground.
        largest_slope_deg: largest angle to the ground's normal [deg].
    """
    up = plane.unit_up.astype(np.float32)
    cosine = normals[..., 0] * up[0] + normals[..., 1] * up[1] + normals[..., 2] * up[2]
    return np.asarray(cosine >= np.cos(np.radians(largest_slope_deg)), dtype=np.bool_)
