"""Files of a benchmark, from a folder or straight out of a tar archive."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from lotus2_ros.training.evaluation.errors import EvaluationError, SampleError


class Storage(Protocol):
    """Named files, wherever they are; names have forward slashes and no leading './'."""

    @property
    def place(self) -> str:
        """Where the files are, for messages."""

    def names(self) -> list[str]:
        """All files, sorted."""

    def read(self, name: str) -> bytes:
        """One file's content.

        Raises:
            SampleError: it is not there, or cannot be read.
        """


class Folder:
    """Files under a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def place(self) -> str:
        """The folder."""
        return str(self._path)

    def names(self) -> list[str]:
        """All files, sorted."""
        files = (p for p in self._path.rglob('*') if p.is_file())
        return sorted(p.relative_to(self._path).as_posix() for p in files)

    def read(self, name: str) -> bytes:
        """One file's content.

        Raises:
            SampleError: it is not there, or cannot be read.
        """
        try:
            return (self._path / name).read_bytes()
        except OSError as error:
            raise SampleError(f'{name}: cannot be read: {error.strerror or error}') from error


class Archive:
    """Members of a tar archive, read in place: nothing is unpacked."""

    def __init__(self, path: Path) -> None:
        """Open an archive and list its members.

        Raises:
            EvaluationError: it is not a readable tar archive.
        """
        self._path = path
        try:
            self._tar = tarfile.open(path)  # noqa: SIM115  open as long as this object lives
            self._members = {
                member.name.removeprefix('./'): member
                for member in self._tar.getmembers()
                if member.isfile()
            }
        except (OSError, tarfile.TarError) as error:
            raise EvaluationError(f'{path}: not a tar archive that can be read: {error}') from error

    @property
    def place(self) -> str:
        """The archive's path."""
        return str(self._path)

    def names(self) -> list[str]:
        """All members, sorted."""
        return sorted(self._members)

    def read(self, name: str) -> bytes:
        """One member's content.

        Raises:
            SampleError: it is not there, or cannot be read.
        """
        member = self._members.get(name)
        if member is None:
            raise SampleError(f'{name}: not in {self._path.name}')
        try:
            file = self._tar.extractfile(member)
            assert file is not None  # only regular files are listed
            with file:
                return file.read()
        except (OSError, tarfile.TarError) as error:
            raise SampleError(f'{name}: cannot be read from {self._path.name}: {error}') from error


def open_storage(path: Path, candidates: Iterable[str], probe: str) -> Storage:
    """Find a benchmark's files at or under a path.

    Args:
        path: a tar archive, the extracted folder, or a folder that holds either.
        candidates: paths relative to `path` where the archive or the folder may lie, the likeliest
            first; '.' is `path` itself.
        probe: glob that matches at least one file of an extracted folder.

    Raises:
        EvaluationError: nothing is there.
    """
    if path.is_file():
        return Archive(path)
    tried = []
    for candidate in candidates:
        place = path / candidate
        tried.append(str(place))
        if place.is_file():
            return Archive(place)
        if place.is_dir() and next(place.glob(probe), None) is not None:
            return Folder(place)
    msg = f'no archive, and no folder with {probe}, at any of: {", ".join(tried)}'
    raise EvaluationError(msg)
