"""The manifest of a prepared folder: what it was made from, how, and what it must hold."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lotus2_ros.errors import ModelFileError
from lotus2_ros.model.files import read_json
from lotus2_ros.model.inference.quantization import EIGHT_BIT_FORMATS
from lotus2_ros.types import PREPARED_FILE

FORMAT = 1
PRECISIONS = ('float32', 'bfloat16', *EIGHT_BIT_FORMATS)
LAYOUTS = ('merged', 'shared')
_BLOCK = 8 << 20


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file's length in bytes and its SHA-256, in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a prepared folder is.

    Attributes:
        name: the model's name for people.
        model: the Lotus-2 files it was made from, as the user named them.
        base: the FLUX base, likewise.
        licence: what the base's licence asks of whoever has this folder.
        tasks: that it holds.
        sharpener: whether it holds their detail sharpeners.
        precision: of the weights: one of `PRECISIONS`.
        layout: merged (every stage whole) or shared (one whole, differences to it).
        base_stage: the stage that is whole in either layout.
        parameters: of one transformer, modulation included.
        text_tokens: length of the prompt.
        max_side: longest side in pixels that the model was trained for.
        sizes: image sizes (height, width) whose sharpener steps have stored modulation.
        keeps_modulation: whether the modulation's weights are there for all other sizes.
        versions: package to version, at preparation.
        sources: file to its record, under model/ and base/.
        files: file of this folder to its record.
        format: of the folder; this code reads one.
    """

    name: str
    model: str
    base: str
    licence: str
    tasks: tuple[str, ...]
    sharpener: bool
    precision: str
    layout: str
    base_stage: str
    parameters: int
    text_tokens: int
    max_side: int
    sizes: tuple[tuple[int, int], ...]
    keeps_modulation: bool
    versions: dict[str, str]
    sources: dict[str, FileRecord]
    files: dict[str, FileRecord]
    format: int = FORMAT

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of all stages, core before sharpener."""
        kinds = ('core', 'sharpener') if self.sharpener else ('core',)
        return tuple(stage_name(task, kind) for task in self.tasks for kind in kinds)

    def write(self, folder: Path) -> None:
        """Write it into a folder."""
        text = json.dumps(dataclasses.asdict(self), indent=2)
        (folder / PREPARED_FILE).write_text(text + '\n', encoding='utf-8')

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a folder's.

        Raises:
            ModelFileError: it is missing, damaged, or of another format.
        """
        path = folder / PREPARED_FILE
        values = read_json(path)
        if values.get('format') != FORMAT:
            msg = f'{path}: format is {values.get("format")!r}, this version reads {FORMAT}'
            raise ModelFileError(f'{msg}; prepare the model again with `lotus2 models prepare`')
        names = {field.name for field in dataclasses.fields(cls)}
        if set(values) != names:
            wrong = ', '.join(sorted(set(values) ^ names))
            raise ModelFileError(f'{path}: entry missing or unknown: {wrong}')
        try:
            manifest = cls(**{name: _typed(name, value) for name, value in values.items()})
        except (TypeError, ValueError, KeyError, AttributeError) as err:
            raise ModelFileError(f'{path} is damaged: {err}') from err
        _check(path, manifest)
        return manifest


def stage_name(task: str, kind: str) -> str:
    """A stage's name, such as depth_core; kind is core or sharpener."""
    return f'{task}_{kind}'


def _typed(name: str, value: Any) -> Any:
    if name == 'tasks':
        return tuple(value)
    if name == 'sizes':
        return tuple((int(height), int(width)) for height, width in value)
    if name in {'sources', 'files'}:
        return {
            file: FileRecord(int(record['size']), str(record['sha256']))
            for file, record in value.items()
        }
    return value


def _check(path: Path, manifest: Manifest) -> None:
    if manifest.precision not in PRECISIONS or manifest.layout not in LAYOUTS:
        msg = f'{path}: precision {manifest.precision!r} and layout {manifest.layout!r}'
        allowed = f'{", ".join(PRECISIONS)} and {", ".join(LAYOUTS)}'
        raise ModelFileError(f'{msg}; expected one of {allowed}')
    if manifest.base_stage not in manifest.stages:
        raise ModelFileError(f'{path}: base_stage is {manifest.base_stage!r}, which is no stage')
    for name in manifest.files:
        # A name that leads out of the folder would read a file that is no part of the model.
        if Path(name).is_absolute() or '..' in Path(name).parts:
            raise ModelFileError(f'{path}: {name!r} leads out of the folder')


def record(path: Path, read: Callable[[int], None] | None = None) -> FileRecord:
    """Length and checksum of a file; `read` is told the bytes of each piece."""
    mark, size = hashlib.sha256(), 0
    with path.open('rb') as stream:
        while block := stream.read(_BLOCK):
            mark.update(block)
            size += len(block)
            if read is not None:
                read(len(block))
    return FileRecord(size, mark.hexdigest())


def check_lengths(folder: Path, manifest: Manifest) -> None:
    """See that every file is there at its length: what can be known without reading them.

    Raises:
        ModelFileError: one is missing, or shorter or longer than it was.
    """
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ModelFileError(f'{path} is missing; prepare the model again')
        size = path.stat().st_size
        if size != expected.size:
            msg = f'{path} has {size} bytes, it was made with {expected.size}'
            raise ModelFileError(f'{msg}; prepare the model again')


def verify(folder: Path, progress: Callable[[str, float], None] | None = None) -> list[str]:
    """Read all of a prepared folder and hold it against its checksums.

    Args:
        folder: to look at.
        progress: told the file and the fraction of all bytes that are read.

    Returns:
        What is wrong, a line each; empty if nothing is.

    Raises:
        ModelFileError: the manifest cannot be read.
    """
    manifest = Manifest.read(folder)
    total, done = sum(r.size for r in manifest.files.values()) or 1, 0
    problems = []
    for name, expected in sorted(manifest.files.items()):
        path = folder / name
        if not path.is_file():
            problems.append(f'{path} is missing')
        elif path.stat().st_size != expected.size:
            problems.append(f'{path} has {path.stat().st_size} bytes; expected {expected.size}')
        elif record(path).sha256 != expected.sha256:
            problems.append(f'{path} has other content than when it was made')
        done += expected.size
        if progress is not None:
            progress(name, done / total)
    present = {str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file()}
    extra = sorted(
        name
        for name in present - set(manifest.files) - {PREPARED_FILE}
        if name.endswith(('.safetensors', '.json'))
    )
    return problems + [f'{folder / name} is no part of this model' for name in extra]
