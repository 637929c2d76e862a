"""Bytes of ground-truth files to arrays."""

from __future__ import annotations

import io

import cv2
import numpy as np

from lotus2_ros.training.evaluation.errors import SampleError
from lotus2_ros.training.evaluation.exr import read_exr
from lotus2_ros.types import AnyArray, BoolArray, Float32Array, UInt8Array


def decode_image(data: bytes, name: str) -> UInt8Array:
    """A picture as it is stored, (H, W, 3) uint8 RGB.

    EXIF orientation is left alone: ground truth has the pixels' own orientation.

    Raises:
        SampleError: not a picture, or damaged.
    """
    return _to_rgb(_decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, name), name)


def decode_depth_png(data: bytes, name: str, units_per_metre: float) -> Float32Array:
    """Integers of one channel as metres, (H, W) float32; 0 stays 0, which means not known.

    Raises:
        SampleError: not a picture of one channel.
    """
    raw = _decode(data, cv2.IMREAD_UNCHANGED, name)
    if raw.ndim != 2:
        raise SampleError(f'{name}: depth must have one channel, not {raw.shape[-1]}')
    return np.asarray(raw / units_per_metre, np.float32)


def decode_array(data: bytes, name: str) -> AnyArray:
    """A NumPy file's array without axes of length 1.

    Raises:
        SampleError: not a NumPy file of plain numbers.
    """
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise SampleError(f'{name}: not a NumPy file of numbers: {error}') from error
    if not isinstance(array, np.ndarray):
        raise SampleError(f'{name}: an archive of arrays, not one array')
    return np.squeeze(array)


def decode_raw_depth(data: bytes, name: str, height: int, width: int) -> Float32Array:
    """Float32 in row order without a header, infinite where not known; (H, W) with 0 there.

    Raises:
        SampleError: the size is another.
    """
    if len(data) != 4 * height * width:
        msg = f'{name}: {len(data)} bytes, but {width}x{height} float32 have {4 * height * width}'
        raise SampleError(msg)
    depth = np.frombuffer(data, '<f4').reshape(height, width)
    return np.where(np.isposinf(depth), np.float32(0), depth)


def decode_normals(data: bytes, name: str) -> tuple[Float32Array, BoolArray]:
    """DSINE's ground truth, told apart by the name's suffix.

    PNG: (n + 1) / 2 in 8 bits, black where not known. EXR or NumPy: the vector, short where not
    known.

    Returns:
        (H, W, 3) float32 as stored (outward, not exactly of unit length), and (H, W) where known.

    Raises:
        SampleError: not a picture or array of three channels, or damaged.
    """
    if name.endswith('.png'):
        raw = _to_rgb(_decode(data, cv2.IMREAD_UNCHANGED, name), name)
        if raw.dtype != np.uint8:
            raise SampleError(f'{name}: normals in PNG must have 8 bits, not {raw.dtype}')
        known = raw.astype(np.int64).sum(-1) > 0
        return raw.astype(np.float32) / np.float32(255) * 2 - 1, known
    vectors = read_exr(data, name) if name.endswith('.exr') else decode_array(data, name)
    if vectors.ndim != 3 or vectors.shape[2] != 3:
        raise SampleError(f'{name}: normals must be (H, W, 3), not {vectors.shape}')
    vectors = vectors.astype(np.float32)
    with np.errstate(invalid='ignore'):
        return vectors, np.linalg.norm(vectors, axis=-1) > 0.5


def _decode(data: bytes, flags: int, name: str) -> AnyArray:
    if not data:
        raise SampleError(f'{name}: the file is empty')
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise SampleError(f'{name}: cannot be decoded: {error.err}') from error
    if pixels is None:
        raise SampleError(f'{name}: not a picture that can be decoded, or damaged')
    return pixels


def _to_rgb(pixels: AnyArray, name: str) -> AnyArray:
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise SampleError(f'{name}: must have three channels, not shape {pixels.shape}')
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
