"""The two clouds that costmaps want: lean, finite obstacles, and far ends of rays that clear."""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.limits import ray_lengths
from lotus2_ros.geometry.projection import ray_map
from lotus2_ros.types import BoolArray, Float32Array

_VOXELS_TO_A_SIDE = 1 << 20
"""Voxel coordinates take 21 bits each, sign included, so that a key fits into 63."""

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 / golden ratio, odd: Knuth's multiplicative hashing."""

_NEXT_MULTIPLIER = 0xD1342543DE82EF95
"""Another odd number (L'Ecuyer's, for generators modulo 2^64); a product of odd ones stays odd."""


class NavigationClouds(NamedTuple):
    """What one depth image says to a costmap, in the optical frame.

    Attributes:
        obstacles: (N, 3) float32 x, y, z [m], or (N, 4) with the height over the ground [m] when a
            ground plane was given; finite, in the order of the image's rows.
        clearing: (M, 3) float32, where rays that met nothing are at clearing_range [m].
        voxel: side of the voxels that the obstacles were thinned with [m].
        measured: finite points before thinning.
        clear_rays: rays that clear, before thinning.
    """

    obstacles: Float32Array
    clearing: Float32Array
    voxel: float
    measured: int
    clear_rays: int


def navigation_clouds(
    depth: Float32Array,
    intrinsics: Intrinsics,
    *,
    leave_out: BoolArray | None = None,
    ground: NDArray[np.float64] | None = None,
    max_points: int = 20000,
    voxel: float = 0.05,
    clearing_range: float = 6.0,
    max_clearing_points: int = 2000,
    clearing_margin: int = 2,
) -> NavigationClouds:
    """Obstacles and clearing rays of a depth image with its limits applied.

    A pixel is in one of the clouds or in none: finite depth is an obstacle, +Inf clears, NaN and
    what is left out do neither.

    Args:
        depth: (H, W) float32 Z-depth [m]; +Inf where nothing is in range, NaN where unknown.
        intrinsics: camera of that image, of the same size.
        leave_out: (H, W) bool, True at pixels to leave out, such as flying ones; None for none.
        ground: (a, b, c, d), unit normal (a, b, c) pointing up, in the optical frame: the height of
            a point over the ground is a x + b y + c z + d [m]. None for no height.
        max_points: most obstacle points; the voxels grow until it is met.
        voxel: least side of a voxel [m].
        clearing_range: distance from the camera of the clearing points [m].
        max_clearing_points: most clearing points.
        clearing_margin: pixels as near as this to one with a measured depth do not clear: a ray
            that grazes an obstacle would clear the cell that the obstacle marks [px].

    Raises:
        ValueError: sizes differ, or a number is out of range.
    """
    _check(depth, intrinsics, leave_out, max_points, voxel, clearing_range, max_clearing_points)
    measured = depth < np.inf  # false for NaN
    clear = depth == np.inf
    if clear.any():
        clear &= ~_widened(measured, clearing_margin)
    if leave_out is not None:
        measured &= ~leave_out
        clear &= ~leave_out
    pixels = np.flatnonzero(measured)
    points = _points(depth, pixels, intrinsics)
    chosen, side = thin_to_budget(points, max_points, voxel)
    obstacles = points[chosen]
    if ground is not None:
        height = obstacles.astype(np.float64) @ ground[:3] + ground[3]
        obstacles = np.column_stack([obstacles, height.astype(np.float32)])
    rays = thin_by_stride(clear, max_clearing_points)
    clearing = _at_range(rays, intrinsics, clearing_range)
    return NavigationClouds(obstacles, clearing, side, len(pixels), int(np.count_nonzero(clear)))


def thin_to_budget(
    points: Float32Array, max_points: int, voxel: float
) -> tuple[NDArray[np.intp], float]:
    """Choose the nearest point of each voxel, of voxels large enough for a budget.

    Voxels are cubes aligned with the origin. Their side is a whole multiple of `voxel`, so the
    larger ones are made of whole smaller ones, and the nearest of the nearest is the nearest: all
    points are looked at only once. Of equally near points the first is chosen.

    Args:
        points: (N, 3) float32, finite [m]; near means small z.
        max_points: most points chosen, at least 1.
        voxel: least side of a voxel [m].

    Returns:
        Ascending indices of the chosen points, and the side of the voxels [m].
    """
    if len(points) == 0:
        return np.zeros(0, dtype=np.intp), voxel
    # Only a scene of kilometres, or a tiny voxel, needs a larger side for its keys to fit.
    multiple = max(1, math.ceil(float(np.abs(points).max()) / (voxel * (_VOXELS_TO_A_SIDE - 1))))
    base = voxel * multiple
    cells = np.floor(points * np.float32(1.0 / base)).astype(np.int32)
    chosen = _nearest_in_each(cells, points[:, 2])
    fine, candidates = cells[chosen], chosen
    times = 1
    while len(chosen) > max_points:
        # Points lie on surfaces, so their number falls with the square of the side.
        growth = math.sqrt(len(chosen) / max_points)
        times = max(times + 1, int(times * growth))
        coarse = np.floor_divide(fine, np.int32(times))
        chosen = candidates[_nearest_in_each(coarse, points[candidates, 2])]
        if coarse.min() >= -1 and coarse.max() <= 0:
            # Eight voxels meet at the origin and no side can join them: keep the nearest.
            order = np.argsort(points[chosen, 2], kind='stable')
            chosen = np.sort(chosen[order[:max_points]])
    return chosen, base * times


def thin_by_stride(mask: BoolArray, max_pixels: int) -> NDArray[np.intp]:
    """Flat indices of the mask's pixels on the finest square grid that leaves at most max_pixels.

    The grid begins at half a stride, so that it is centred in the image.
    """
    total = int(np.count_nonzero(mask))
    if total == 0 or max_pixels == 0:
        return np.zeros(0, dtype=np.intp)
    stride = max(1, math.isqrt(max(0, total - 1) // max_pixels))
    while True:
        start = stride // 2
        rows, columns = np.nonzero(mask[start::stride, start::stride])
        if len(rows) <= max_pixels:
            return np.asarray(
                (rows * stride + start) * mask.shape[1] + columns * stride + start, dtype=np.intp
            )
        stride += 1


def _check(
    depth: Float32Array,
    intrinsics: Intrinsics,
    leave_out: BoolArray | None,
    max_points: int,
    voxel: float,
    clearing_range: float,
    max_clearing_points: int,
) -> None:
    size = (intrinsics.height, intrinsics.width)
    if depth.shape != size or (leave_out is not None and leave_out.shape != size):
        other = '' if leave_out is None else f' and the mask {leave_out.shape}'
        msg = f'depth has shape {depth.shape}{other} but the intrinsics are for {size}'
        raise ValueError(msg)
    if max_points < 1 or max_clearing_points < 0 or voxel <= 0.0 or clearing_range <= 0.0:
        msg = (
            f'max_points {max_points} must be at least 1, max_clearing_points '
            f'{max_clearing_points} at least 0, voxel {voxel} and clearing_range {clearing_range} '
            'above 0'
        )
        raise ValueError(msg)


def _widened(mask: BoolArray, margin: int) -> BoolArray:
    if margin < 1:
        return mask
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), dtype=np.uint8)
    return np.asarray(cv2.dilate(mask.view(np.uint8), kernel)).view(np.bool_)


def _points(depth: Float32Array, pixels: NDArray[np.intp], intrinsics: Intrinsics) -> Float32Array:
    points = np.empty((len(pixels), 3), dtype=np.float32)
    z = depth.reshape(-1).take(pixels)
    rays = ray_map(intrinsics).reshape(-1, 2).take(pixels, axis=0)
    # One column at a time: broadcasting over an axis of length 2 is ten times slower.
    np.multiply(rays[:, 0], z, out=points[:, 0])
    np.multiply(rays[:, 1], z, out=points[:, 1])
    points[:, 2] = z
    return points


def _at_range(pixels: NDArray[np.intp], intrinsics: Intrinsics, distance: float) -> Float32Array:
    z = np.float32(distance) / ray_lengths(intrinsics).reshape(-1)[pixels]
    rays = ray_map(intrinsics).reshape(-1, 2)[pixels]
    return np.asarray(np.column_stack([rays * z[:, None], z]), dtype=np.float32)


def _nearest_in_each(cells: NDArray[np.int32], depth: Float32Array) -> NDArray[np.intp]:
    """Ascending indices of the nearest point of every distinct cell, without sorting.

    A hash table keeps the least (depth, index) of each slot. The winner of a slot is the nearest of
    its cell; points of other cells that share the slot go another round with another hash.
    """
    # Neighbours in a row mostly share a cell: what is left of each run goes into the table.
    differs = cells[1:] ^ cells[:-1]
    begins = np.flatnonzero((differs[:, 0] | differs[:, 1] | differs[:, 2]) != 0)
    starts = np.concatenate([[0], begins + 1])
    order = np.minimum.reduceat(_order(depth), starts)
    offset = np.int64(_VOXELS_TO_A_SIDE)
    first = cells[starts]
    key = first[:, 0] + offset
    key <<= np.int64(21)
    key |= first[:, 1] + offset
    key <<= np.int64(21)
    key |= first[:, 2] + offset
    return np.sort(_least_of_each_key(key.view(np.uint64), order))


def _order(depth: Float32Array) -> NDArray[np.uint64]:
    """(N,) numbers ordered as the depths are, and among equal ones as their indices are.

    Bits of a positive float are ordered as the float is; the index below breaks ties.
    """
    halves = np.empty((len(depth), 2), dtype=np.uint32)
    low = 0 if sys.byteorder == 'little' else 1
    halves[:, low] = np.arange(len(depth), dtype=np.uint32)
    halves[:, 1 - low] = depth.view(np.uint32)
    return halves.view(np.uint64)[:, 0]


def _least_of_each_key(key: NDArray[np.uint64], order: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Lower half of the least order of every distinct key, unsorted."""
    bits = max(4, (2 * len(key)).bit_length())
    shift = np.uint64(64 - bits)
    empty = np.iinfo(np.uint64).max
    lower = np.uint64(0xFFFFFFFF)
    multiplier = _MULTIPLIER
    winners = []
    while len(key):
        slot = ((key * multiplier) >> shift).astype(np.intp)
        table = np.full(1 << bits, empty, dtype=np.uint64)
        np.minimum.at(table, slot, order)
        winners.append(table[table != empty] & lower)
        won = table[slot] == order
        key_of_slot = np.zeros(1 << bits, dtype=np.uint64)
        key_of_slot[slot[won]] = key[won]
        lost = key != key_of_slot[slot]
        key, order = key[lost], order[lost]
        multiplier = np.uint64((int(multiplier) * _NEXT_MULTIPLIER) % 2**64)
    return np.concatenate(winners).astype(np.intp)
