"""Files of a sample; a missing or damaged one makes a bad sample, not the end of training."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from lotus2_ros.training.data.errors import DataError
from lotus2_ros.training.data.sample import BadSample
from lotus2_ros.types import AnyArray, UInt8Array


def read_rgb(path: Path, sample: str) -> UInt8Array:
    """An 8-bit picture as (H, W, 3) RGB.

    Raises:
        BadSample: it is missing or damaged.
    """
    return np.ascontiguousarray(_decoded(path, sample, cv2.IMREAD_COLOR)[..., ::-1])


def read_raster(path: Path, sample: str) -> AnyArray:
    """A one-channel picture (H, W) of whatever type the file has.

    Raises:
        BadSample: it is missing or damaged, or has several channels.
    """
    raster = _decoded(path, sample, cv2.IMREAD_UNCHANGED)
    if raster.ndim != 2:
        raise BadSample(sample, f'{path.name} has {raster.shape[2]} channels, not one')
    return raster


def _decoded(path: Path, sample: str, mode: int) -> AnyArray:
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise BadSample(sample, f'unreadable: {error}') from error
    try:
        image = cv2.imdecode(content, mode) if content.size else None
    except cv2.error as error:
        raise BadSample(sample, f'unreadable: {path} is damaged ({error})') from error
    if image is None:
        raise BadSample(sample, f'unreadable: {path} is not a whole picture')
    return image


def read_array(path: Path, sample: str) -> AnyArray:
    """The array of an .npy file; nothing is unpickled.

    Raises:
        BadSample: it is missing or damaged, or holds no numbers.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadSample(sample, f'unreadable: {path}: {error}') from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in 'fiu':
        raise BadSample(sample, f'unreadable: {path} is no array of numbers')
    return array


def read_hdf5(path: Path, sample: str) -> AnyArray:
    """The array of an .hdf5 file that holds one, named `dataset`.

    Raises:
        BadSample: it is missing or damaged.
        DataError: h5py is not installed.
    """
    try:
        import h5py  # type: ignore[import-untyped]
    except ImportError as error:
        raise DataError('Hypersim needs h5py: pip install h5py') from error
    try:
        with h5py.File(path, 'r') as file:
            return np.asarray(file['dataset'][()])
    except (OSError, KeyError, RuntimeError) as error:
        raise BadSample(sample, f'unreadable: {path}: {error}') from error
