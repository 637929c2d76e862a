"""What is taken of a lidar's scan before anything is predicted for the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.lens import PINHOLE, Lens
from lotus2_ros.geometry.scale.choice import some
from lotus2_ros.geometry.scale.estimate import NoScale
from lotus2_ros.geometry.scale.lidar_points import (
    LidarScan,
    points_in_camera,
    visible_points,
    with_earlier_points,
)
from lotus2_ros.geometry.scale.quantile import median
from lotus2_ros.geometry.scale.relative_fit import image_areas
from lotus2_ros.geometry.scale.sampling import Places, places_at
from lotus2_ros.geometry.scale.scan_memory import Drive

Float64Array = NDArray[np.float64]

_MOST = 600
"""Points that are fitted; more cost time and, against errors they share, gain nothing."""

_NEAR = 0.5
"""Least distance of the points for which a displacement is turned into pixels [m]."""


@dataclass(frozen=True, slots=True)
class LidarNoise:
    """How far a projected point may be wrong, as standard deviations.

    Attributes:
        range_relative: of the range, as a share of it.
        range_m: of the range, at any distance [m].
        rotation_deg: of the mounting (extrinsics), about each axis [deg].
        translation_m: of the mounting, along each axis [m].
    """

    range_relative: float = 0.01
    range_m: float = 0.01
    rotation_deg: float = 1.0
    translation_m: float = 0.02

    @property
    def pose(self) -> Float64Array:
        """(6,) of the mounting, rotation vector [rad] and translation [m], above 0."""
        turn, shift = np.radians(self.rotation_deg), self.translation_m
        return np.maximum([turn] * 3 + [shift] * 3, 1e-9)

    def of_inverse(self, inverse_depth: Float64Array) -> Float64Array:
        """Standard deviation of 1 / z by the range alone, (N,) [1/m]."""
        r = inverse_depth
        return np.sqrt(self.range_relative**2 + (self.range_m * r) ** 2) * r


class LidarSamples(NamedTuple):
    """What is taken of a scan, whatever is predicted for the image; see `lidar_samples`.

    Attributes:
        scanned: (M, 3) what a `Drive` is to keep of the scan, in the optical frame [m].
        points: (N, 3) in the optical frame that are fitted to [m].
        places: of those in the image.
        areas: (N,) how much of the image each of them stands for.
        intrinsics: of the image.
        lens: its distortion.
        noise: of the points.
        distance: of them, along the optical axis [m].
        seed: of what is drawn.
    """

    scanned: Float64Array
    points: Float64Array
    places: Places
    areas: Float64Array
    intrinsics: Intrinsics
    lens: Lens
    noise: LidarNoise
    distance: float
    seed: int


def lidar_samples(
    scan: LidarScan,
    intrinsics: Intrinsics,
    *,
    drive: Drive | None = None,
    lens: Lens = PINHOLE,
    noise: LidarNoise | None = None,
    seed: int = 0,
) -> LidarSamples | NoScale:
    """Choose points that the camera sees.

    Args:
        scan: points and poses.
        intrinsics: camera of the image.
        drive: the robot's motion and its earlier scans, of which those count too that are still in
            view; it is not changed. None is the new scan alone.
        lens: its distortion; the default is a rectified image.
        noise: None is `LidarNoise()`.
        seed: of the choice among many points.

    Returns:
        The samples, maybe none; or why there are none: 'empty cloud', 'no valid points', 'bad
        transform' or 'bad point times'.
    """
    noise = noise or LidarNoise()
    scanned = points_in_camera(scan, enough=_MOST, seed=seed)
    if isinstance(scanned, NoScale):
        return scanned
    visible = visible_points(scanned, intrinsics, lens)
    if drive is not None:
        visible = with_earlier_points(visible, drive.earlier(), intrinsics, lens)
    points = visible[some(len(visible), _MOST, seed)]
    pixels = lens.project(points, intrinsics)
    distance = max(median(points[:, 2]), _NEAR) if len(points) else _NEAR
    reach = intrinsics.fx * (np.radians(noise.rotation_deg) + noise.translation_m / distance)
    return LidarSamples(
        scanned,
        points,
        places_at(pixels, (intrinsics.height, intrinsics.width), reach=reach),
        image_areas(pixels, (intrinsics.width, intrinsics.height)),
        intrinsics,
        lens,
        noise,
        distance,
        seed,
    )
