"""OpenEXR pictures as DSINE's ground truth uses them: scan lines of floats, zipped or not.

OpenCV's wheels read no EXR from version 5 on, and in version 4 only after a switch in the
environment. Layout: OpenEXR's "File Layout" document; little-endian throughout.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from lotus2_ros.training.evaluation.errors import SampleError
from lotus2_ros.types import Float32Array, UInt8Array

_MAGIC = 20000630
_NOT_SCAN_LINES = 0x200 | 0x800 | 0x1000  # tiled, deep, several parts
_COMPRESSIONS = ('none', 'RLE', 'ZIPS', 'ZIP', 'PIZ', 'PXR24', 'B44', 'B44A', 'DWAA', 'DWAB')
_LINES = {'none': 1, 'RLE': 1, 'ZIPS': 1, 'ZIP': 16}
"""Scan lines in a block, for the compressions that are read here."""

_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype('<u4'), 1: np.dtype('<f2'), 2: np.dtype('<f4')}


@dataclass(frozen=True)
class _Header:
    channels: list[tuple[str, np.dtype[Any]]]
    compression: str
    rows: tuple[int, int]
    width: int
    end: int


def read_exr(data: bytes, name: str) -> Float32Array:
    """Decode the R, G and B channels.

    Args:
        data: the file's bytes.
        name: for messages.

    Returns:
        (H, W, 3) float32.

    Raises:
        SampleError: not an EXR file, damaged, or of a kind that is not read here.
    """
    try:
        header = _read_header(data, name)
        planes = _read_planes(data, header, name)
    except (struct.error, zlib.error, IndexError, ValueError) as error:
        raise SampleError(f'{name}: damaged EXR file: {error}') from error
    missing = [channel for channel in 'RGB' if channel not in planes]
    if missing:
        found = ', '.join(planes)
        raise SampleError(f'{name}: no channel {", ".join(missing)} in the EXR file, only {found}')
    return np.stack([planes[channel] for channel in 'RGB'], -1)


def _read_header(data: bytes, name: str) -> _Header:
    magic, version = struct.unpack_from('<ii', data)
    if magic != _MAGIC:
        raise SampleError(f'{name}: not an EXR file')
    if version & _NOT_SCAN_LINES:
        raise SampleError(f'{name}: a tiled, deep or multi-part EXR file; only scan lines are read')
    attributes, position = {}, 8
    while data[position] != 0:
        key, position = _string(data, position)
        _, position = _string(data, position)  # the attribute's type
        (size,) = struct.unpack_from('<i', data, position)
        attributes[key] = data[position + 4 : position + 4 + size]
        position += 4 + size
    absent = [key for key in ('channels', 'compression', 'dataWindow') if key not in attributes]
    if absent:
        raise SampleError(f'{name}: the EXR header lacks {", ".join(absent)}')
    left, top, right, bottom = struct.unpack('<4i', attributes['dataWindow'])
    kind = attributes['compression'][0]
    compression = _COMPRESSIONS[kind] if kind < len(_COMPRESSIONS) else f'number {kind}'
    if compression not in _LINES:
        known = ', '.join(_LINES)
        msg = f'{name}: EXR compression {compression} is not read; save it with one of {known}'
        raise SampleError(msg)
    channels = _channels(attributes['channels'])
    return _Header(channels, compression, (top, bottom + 1), right + 1 - left, position + 1)


def _string(data: bytes, position: int) -> tuple[str, int]:
    end = data.index(b'\0', position)
    return data[position:end].decode('latin-1'), end + 1


def _channels(data: bytes) -> list[tuple[str, np.dtype[Any]]]:
    """Name and type in file order; each entry is a name, then type, flags and sampling."""
    channels, position = [], 0
    while data[position] != 0:
        channel, position = _string(data, position)
        kind, _, across, down = struct.unpack_from('<iiii', data, position)
        if kind not in _TYPES or (across, down) != (1, 1):
            raise ValueError(f'channel {channel} is subsampled or of an unknown type')
        channels.append((channel, _TYPES[kind]))
        position += 16
    return channels


def _read_planes(data: bytes, header: _Header, name: str) -> dict[str, Float32Array]:
    first, last = header.rows
    height, lines = last - first, _LINES[header.compression]
    planes = {
        channel: np.empty((height, header.width), np.float32) for channel, _ in header.channels
    }
    line_bytes = sum(kind.itemsize for _, kind in header.channels) * header.width
    blocks = -(-height // lines)
    for offset in struct.unpack_from(f'<{blocks}Q', data, header.end):
        y, size = struct.unpack_from('<ii', data, offset)
        top = y - first
        count = min(lines, height - top)
        packed = data[offset + 8 : offset + 8 + size]
        if len(packed) != size:
            raise SampleError(f'{name}: the EXR file ends early')
        raw = _unpack(packed, header.compression, count * line_bytes)
        position = 0
        for row in range(top, top + count):
            for channel, kind in header.channels:
                planes[channel][row] = np.frombuffer(raw, kind, header.width, position)
                position += kind.itemsize * header.width
    return planes


def _unpack(packed: bytes, compression: str, size: int) -> bytes:
    """Undo a block's compression; a block that would have grown is stored as it is."""
    if compression == 'none' or len(packed) == size:
        return packed
    flat = _run_lengths(packed) if compression == 'RLE' else zlib.decompress(packed)
    if len(flat) != size:
        raise ValueError(f'a block has {len(flat)} bytes and not {size}')
    steps: UInt8Array = np.frombuffer(flat, np.uint8).copy()
    steps[1:] -= 128  # differences are stored around 128; all arithmetic is modulo 256
    values = np.cumsum(steps, dtype=np.uint8)
    merged = np.empty_like(values)
    half = (size + 1) // 2
    merged[0::2], merged[1::2] = values[:half], values[half:]
    return merged.tobytes()


def _run_lengths(packed: bytes) -> bytes:
    """A count below 0: so many bytes as they are; otherwise one byte count + 1 times."""
    result, position = bytearray(), 0
    while position < len(packed):
        (count,) = struct.unpack_from('<b', packed, position)
        if count < 0:
            result += packed[position + 1 : position + 1 - count]
            position += 1 - count
        else:
            result += packed[position + 1 : position + 2] * (count + 1)
            position += 2
    return bytes(result)
