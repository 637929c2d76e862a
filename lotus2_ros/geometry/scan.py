"""A laser scan of what stands in a band of heights, for stacks without voxel layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.types import BoolArray, Float32Array

_STEP = 0.05
"""Distance between the places of a beam at which it is asked whether they were seen [m]."""

_STRIDE = 2
"""Free space is read off every second ray of every second row: what these saw, they saw. Obstacles
are read off all rays."""

_FAN_PITCH = 3.0
"""Width of a direction of the fan about the camera, in pixels of the middle of the image. Above the
stride, so that no direction is without a ray."""


@dataclass(frozen=True, slots=True)
class ScanLayout:
    """Beams as sensor_msgs/LaserScan describes them, and the band they look at.

    Attributes:
        angle_min: direction of the first beam, from x towards y [rad].
        angle_increment: from each beam to the next, above 0 [rad].
        beams: their number.
        range_min: nearest range [m].
        range_max: farthest range [m].
        low: lower end of the band in the level frame [m].
        high: upper end of the band [m].
    """

    angle_min: float
    angle_increment: float
    beams: int
    range_min: float = 0.1
    range_max: float = 10.0
    low: float = 0.05
    high: float = 1.0

    def __post_init__(self) -> None:
        if (
            self.beams < 1
            or self.angle_increment <= 0.0
            or not 0.0 <= self.range_min < self.range_max
            or not self.low < self.high
        ):
            msg = f'{self}: needs beams, an increment above 0, and both ranges and band in order'
            raise ValueError(msg)

    @classmethod
    def between(cls, angle_min: float, angle_max: float, beams: int, **rest: float) -> ScanLayout:
        """Beams from angle_min to angle_max, both included [rad]; two at least."""
        return cls(angle_min, (angle_max - angle_min) / max(1, beams - 1), beams, **rest)

    @property
    def angle_max(self) -> float:
        """Direction of the last beam [rad]."""
        return self.angle_min + (self.beams - 1) * self.angle_increment


class Scan(NamedTuple):
    """Ranges of a LaserScan.

    Attributes:
        ranges: (beams,) float32 [m]: distance in the plane to the nearest thing in the band; +Inf
            where the band was seen free to range_max; NaN where that was not seen.
        hits: beams with a finite range.
        clear: beams with +Inf.
        unknown: beams with NaN.
    """

    ranges: Float32Array
    hits: int
    clear: int
    unknown: int


def laser_scan(
    depth: Float32Array,
    intrinsics: Intrinsics,
    camera_to_level: NDArray[np.float64],
    layout: ScanLayout,
    *,
    leave_out: BoolArray | None = None,
) -> Scan:
    """Scan of a depth image with its limits applied, in a level frame.

    A beam's range is the distance of the nearest point of the band from the frame's z axis. A thing
    nearer than range_min makes the beam NaN: it is not clear, and a LaserScan cannot say more.

    A beam is +Inf if every place along it, from the first one that was seen to range_max, was seen
    free by some ray inside the band. A ray sees the band from where it enters it to where it leaves
    it or meets something; one with NaN depth sees nothing. So a camera above the band that looks
    down sees the band only as far as it sees the floor.

    Args:
        depth: (H, W) float32 Z-depth [m]; +Inf where nothing is in range, NaN where unknown.
        intrinsics: camera of that image, of the same size.
        camera_to_level: (4, 4), optical frame to the scan's frame: z up, origin at the height that
            the band is counted from.
        layout: beams, ranges and band.
        leave_out: (H, W) bool, True at pixels to leave out, such as flying ones; None for none.

    Raises:
        ValueError: sizes or shapes differ.
    """
    size = (intrinsics.height, intrinsics.width)
    if depth.shape != size or (leave_out is not None and leave_out.shape != size):
        other = '' if leave_out is None else f' and the mask {leave_out.shape}'
        msg = f'depth has shape {depth.shape}{other} but the intrinsics are for {size}'
        raise ValueError(msg)
    if camera_to_level.shape != (4, 4):
        msg = f'camera_to_level has shape {camera_to_level.shape}, not (4, 4)'
        raise ValueError(msg)
    seen = depth if leave_out is None else np.where(leave_out, np.float32(np.nan), depth)
    transform = np.ascontiguousarray(camera_to_level, dtype=np.float64)
    rays = _level_rays(intrinsics, transform[:3, :3].tobytes())
    nearest = _nearest(seen, rays, transform[:3, 3], layout)
    ranges = np.where(nearest >= layout.range_min, nearest, np.nan)
    ranges[nearest > layout.range_max] = np.nan
    free = _seen_free(seen, rays, transform[:3, 3], layout)
    ranges[free & (nearest > layout.range_max)] = np.inf
    hits = int(np.count_nonzero(np.isfinite(ranges)))
    clear = int(np.count_nonzero(np.isposinf(ranges)))
    return Scan(ranges.astype(np.float32), hits, clear, layout.beams - hits - clear)


class _Rays(NamedTuple):
    """Rays (x, y, 1) of all pixels in the level frame's orientation, per Z-depth, float32.

    Attributes:
        forward: x, (H, W).
        left: y, (H, W).
        up: z, (H, W).
        plane: distance in the plane, of every _STRIDE-th pixel of every _STRIDE-th row.
        column: direction in the plane of the same pixels: index into the fan about the camera.
        columns: number of directions of that fan.
    """

    forward: Float32Array
    left: Float32Array
    up: Float32Array
    plane: Float32Array
    column: NDArray[np.intp]
    columns: int


@lru_cache(maxsize=8)
def _level_rays(intrinsics: Intrinsics, rotation: bytes) -> _Rays:
    turn = np.frombuffer(rotation, dtype=np.float64).reshape(3, 3)
    x = (np.arange(intrinsics.width) - intrinsics.cx) / intrinsics.fx
    y = (np.arange(intrinsics.height) - intrinsics.cy) / intrinsics.fy
    forward, left, up = (
        (axis[1] * y + axis[2]).astype(np.float32)[:, None] + (axis[0] * x).astype(np.float32)
        for axis in turn
    )
    coarse = (slice(None, None, _STRIDE), slice(None, None, _STRIDE))
    plane = np.hypot(forward[coarse], left[coarse])
    pitch = _FAN_PITCH / max(intrinsics.fx, intrinsics.fy)
    columns = max(4, math.ceil(2.0 * math.pi / pitch))
    angle = np.arctan2(left[coarse], forward[coarse]).astype(np.float64)
    column = np.floor((angle + math.pi) * (columns / (2.0 * math.pi))).astype(np.intp) % columns
    return _Rays(forward, left, up, plane, column, columns)


def _nearest(
    depth: Float32Array, rays: _Rays, origin: NDArray[np.float64], layout: ScanLayout
) -> NDArray[np.float64]:
    """Distance of the nearest point of the band in each beam [m]; +Inf for none."""
    with np.errstate(invalid='ignore'):
        height = depth * rays.up
    inside = height >= np.float32(layout.low - origin[2])
    inside &= height <= np.float32(layout.high - origin[2])
    inside &= depth < np.inf
    pixels = np.flatnonzero(inside)
    z = depth.reshape(-1)[pixels].astype(np.float64)
    x = z * rays.forward.reshape(-1)[pixels] + origin[0]
    y = z * rays.left.reshape(-1)[pixels] + origin[1]
    beam = _beams(x, y, layout)
    nearest = np.full(layout.beams + 1, np.inf)  # the last one takes what is in no beam
    # Several times as fast as np.hypot; nothing here is so far away that a square overflows.
    np.minimum.at(nearest, np.minimum(beam, layout.beams), np.sqrt(x * x + y * y))
    return nearest[:-1]


def _beams(x: NDArray[np.float64], y: NDArray[np.float64], layout: ScanLayout) -> NDArray[np.intp]:
    """Beam of each point in the plane, beyond the last one where there is none.

    Beams are increments wide.
    """
    turns = np.arctan2(y, x)
    turns -= layout.angle_min - 0.5 * layout.angle_increment
    # np.mod by steps of a whole turn: far faster, and two of them at most are needed.
    while turns.size and turns.min() < 0.0:
        turns[turns < 0.0] += 2.0 * math.pi
    while turns.size and turns.max() >= 2.0 * math.pi:
        turns[turns >= 2.0 * math.pi] -= 2.0 * math.pi
    turns *= 1.0 / layout.angle_increment
    return turns.astype(np.intp)


def _seen_free(
    depth: Float32Array, rays: _Rays, origin: NDArray[np.float64], layout: ScanLayout
) -> BoolArray:
    """Beams that were seen free to range_max, see `laser_scan`."""
    column, step = _places(layout, float(origin[0]), float(origin[1]), rays.columns)
    free = _seen_steps(depth, rays, float(origin[2]), layout, int(step.max()) + 1)[column, step]
    before = np.arange(free.shape[1]) < np.argmax(free, axis=1)[:, None]
    return np.asarray((free | before).all(axis=1) & free.any(axis=1), dtype=np.bool_)


@lru_cache(maxsize=8)
def _places(
    layout: ScanLayout, camera_x: float, camera_y: float, columns: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Of places along every beam: direction and steps from the camera, (beams, places) each."""
    distance = np.arange(layout.range_min, layout.range_max, _STEP)
    distance = np.append(distance, layout.range_max)
    angle = layout.angle_min + layout.angle_increment * np.arange(layout.beams)
    x = np.cos(angle)[:, None] * distance - camera_x
    y = np.sin(angle)[:, None] * distance - camera_y
    turn = (np.arctan2(y, x) + math.pi) * (columns / (2.0 * math.pi))
    column = np.floor(turn).astype(np.intp) % columns
    step = np.floor(np.hypot(x, y) / _STEP).astype(np.intp)
    return column, step


def _seen_steps(
    depth: Float32Array, rays: _Rays, height: float, layout: ScanLayout, steps: int
) -> BoolArray:
    """Which steps of distance from the camera some ray sees all of inside the band.

    Returns:
        (columns, steps) bool, by directions of the fan about the camera.
    """
    enter, leave = _crossing(rays.up[::_STRIDE, ::_STRIDE], height, layout)
    with np.errstate(invalid='ignore'):
        until = np.minimum(depth[::_STRIDE, ::_STRIDE], leave)
        seen = np.flatnonzero(until > enter)  # false for NaN, and where something is met before
    plane = rays.plane.reshape(-1).take(seen) * np.float32(1.0 / _STEP)
    limit = np.float32(steps)
    with np.errstate(invalid='ignore'):  # straight up or down: 0 times infinity
        first = np.ceil(np.fmin(enter.reshape(-1).take(seen) * plane, limit))
        last = np.floor(np.fmin(until.reshape(-1).take(seen) * plane, limit))
    whole = np.flatnonzero(last > first)
    start = rays.column.reshape(-1).take(seen.take(whole)) * (steps + 1)
    size = rays.columns * (steps + 1)
    begun = np.bincount(start + first.take(whole).astype(np.intp), minlength=size)
    ended = np.bincount(start + last.take(whole).astype(np.intp), minlength=size)
    inside = np.cumsum((begun - ended).reshape(rays.columns, steps + 1), axis=1) > 0
    return np.asarray(inside[:, :steps], dtype=np.bool_)


def _crossing(
    up: Float32Array, height: float, layout: ScanLayout
) -> tuple[Float32Array, Float32Array]:
    """Z-depths at which rays enter and leave the band; a ray that never does leaves at 0."""
    with np.errstate(divide='ignore', invalid='ignore'):
        to_low = np.float32(layout.low - height) / up
        to_high = np.float32(layout.high - height) / up
    enter = np.maximum(np.minimum(to_low, to_high), np.float32(0.0))
    leave = np.maximum(np.maximum(to_low, to_high), np.float32(0.0))
    level = up == 0.0
    if level.any():
        inside = layout.low <= height <= layout.high
        enter[level] = 0.0
        leave[level] = np.inf if inside else 0.0
    return enter, leave
