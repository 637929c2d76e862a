"""sensor_msgs/Image to RGB, written straight into the array it is needed in.

This is the one decoding path, also where cv_bridge is installed: cv_bridge returns a fresh array
(one more copy of every frame), its binary packages fail to import under NumPy 2, and it does not
know nv12. Results are those of cv_bridge; the tests hold each encoding against OpenCV.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import Image

from lotus2_ros.errors import ImageError
from lotus2_ros.ros.taking import TakenImage
from lotus2_ros.types import AnyArray, UInt8Array

MAX_PIXELS = 64 * 1024 * 1024
"""Larger images are refused before anything is allocated for them."""

_MONO16_TO_MONO8 = 255.0 / 65535.0

# Encoding to bytes per pixel and the OpenCV conversion that yields RGB.
_PACKED: dict[str, tuple[int, int | None]] = {
    'rgb8': (3, None),
    'bgr8': (3, cv2.COLOR_BGR2RGB),
    '8UC3': (3, cv2.COLOR_BGR2RGB),  # cv_bridge's reading of an untyped colour image
    'rgba8': (4, cv2.COLOR_RGBA2RGB),
    'bgra8': (4, cv2.COLOR_BGRA2RGB),
    'mono8': (1, cv2.COLOR_GRAY2RGB),
    '8UC1': (1, cv2.COLOR_GRAY2RGB),
    'mono16': (2, cv2.COLOR_GRAY2RGB),
    'bayer_rggb8': (1, cv2.COLOR_BayerRGGB2RGB),
    'bayer_bggr8': (1, cv2.COLOR_BayerBGGR2RGB),
    'bayer_gbrg8': (1, cv2.COLOR_BayerGBRG2RGB),
    'bayer_grbg8': (1, cv2.COLOR_BayerGRBG2RGB),
    'yuv422': (2, cv2.COLOR_YUV2RGB_UYVY),  # the name of UYVY before ROS 2 Iron
    'uyvy': (2, cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': (2, cv2.COLOR_YUV2RGB_YUYV),
    'yuyv': (2, cv2.COLOR_YUV2RGB_YUYV),
}
_PLANAR = {'nv12': cv2.COLOR_YUV2RGB_NV12, 'nv21': cv2.COLOR_YUV2RGB_NV21}
_EVEN_WIDTH = ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv', 'nv12', 'nv21')

ENCODINGS = (*_PACKED, *_PLANAR)
"""Every encoding that `decode_image` takes."""


def check_size(width: int, height: int) -> None:
    """Refuse an image that is empty or absurdly large.

    Raises:
        ImageError: naming the size.
    """
    if width <= 0 or height <= 0:
        raise ImageError(f'the image is {width}x{height}: it has no pixels')
    if width * height > MAX_PIXELS:
        raise ImageError(
            f'the image is {width}x{height}: more than the {MAX_PIXELS} pixels taken at most'
        )


def image_size(message: Image | TakenImage) -> tuple[int, int]:
    """Height and width of an image message, after checking everything but its pixels.

    Raises:
        ImageError: the encoding is unknown, the size is zero or huge, `step` is too small for the
            width, or the data is shorter than `step` and height say.
    """
    width, height, step = message.width, message.height, message.step
    encoding = message.encoding
    if encoding not in ENCODINGS:
        raise ImageError(f'encoding {encoding!r} is not supported; known: {", ".join(ENCODINGS)}')
    check_size(width, height)
    if encoding in _EVEN_WIDTH and width % 2:
        raise ImageError(f'{encoding} needs an even width, not {width}')
    rows = height
    row_bytes = width * (_PACKED[encoding][0] if encoding in _PACKED else 1)
    if encoding in _PLANAR:
        if height % 2:
            raise ImageError(f'{encoding} needs an even height, not {height}')
        rows = height * 3 // 2
    if encoding.startswith('bayer') and (width < 3 or height < 3):
        raise ImageError(f'{encoding} needs at least 3x3 pixels, not {width}x{height}')
    if step < row_bytes:
        raise ImageError(f'step is {step} bytes, but {width} pixels of {encoding} take {row_bytes}')
    # The last row may leave its padding out.
    needed = step * (rows - 1) + row_bytes
    if len(message.data) < needed:
        raise ImageError(
            f'data has {len(message.data)} bytes, but {width}x{height} {encoding} with step {step}'
            f' takes {needed}'
        )
    return height, width


def decode_image(message: Image | TakenImage, out: UInt8Array) -> None:
    """Write an image message as RGB into `out`.

    Args:
        message: the image; padding in `step` and, for mono16, `is_bigendian` are honoured.
        out: (H, W, 3) uint8, C-contiguous, of exactly the size `image_size` gave.

    Raises:
        ImageError: see `image_size`.
    """
    height, width = image_size(message)
    encoding = message.encoding
    data = np.frombuffer(message.data, np.uint8)
    if encoding in _PLANAR:
        rows = _rows(data, height * 3 // 2, width, message.step)
        _convert(rows, _PLANAR[encoding], out)
        return
    channels, code = _PACKED[encoding]
    pixels = _rows(data, height, width * channels, message.step)
    if encoding == 'mono16':
        order = '>u2' if message.is_bigendian else '<u2'
        native = pixels.view(order).astype(np.uint16, copy=sys.byteorder == 'big')
        pixels = cv2.convertScaleAbs(native, alpha=_MONO16_TO_MONO8)
    elif channels > 1:
        pixels = pixels.reshape(height, width, channels)
    if code is None:
        np.copyto(out, pixels)
    else:
        _convert(pixels, code, out)


def _rows(data: UInt8Array, rows: int, row_bytes: int, step: int) -> AnyArray:
    """(rows, row_bytes) of a buffer whose rows lie `step` bytes apart."""
    if step == row_bytes:
        return data[: rows * step].reshape(rows, row_bytes)
    view = np.lib.stride_tricks.as_strided(data, (rows, row_bytes), (step, 1), writeable=False)
    return np.ascontiguousarray(view)


def _convert(pixels: AnyArray, code: int, out: UInt8Array) -> None:
    convert: Callable[..., Any] = cv2.cvtColor
    converted = convert(pixels, code, dst=out)
    # OpenCV allocates where it cannot write into `out`; the result counts, wherever it lies.
    if converted.ctypes.data != out.ctypes.data:
        np.copyto(out, converted)
