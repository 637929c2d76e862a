"""The one error family of the package.

A message says what was wrong, where, and what to do about it. Libraries raise; only the node turns
an error into a log line, a diagnostic or a failed transition, and only the command line exits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Lotus2Error(Exception):
    """Base of every error this package raises on purpose."""


class ModelFileError(Lotus2Error):
    """A weight, configuration or prompt file is missing, malformed or does not fit the model."""


class DeviceError(Lotus2Error):
    """The device or precision that was asked for cannot be had, or failed while running."""


class SelfCheckError(Lotus2Error):
    """An accelerated network does not compute what the plain one does; its results are refused."""


class ImageError(Lotus2Error):
    """An input image cannot be used: encoding, size, layout or content."""


class CameraInfoError(Lotus2Error):
    """Camera calibration is missing, inconsistent or not supported."""


class SettingsError(Lotus2Error):
    """A setting is out of range, of the wrong type, unknown, or contradicts another one."""


class WorkerError(Lotus2Error):
    """The model's process could not be started, died, or did not answer in time."""


@contextmanager
def naming_unwritable(path: Path, kind: type[Lotus2Error]) -> Iterator[None]:
    """Make an `OSError` of the statements that write a file an error of `kind` that names it."""
    try:
        yield
    except OSError as error:
        raise kind(f'{path}: cannot be written: {error.strerror or error}') from error
