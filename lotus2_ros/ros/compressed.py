"""sensor_msgs/CompressedImage to RGB: the header is read and judged before anything is decoded.

A few kilobytes can decompress to gigabytes, and decoders quietly fill in what a truncated file
lacks, so size and completeness are checked on the compressed bytes.
"""

from __future__ import annotations

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage

from lotus2_ros.errors import ImageError
from lotus2_ros.ros.codecs import check_size
from lotus2_ros.types import UInt8Array

_PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_PNG_END = b'IEND'
_JPEG_START = b'\xff\xd8\xff'
_JPEG_END = b'\xff\xd9'
_JPEG_SCAN = 0xDA
_JPEG_ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length
# Start of frame: C0..CF without the tables C4 (Huffman), C8 (reserved), CC (arithmetic).
_JPEG_FRAME = tuple(m for m in range(0xC0, 0xD0) if m not in (0xC4, 0xC8, 0xCC))


def compressed_size(message: CompressedImage) -> tuple[int, int]:
    """Height and width from the header of a JPEG or PNG, which must be complete.

    Raises:
        ImageError: neither JPEG nor PNG, malformed, truncated, empty or too large.
    """
    data = memoryview(message.data).cast('B')
    start = bytes(data[:8])
    if start == _PNG_SIGNATURE:
        height, width = _png_size(data)
    elif start.startswith(_JPEG_START):
        height, width = _jpeg_size(data)
    else:
        raise ImageError(
            f'the compressed image (format {message.format!r}, {len(data)} bytes) is neither JPEG'
            ' nor PNG'
        )
    check_size(width, height)
    return height, width


def decode_compressed(message: CompressedImage, out: UInt8Array) -> None:
    """Decode a JPEG or PNG as RGB into `out`, (H, W, 3) uint8 of the size `compressed_size` gave.

    Orientation tags are ignored: camera calibration refers to the pixels as they are stored.

    Raises:
        ImageError: see `compressed_size`, or the decoder refuses the data.
    """
    compressed_size(message)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        bgr = cv2.imdecode(np.frombuffer(message.data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f'the compressed image cannot be decoded: {error}') from error
    if bgr is None:
        raise ImageError('the compressed image cannot be decoded: its data is corrupt')
    if bgr.shape != out.shape:
        raise ImageError(
            f'the compressed image decodes to {bgr.shape[1]}x{bgr.shape[0]}, but its header says'
            f' {out.shape[1]}x{out.shape[0]}'
        )
    np.copyto(out, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def _png_size(data: memoryview) -> tuple[int, int]:
    # Signature, then the IHDR chunk: length, type, width, height (PNG specification, 11.2.1).
    if len(data) < 33 or bytes(data[12:16]) != b'IHDR':
        raise ImageError(f'the PNG header is malformed or cut off ({len(data)} bytes)')
    if _PNG_END not in bytes(data[-64:]):
        raise ImageError(f'the PNG is truncated: no end chunk in {len(data)} bytes')
    width = int.from_bytes(data[16:20], 'big')
    height = int.from_bytes(data[20:24], 'big')
    return height, width


def _jpeg_size(data: memoryview) -> tuple[int, int]:
    # Segments: FF, marker, length (2 bytes, itself included), payload (ITU-T T.81, annex B).
    size: tuple[int, int] | None = None
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ImageError(f'the JPEG is malformed: no marker at byte {at}')
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _JPEG_ALONE:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], 'big')
        if marker in _JPEG_FRAME and at + 9 <= len(data):
            size = (
                int.from_bytes(data[at + 5 : at + 7], 'big'),
                int.from_bytes(data[at + 7 : at + 9], 'big'),
            )
        at += 2 + max(length, 2)
        if marker == _JPEG_SCAN:
            break
    else:
        raise ImageError(f'the JPEG is truncated: its header ends after {len(data)} bytes')
    if size is None:
        raise ImageError('the JPEG has no frame header before its data')
    if bytes(data[at:]).rfind(_JPEG_END) < 0:
        raise ImageError(f'the JPEG is truncated: no end marker in {len(data)} bytes')
    return size
