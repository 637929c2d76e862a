"""Points of a lidar that a camera sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.lens import Lens
from lotus2_ros.geometry.occlusion import occluded_points
from lotus2_ros.geometry.rigid import is_rigid, transform_moving_points, transform_points
from lotus2_ros.geometry.scale.choice import some
from lotus2_ros.geometry.scale.estimate import NoScale
from lotus2_ros.types import BoolArray

Float64Array = NDArray[np.float64]

_MOST_LOOKED_AT = 5000
"""Points in front of the camera that are projected; occlusion is told as well with these."""

_MOST_READ = 16_000
"""Points of the whole turn; of a clustered cloud, enough are in front of the camera then too."""

NEAREST = 0.05
"""Nearer returns are the sensor itself, or zeros that stand for no return [m]."""


@dataclass(frozen=True, slots=True)
class LidarScan:
    """Points and where the sensor was.

    Attributes:
        points: (N, 3) in the sensor frame at each point's own time [m]; NaN and zeros are no
            returns.
        to_camera: (4, 4), sensor at the beginning of the scan -> optical frame at the time of the
            image. The caller takes care of stamps and frames.
        to_camera_end: the same for the end of the scan; None if nothing moved.
        fraction: (N,) time of each point, 0 at the beginning, 1 at the end; needed with
            `to_camera_end`.
    """

    points: NDArray[np.floating]
    to_camera: Float64Array
    to_camera_end: Float64Array | None = None
    fraction: NDArray[np.floating] | None = None


def points_in_camera(scan: LidarScan, *, enough: int, seed: int) -> Float64Array | NoScale:
    """Valid points in front of the camera, in the optical frame at the time of the image.

    Args:
        scan: points and poses.
        enough: where part of a large cloud gives fewer than this, all of it is read.
        seed: of the choice among many points.

    Returns:
        (M, 3) float64 [m], of many only some; or why there are none: 'empty cloud', 'no valid
        points', 'bad transform' or 'bad point times'.
    """
    points = np.asarray(scan.points)
    if points.size == 0:
        return NoScale('empty cloud')
    if points.ndim != 2 or points.shape[1] != 3:
        return NoScale('no valid points')
    if not is_rigid(scan.to_camera):
        return NoScale('bad transform')
    if scan.to_camera_end is not None:
        if not is_rigid(scan.to_camera_end):
            return NoScale('bad transform')
        if scan.fraction is None or scan.fraction.shape != (len(points),):
            return NoScale('bad point times')
    read = some(len(points), _MOST_READ, seed)
    found = _in_front(scan, read)
    if len(read) < len(points) and (isinstance(found, NoScale) or len(found) < enough):
        # Nearly all of the cloud is no return, or behind the camera.
        found = _in_front(scan, np.arange(len(points)))
    if isinstance(found, NoScale):
        return found
    chosen = found[some(len(found), _MOST_LOOKED_AT, seed)]
    if scan.to_camera_end is None or scan.fraction is None:
        return transform_points(scan.to_camera, points[chosen])
    fraction = scan.fraction[chosen].astype(np.float64)
    return transform_moving_points(scan.to_camera, scan.to_camera_end, fraction, points[chosen])


def visible_points(points: Float64Array, intrinsics: Intrinsics, lens: Lens) -> Float64Array:
    """Points, (N, 3) optical [m], that the camera sees: in its image, not behind nearer ones."""
    return points[_seen(points, intrinsics, lens)]


def _seen(points: Float64Array, intrinsics: Intrinsics, lens: Lens) -> NDArray[np.intp]:
    """Ascending places of the points (N, 3) in the image that no other one of them hides."""
    pixels = lens.project(points, intrinsics)
    inside = np.flatnonzero(_in_image(pixels, intrinsics))
    size = (intrinsics.width, intrinsics.height)
    return inside[~occluded_points(pixels[inside], points[inside, 2], size)]


def _in_image(pixels: Float64Array, intrinsics: Intrinsics) -> BoolArray:
    column, row = pixels[:, 0], pixels[:, 1]
    right, bottom = intrinsics.width - 0.5, intrinsics.height - 0.5
    # NaN compares false.
    return np.asarray((column > -0.5) & (column < right) & (row > -0.5) & (row < bottom))


def with_earlier_points(
    visible: Float64Array, earlier: Float64Array, intrinsics: Intrinsics, lens: Lens
) -> Float64Array:
    """Visible points and those of earlier scans that neither they nor each other hide.

    Earlier ones hide no new ones: what stood there may have gone.

    Args:
        visible: (N, 3) of the new scan, see `visible_points`.
        earlier: (M, 3) in the same optical frame, maybe behind the camera [m].
        intrinsics: of the image.
        lens: its distortion.

    Returns:
        (N + K, 3) [m].
    """
    ahead = earlier[earlier[:, 2] > NEAREST]
    if len(ahead) == 0:
        return visible
    together = np.concatenate([visible, ahead])
    seen = _seen(together, intrinsics, lens)
    return np.concatenate([visible, together[seen[seen >= len(visible)]]])


def _in_front(scan: LidarScan, read: NDArray[np.intp]) -> NDArray[np.intp] | NoScale:
    """Which of these points are returns in front of the camera, at either end of the scan."""
    x, y, z = np.ascontiguousarray(np.asarray(scan.points)[read].T)
    with np.errstate(invalid='ignore', over='ignore'):
        squared = x * x + y * y + z * z
        valid = np.isfinite(squared) & (squared > NEAREST**2)
        if not valid.any():
            return NoScale('no valid points')
        front = np.zeros_like(valid)
        for pose in (scan.to_camera, scan.to_camera_end):
            if pose is not None:
                row = pose[2].astype(x.dtype)
                front |= x * row[0] + y * row[1] + z * row[2] + row[3] > 0.0
    if scan.to_camera_end is not None and scan.fraction is not None:
        valid &= np.isfinite(scan.fraction[read])
        if not valid.any():
            return NoScale('bad point times')
    return np.asarray(read[valid & front], dtype=np.intp)
