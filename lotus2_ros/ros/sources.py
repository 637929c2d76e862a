"""Where the camera player's frames come from: photographs, a video file, a webcam."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from lotus2_ros.errors import CameraInfoError, ImageError
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.photographs import SAMPLES, photographs_in, read_photograph
from lotus2_ros.types import UInt8Array

CALIBRATION_FILE = 'cameras.json'
"""Beside photographs, optional: file name to fx, fy, cx, cy [px] or to hfov_deg."""

_WEBCAM = 'webcam:'


class Frame(NamedTuple):
    """One picture and, where it is known, its camera."""

    rgb: UInt8Array
    intrinsics: Intrinsics | None


class FrameSource(ABC):
    """Frames one after another. `skipped` counts pictures that could not be read."""

    skipped: int = 0

    @abstractmethod
    def read(self) -> Frame | None:
        """The next frame; None at the end.

        Raises:
            ImageError: the source has failed for good.
        """

    @abstractmethod
    def rewind(self) -> bool:
        """Begin again; False if this source cannot."""

    @abstractmethod
    def close(self) -> None:
        """Give back devices and files."""


class FolderSource(FrameSource):
    """The photographs of a folder, by name; unreadable ones are reported once and left out.

    Raises:
        ImageError: there is no such folder, or no picture in it.
        CameraInfoError: its calibration file is unusable.
    """

    def __init__(self, folder: Path, warn: Callable[[str], Any]) -> None:
        self._paths = photographs_in(folder)
        self._cameras = _read_calibration(folder / CALIBRATION_FILE)
        self._warn = warn
        self._next = 0

    def read(self) -> Frame | None:
        """See `FrameSource.read`."""
        while self._next < len(self._paths):
            path = self._paths[self._next]
            try:
                rgb = read_photograph(path)
            except ImageError as error:
                del self._paths[self._next]
                self.skipped += 1
                self._warn(f'skipped: {error}')
                if not self._paths:
                    msg = f'{path.parent}: none of its {self.skipped} pictures can be read'
                    raise ImageError(msg) from error
                continue
            self._next += 1
            height, width = rgb.shape[:2]
            about = self._cameras.get(path.name)
            return Frame(rgb, None if about is None else _intrinsics(about, width, height))
        return None

    def rewind(self) -> bool:
        """See `FrameSource.rewind`."""
        self._next = 0
        return True

    def close(self) -> None:
        """See `FrameSource.close`. Files are open only while they are read."""


class VideoSource(FrameSource):
    """The frames of a video file, one per frame of the player, whatever the file's own rate.

    Raises:
        ImageError: the file cannot be opened as a video.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._capture = cv2.VideoCapture(str(path))
        self._frames = 0
        if not self._capture.isOpened():
            raise ImageError(f'{path}: not a video that can be read')

    def read(self) -> Frame | None:
        """See `FrameSource.read`."""
        ok, bgr = self._capture.read()
        if not ok:
            if not self._frames:
                raise ImageError(f'{self._path}: the video has no frame that can be decoded')
            return None
        self._frames += 1
        return Frame(_rgb(bgr), None)

    def rewind(self) -> bool:
        """See `FrameSource.rewind`. Opened anew: seeking is not exact in every container."""
        self._capture.release()
        self._capture = cv2.VideoCapture(str(self._path))
        self._frames = 0
        return bool(self._capture.isOpened())

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._capture.release()


class WebcamSource(FrameSource):
    """A camera of this machine, by number.

    Raises:
        ImageError: there is no such camera, or it is in use.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            msg = f'webcam:{number}: no such camera, no permission, or another program has it'
            raise ImageError(msg)

    def read(self) -> Frame | None:
        """See `FrameSource.read`."""
        ok, bgr = self._capture.read()
        if not ok:
            raise ImageError(f'webcam:{self._number}: the camera gives no more images')
        return Frame(_rgb(bgr), None)

    def rewind(self) -> bool:
        """See `FrameSource.rewind`."""
        return False

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._capture.release()


def open_source(name: str, warn: Callable[[str], Any]) -> FrameSource:
    """Open what the parameter `source` names.

    Args:
        name: 'sample', 'webcam:N', a folder, or a video file.
        warn: called with one line of text about every picture that is left out.

    Raises:
        ImageError: there is no such source, or it has no frame.
        CameraInfoError: see `FolderSource`.
    """
    if name == 'sample':
        return FolderSource(SAMPLES, warn)
    if name.startswith(_WEBCAM):
        number = name.removeprefix(_WEBCAM)
        if not number.isdecimal():
            raise ImageError(f'source {name!r}: give the number of the camera, as in webcam:0')
        return WebcamSource(int(number))
    path = Path(name).expanduser()
    if path.is_dir():
        return FolderSource(path, warn)
    if path.is_file():
        return VideoSource(path)
    raise ImageError(
        f'source {name!r}: no such folder or file (relative to {Path.cwd()}); give sample, a folder'
        ' of images, a video file, or webcam:N'
    )


def _rgb(bgr: Any) -> UInt8Array:
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _read_calibration(path: Path) -> dict[str, dict[str, float]]:
    if not path.exists():
        return {}
    try:
        cameras = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise CameraInfoError(f'{path}: cannot be read as JSON: {error}') from error
    known = ({'hfov_deg'}, {'fx', 'fy', 'cx', 'cy'})
    if not isinstance(cameras, dict) or not all(
        isinstance(about, dict) and set(about) in known for about in cameras.values()
    ):
        msg = f'{path}: must give hfov_deg, or fx, fy, cx and cy, for each file name'
        raise CameraInfoError(msg)
    return cameras


def _intrinsics(about: dict[str, float], width: int, height: int) -> Intrinsics:
    if 'hfov_deg' in about:
        return Intrinsics.from_hfov(about['hfov_deg'], width, height)
    return Intrinsics(**about, width=width, height=height)
