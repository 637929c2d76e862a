"""NumPy arrays to sensor_msgs messages.

Data is handed over as `array.array('B')`: rclpy takes that as it is, but walks `bytes` and lists
element by element, a hundred times slower.
"""

from __future__ import annotations

import array
import importlib
import sys
from collections.abc import Sequence

import numpy as np
from sensor_msgs.msg import Image, LaserScan, PointCloud2, PointField
from std_msgs.msg import Header

from lotus2_ros.geometry.scan import ScanLayout
from lotus2_ros.types import AnyArray, Float32Array, UInt8Array

_LAYOUT = {
    '32FC1': (np.float32, 1),
    '32FC3': (np.float32, 3),
    '16UC1': (np.uint16, 1),
    'rgb8': (np.uint8, 3),
    'mono8': (np.uint8, 1),
}
_BIG_ENDIAN = sys.byteorder == 'big'


def optional_message(package: str, name: str) -> type | None:
    """A message type of a package that not every installation has, or None."""
    try:
        module = importlib.import_module(f'{package}.msg')
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition('.')[0] != package:
            raise
        return None
    kind: type = getattr(module, name)
    return kind


def image_message(pixels: AnyArray, encoding: str, header: Header) -> Image:
    """An Image of (H, W) or (H, W, C) pixels whose type and channels are those of `encoding`.

    Raises:
        TypeError: the array does not fit the encoding; a mistake in the caller.
    """
    dtype, channels = _LAYOUT[encoding]
    found = 1 if pixels.ndim == 2 else pixels.shape[2]
    if pixels.dtype != dtype or found != channels:
        raise TypeError(f'{encoding} cannot hold {pixels.dtype} with {found} channels')
    message = Image()
    message.header = header
    message.height, message.width = pixels.shape[:2]
    message.encoding = encoding
    message.is_bigendian = int(_BIG_ENDIAN)
    message.step = pixels.shape[1] * channels * pixels.dtype.itemsize
    message.data = _bytes_of(pixels)
    return message


def buffer_of(size: int) -> tuple[array.array[int], UInt8Array]:
    """Message data of `size` bytes and a NumPy view to fill it through, without another copy."""
    data = array.array('B', [0]) * size
    return data, np.frombuffer(data, np.uint8)


def organized_cloud_message(
    data: array.array[int],
    fields: Sequence[tuple[str, int, int]],
    point_step: int,
    size: tuple[int, int],
    header: Header,
) -> PointCloud2:
    """A PointCloud2 with a point per pixel; invalid points are NaN, so it is not dense.

    Args:
        data: the packed points, height * width * point_step bytes, see `buffer_of`.
        fields: name, byte offset and PointField datatype of each field.
        point_step: bytes per point.
        size: height and width.
        header: stamp and optical frame.
    """
    message = _cloud(data, fields, point_step, header)
    message.height, message.width = size
    message.row_step = point_step * size[1]
    message.is_dense = False
    return message


def nav_cloud_message(points: Float32Array, header: Header) -> PointCloud2:
    """An unorganized, dense PointCloud2 of finite points.

    Args:
        points: (N, 3) x, y, z, or (N, 4) with the height over the ground.
        header: stamp and optical frame.
    """
    columns = points.shape[1]
    names = ('x', 'y', 'z', 'height')[:columns]
    fields = [(name, 4 * i, int(PointField.FLOAT32)) for i, name in enumerate(names)]
    message = _cloud(_bytes_of(points), fields, 4 * columns, header)
    message.height, message.width = 1, len(points)
    message.row_step = message.point_step * len(points)
    message.is_dense = True
    return message


def scan_message(ranges: Float32Array, layout: ScanLayout, header: Header) -> LaserScan:
    """A LaserScan of (beams,) ranges; all beams are of one moment, so both times are 0."""
    data = array.array('f')
    data.frombytes(ranges.tobytes())
    return LaserScan(
        header=header,
        angle_min=layout.angle_min,
        angle_max=layout.angle_max,
        angle_increment=layout.angle_increment,
        range_min=layout.range_min,
        range_max=layout.range_max,
        ranges=data,
    )


def _cloud(
    data: array.array[int],
    fields: Sequence[tuple[str, int, int]],
    point_step: int,
    header: Header,
) -> PointCloud2:
    message = PointCloud2()
    message.header = header
    message.fields = [
        PointField(name=name, offset=offset, datatype=datatype, count=1)
        for name, offset, datatype in fields
    ]
    message.is_bigendian = _BIG_ENDIAN
    message.point_step = point_step
    message.data = data
    return message


def _bytes_of(values: AnyArray) -> array.array[int]:
    data = array.array('B')
    if values.size:
        data.frombytes(np.ascontiguousarray(values).data.cast('B'))
    return data
