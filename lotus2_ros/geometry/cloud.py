"""Byte layout of point clouds, as sensor_msgs/PointCloud2 describes it."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lotus2_ros.types import BoolArray, Float32Array, UInt8Array

FLOAT32 = 7
"""sensor_msgs/PointField.FLOAT32."""

XYZ_FIELDS = [('x', 0, FLOAT32), ('y', 4, FLOAT32), ('z', 8, FLOAT32)]
"""Fields of a cloud of bare points; its point step is 12 bytes."""

Field = tuple[str, int, int]


class OrganizedCloud(NamedTuple):
    """Bytes of an organized cloud and how to read them."""

    data: UInt8Array
    fields: list[Field]
    point_step: int


def cloud_fields(*, rgb: bool, normals: bool) -> tuple[list[Field], int]:
    """(name, offset, datatype) of every field, and the bytes per point."""
    names = ['x', 'y', 'z']
    if rgb:
        names.append('rgb')
    if normals:
        names += ['normal_x', 'normal_y', 'normal_z']
    return [(name, 4 * index, FLOAT32) for index, name in enumerate(names)], 4 * len(names)


def organized_cloud(
    points: Float32Array,
    rgb: UInt8Array | None = None,
    normals: Float32Array | None = None,
    *,
    keep: BoolArray | None = None,
    out: UInt8Array | None = None,
) -> OrganizedCloud:
    """Lay out an organized cloud, little-endian, without padding.

    Colour is PCL's: the bytes blue, green, red, 0 in the place of one float32 named 'rgb'.

    Args:
        points: (H, W, 3) float32.
        rgb: (H, W, 3) uint8, or None for no colour.
        normals: (H, W, 3) float32, or None for no normals.
        keep: (H, W) bool; points where it is False become NaN. None keeps all.
        out: H * W * point_step bytes to write into (see `cloud_fields`), 4-byte aligned, so that a
            message's buffer is filled without another copy; None allocates.

    Returns:
        The cloud. Coordinates and normals are NaN, all of them, wherever one coordinate is not
        finite or the point is not kept.

    Raises:
        ValueError: shapes differ, or `out` has the wrong size.
    """
    height, width = points.shape[:2]
    fields, step = cloud_fields(rgb=rgb is not None, normals=normals is not None)
    for name, extra in (('rgb', rgb), ('normals', normals)):
        if extra is not None and extra.shape != points.shape:
            msg = f'{name} has shape {extra.shape} but the points have {points.shape}'
            raise ValueError(msg)
    if out is None:
        out = np.empty(height * width * step, dtype=np.uint8)
    elif out.size != height * width * step:
        msg = f'out has {out.size} bytes; {width}x{height} points of {step} bytes need another size'
        raise ValueError(msg)
    table: NDArray[np.float32] = out.view('<f4').reshape(height, width, step // 4)
    # Whole-image operations on one column each are many times faster here than boolean indexing
    # or reductions over an axis of length 3.
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    invalid = ~_finite(points)
    if keep is not None:
        invalid |= ~keep
    columns = [x, y, z]
    if normals is not None:
        columns += [normals[..., 0], normals[..., 1], normals[..., 2]]
    places = [index for index, (name, *_) in enumerate(fields) if name != 'rgb']
    for place, column in zip(places, columns, strict=True):
        table[..., place] = column
        np.copyto(table[..., place], np.float32(np.nan), where=invalid)
    if rgb is not None:
        bgra = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA), dtype=np.uint8)
        bgra[..., 3] = 0
        table.view('<u4')[..., 3] = bgra.view('<u4')[..., 0]
    return OrganizedCloud(out, fields, step)


def nav_cloud(
    points: Float32Array, stride: int = 1, *, keep: BoolArray | None = None
) -> Float32Array:
    """The thinned, finite cloud that costmaps take.

    Args:
        points: (H, W, 3) float32.
        stride: every stride-th pixel of every stride-th row is kept, beginning with the first.
        keep: (H, W) bool; points where it is False are left out.

    Returns:
        (N, 3) float32, C-contiguous, finite; N may be 0.
    """
    thinned = points[::stride, ::stride]
    finite = _finite(thinned)
    if keep is not None:
        finite &= keep[::stride, ::stride]
    return np.ascontiguousarray(thinned[finite])


def _finite(points: Float32Array) -> BoolArray:
    finite = np.isfinite(points[..., 0])
    finite &= np.isfinite(points[..., 1])
    finite &= np.isfinite(points[..., 2])
    return finite
