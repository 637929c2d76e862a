"""NumPy arrays to sensor_msgs messages, the large ones packed as they are sent."""

from __future__ import annotations

import array
import importlib
import sys
from collections.abc import Sequence

import numpy as np
from sensor_msgs.msg import Image, LaserScan, PointCloud2, PointField
from std_msgs.msg import Header

from lotus2_ros.geometry.scan import ScanLayout
from lotus2_ros.ros.publishing import Packed
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


def image_message(pixels: AnyArray, encoding: str, header: Header) -> Packed:
    """An Image of (H, W) or (H, W, C) pixels whose type and channels are those of `encoding`.

    Raises:
        TypeError: the array does not fit the encoding; a mistake in the caller.
    """
    dtype, channels = _LAYOUT[encoding]
    found = 1 if pixels.ndim == 2 else pixels.shape[2]
    if pixels.dtype != dtype or found != channels:
        raise TypeError(f'{encoding} cannot hold {pixels.dtype} with {found} channels')
    message, room = image_room(pixels.shape[:2], encoding, header)
    room[...] = pixels
    return message


def image_room(size: tuple[int, ...], encoding: str, header: Header) -> tuple[Packed, AnyArray]:
    """An Image whose pixels are still to be written.

    Args:
        size: height and width.
        encoding: of the pixels.
        header: stamp and optical frame.

    Returns:
        The message, and its (H, W) or (H, W, C) pixels, of undefined content.
    """
    dtype, channels = _LAYOUT[encoding]
    height, width = size
    message = Image(header=header, height=height, width=width, encoding=encoding)
    message.is_bigendian = int(_BIG_ENDIAN)
    message.step = width * channels * np.dtype(dtype).itemsize
    packed = Packed(message, message.step * height)
    pixels = packed.data.view(dtype)
    return packed, pixels.reshape((height, width) if channels == 1 else (height, width, channels))


def organized_cloud_message(
    size: tuple[int, int],
    fields: Sequence[tuple[str, int, int]],
    point_step: int,
    header: Header,
) -> Packed:
    """A PointCloud2 with a point per pixel; invalid points are NaN, so it is not dense.

    Args:
        size: height and width.
        fields: name, byte offset and PointField datatype of each field.
        point_step: bytes per point.
        header: stamp and optical frame.

    Returns:
        The message without its points, which are still to be written.
    """
    message = _cloud(size, fields, point_step, header)
    message.is_dense = False
    return Packed(message, message.row_step * size[0])


def nav_cloud_message(points: Float32Array, header: Header) -> Packed:
    """An unorganized, dense PointCloud2 of finite points.

    Args:
        points: (N, 3) x, y, z, or (N, 4) with the height over the ground.
        header: stamp and optical frame.
    """
    columns = points.shape[1]
    names = ('x', 'y', 'z', 'height')[:columns]
    fields = [(name, 4 * i, int(PointField.FLOAT32)) for i, name in enumerate(names)]
    return table_message(points.reshape(-1).view(np.uint8), fields, 4 * columns, header)


def table_message(
    rows: UInt8Array,
    fields: Sequence[tuple[str, int, int]],
    point_step: int,
    header: Header,
) -> Packed:
    """An unorganized, dense PointCloud2.

    Args:
        rows: (N * point_step,) of its points.
        fields: name, byte offset and PointField datatype of each field.
        point_step: bytes per point.
        header: stamp and frame.
    """
    message = _cloud((1, len(rows) // point_step), fields, point_step, header)
    message.is_dense = True
    packed = Packed(message, len(rows))
    packed.data[:] = rows
    return packed


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
    size: tuple[int, int],
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
    message.height, message.width = size
    message.point_step = point_step
    message.row_step = point_step * size[1]
    return message
