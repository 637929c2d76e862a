"""Messages of reference sensors to arrays, or why they cannot be used."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image, PointCloud2, PointField

from lotus2_ros.errors import ImageError
from lotus2_ros.geometry.rigid import is_rigid
from lotus2_ros.geometry.scale.estimate import NoScale
from lotus2_ros.ros.codecs import check_size
from lotus2_ros.types import Float32Array

Float64Array = NDArray[np.float64]

_SECOND = 1_000_000_000
_DEPTH = {'16UC1': ('u2', 0.001), 'mono16': ('u2', 0.001), '32FC1': ('f4', 1.0)}
_NUMBERS = {PointField.FLOAT32: 'f4', PointField.FLOAT64: 'f8'}
_NANOSECONDS = {PointField.UINT32: 'u4'}
_TIMES = ('t', 'time', 'timestamp', 'offset_time')
_LONGEST_SCAN_S = 1.0
"""Points are no farther from the stamp of their cloud; this tells the units of times apart, too."""


def stamp_ns(message: Any) -> int:
    """The header's stamp [ns]."""
    stamp = message.header.stamp
    return int(stamp.sec) * _SECOND + int(stamp.nanosec)


def read_depth(message: Image) -> Float32Array | NoScale:
    """(h, w) float32 Z-depth [m]: 16UC1 in millimetres with 0 for holes, 32FC1 in metres.

    Returns:
        The image; or 'unknown depth encoding', 'malformed depth image'.
    """
    if message.encoding not in _DEPTH:
        return NoScale('unknown depth encoding')
    kind, unit = _DEPTH[message.encoding]
    dtype = np.dtype(('>' if message.is_bigendian else '<') + kind)
    try:
        check_size(message.width, message.height)
    except ImageError:
        return NoScale('malformed depth image')
    row = message.width * dtype.itemsize
    # The last row may leave its padding out.
    if message.step < row or len(message.data) < message.step * (message.height - 1) + row:
        return NoScale('malformed depth image')
    data = np.frombuffer(message.data, np.uint8)
    rows = np.lib.stride_tricks.as_strided(
        data, (message.height, row), (message.step, 1), writeable=False
    )
    depth = np.ascontiguousarray(rows).view(dtype).astype(np.float32)
    return depth if unit == 1.0 else depth * np.float32(unit)


def read_points(message: PointCloud2) -> Float32Array | NoScale:
    """(N, 3) points of a cloud [m].

    Returns:
        The points; or 'malformed cloud' (no floating-point x, y, z, or less data than announced).
    """
    if message.width * message.height == 0:
        return NoScale('empty cloud')
    columns = _columns(message, {name: (name,) for name in 'xyz'}, _NUMBERS)
    if columns is None:
        return NoScale('malformed cloud')
    return np.stack([columns[name].astype(np.float32) for name in 'xyz'], axis=1)


def read_point_times(message: PointCloud2) -> Float64Array | NoScale | None:
    """(N,) when each point was measured, after the stamp of the cloud [s].

    Drivers differ: uint32 nanoseconds after the stamp (Ouster's `t`, Livox' `offset_time`), seconds
    after the stamp (Velodyne's `time`, negative before it), and the time itself as float64, in
    seconds (`timestamp` of Hesai and RoboSense) or nanoseconds (`timestamp` of Livox). Which one it
    is, is told by which one lies near the stamp.

    Returns:
        The times, NaN where a point has none; None if no point has; or 'bad point times'.
    """
    if not any(field.name in _TIMES for field in message.fields):
        return None
    columns = _columns(message, {'time': _TIMES}, _NUMBERS | _NANOSECONDS)
    if columns is None:
        return NoScale('bad point times')
    times = columns['time']
    candidates = [times * 1e-9 if times.dtype.kind == 'u' else times.astype(np.float64)]
    if times.dtype.itemsize == 8:  # less does not hold a time of day
        stamp = stamp_ns(message)
        candidates += [times - stamp * 1e-9, (times - stamp) * 1e-9]
    for seconds in candidates:
        known = seconds[np.isfinite(seconds)]
        if known.size and np.abs(known).max() <= _LONGEST_SCAN_S:
            return np.asarray(seconds, dtype=np.float64)
    return NoScale('bad point times')


def _columns(
    message: PointCloud2, wanted: dict[str, tuple[str, ...]], kinds: dict[int, str]
) -> dict[str, NDArray[Any]] | None:
    """Fields of all points, each (N,); None if one is missing or the cloud is malformed.

    Args:
        message: the cloud.
        wanted: the names that each field may have, by what it is to be called here.
        kinds: data types that it may have.
    """
    order = '>' if message.is_bigendian else '<'
    offsets, formats = [], []
    for names in wanted.values():
        found = [f for f in message.fields if f.name in names and f.datatype in kinds]
        if not found:
            return None
        offsets.append(found[0].offset)
        formats.append(order + kinds[found[0].datatype])
    ends = [offset + np.dtype(kind).itemsize for offset, kind in zip(offsets, formats, strict=True)]
    row = message.width * message.point_step
    long_enough = len(message.data) >= message.row_step * (message.height - 1) + row
    if max(ends) > message.point_step or message.row_step < row or not long_enough:
        return None
    layout = np.dtype(
        {
            'names': list(wanted),
            'formats': formats,
            'offsets': offsets,
            'itemsize': message.point_step,
        }
    )
    table = np.ndarray(
        (message.height, message.width),
        layout,
        np.frombuffer(message.data, np.uint8),
        strides=(message.row_step, message.point_step),
    )
    return {name: table[name].ravel() for name in wanted}


def read_pose(pose: Any) -> Float64Array | None:
    """(4, 4) of a geometry_msgs/Pose; None if its quaternion is none or a number is not finite."""
    q, p = pose.orientation, pose.position
    return pose_matrix((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))


def pose_matrix(
    position: tuple[float, float, float], quaternion: tuple[float, float, float, float]
) -> Float64Array | None:
    """(4, 4) of a position [m] and a quaternion (x, y, z, w); None if they are none."""
    values = np.array(quaternion, dtype=np.float64)
    length = float(np.linalg.norm(values))
    if not 0.5 < length < 2.0:  # NaN compares false
        return None
    x, y, z, w = values / length
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = position
    return matrix if is_rigid(matrix) else None
