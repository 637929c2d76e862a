"""Photographs from disk: which files there are, and their pixels as every part wants them."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from lotus2_ros.errors import ImageError, naming_unwritable
from lotus2_ros.types import UInt8Array

SUFFIXES = (
    *('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff'),
    *('.ppm', '.pgm', '.pnm', '.jp2', '.avif'),
)
"""Files of a folder that are taken for pictures; a file named by itself is always tried."""

SAMPLES = Path(__file__).parent / 'samples'
"""The bundled photographs; their licences are in its README.md."""


def read_photograph(path: Path) -> UInt8Array:
    """Read a picture as people see it.

    EXIF orientation is applied, grey becomes RGB, transparency is dropped and 16 bits per channel
    are reduced to 8.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: the file cannot be read, is not a picture, or is damaged.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise ImageError(f'{path}: cannot be read: {error.strerror or error}') from error
    if data.size == 0:
        raise ImageError(f'{path}: the file is empty')
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:  # for example a header that asks for a gigapixel
        raise ImageError(f'{path}: cannot be decoded: {error.err}') from error
    if bgr is None:
        raise ImageError(f'{path}: not a picture that can be decoded, or damaged')
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def write_picture(path: Path, pixels: UInt8Array, *, jpeg_quality: int = 92) -> None:
    """Write an RGB picture; its suffix says in which format.

    Raises:
        ImageError: the file cannot be written.
    """
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    # OpenCV warns about an option that a format does not know.
    is_jpeg = path.suffix.lower() in ('.jpg', '.jpeg')
    options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality] if is_jpeg else []
    encoded, data = cv2.imencode(path.suffix, bgr, options)
    if not encoded:
        raise ImageError(f'{path}: cannot be encoded as {path.suffix}')
    with naming_unwritable(path, ImageError):
        data.tofile(path)


def photographs_in(folder: Path) -> list[Path]:
    """Pictures that lie directly in a folder, by name.

    Raises:
        ImageError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise ImageError(f'{folder}: there is no such folder')
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise ImageError(f'{folder}: no picture in it (looked for {" ".join(SUFFIXES)})')
    return found


def expand(patterns: Iterable[str]) -> list[Path]:
    """Files, folders and globs as files, each once, in the order given.

    Raises:
        ImageError: one of them matches nothing.
    """
    files: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            matches = photographs_in(path)
        elif path.exists():
            matches = [path]
        else:
            # Path.glob takes no absolute pattern.
            matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207
            matches = [match for match in matches if match.is_file()]
        if not matches:
            raise ImageError(f'{pattern}: no such file or folder, and no file matches it')
        files.update(dict.fromkeys(matches))
    return list(files)
