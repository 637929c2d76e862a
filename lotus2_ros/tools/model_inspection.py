"""What a model folder holds, file by file, from the headers of its weight files."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lotus2_ros.errors import ModelFileError

if TYPE_CHECKING:
    from lotus2_ros.model.files import WeightFiles

_COMPONENTS = ('transformer', 'vae', 'scheduler')


@dataclass
class Entry:
    """A file or folder of a model.

    Attributes:
        name: relative to the model folder.
        size: bytes.
        tensors: how many it holds.
        parameters: numbers in them.
        detail: rank, format and the like.
        problems: what is wrong with it.
    """

    name: str
    size: int = 0
    tensors: int = 0
    parameters: int = 0
    detail: str = ''
    problems: list[str] = field(default_factory=list)


def inspect(folder: Path, base: Path) -> list[Entry]:
    """Look at every file that a model of both tasks has.

    Args:
        folder: holds the Lotus-2 files.
        base: holds transformer, vae and scheduler; may be the same.
    """
    from lotus2_ros.model.prompt import PROMPT_FILE
    from lotus2_ros.model.tasks import TASKS

    entries = [_component(base / name) for name in _COMPONENTS]
    entries.append(_prompt(folder, base, PROMPT_FILE))
    for task in TASKS.values():
        entries.append(_adapter(folder / task.core_file))
        entries.append(_lcm(folder / task.lcm_file))
        entries.append(_adapter(folder / task.sharpener_file))
    return entries


def print_entries(folder: Path, entries: list[Entry]) -> None:
    """Print a line for each entry and one for each problem."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=str(folder))
    table.add_column('file', no_wrap=True)
    for title in ('size', 'tensors', 'parameters'):
        table.add_column(title, justify='right')
    table.add_column('')
    for entry in entries:
        about = '[red]problem[/red]' if entry.problems else entry.detail
        table.add_row(
            entry.name,
            in_bytes(entry.size),
            str(entry.tensors or ''),
            f'{entry.parameters:,}' if entry.parameters else '',
            about,
        )
    Console(width=None if sys.stdout.isatty() else 130).print(table)
    for entry in entries:
        for problem in entry.problems:
            print(f'problem: {problem}')
    total = sum(entry.size for entry in entries)
    print(f'{in_bytes(total)} in all, {sum(len(entry.problems) for entry in entries)} problems')


def _component(folder: Path) -> Entry:
    from lotus2_ros.model.files import WeightFiles

    entry = Entry(f'{folder.name}/')
    if not folder.is_dir():
        entry.problems.append(f'{folder} is missing')
        return entry
    entry.size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    if folder.name == 'scheduler':
        if not (folder / 'scheduler_config.json').is_file():
            entry.problems.append(f'{folder / "scheduler_config.json"} is missing')
        return entry
    try:
        if not (folder / 'config.json').is_file():
            raise ModelFileError(f'{folder / "config.json"} is missing')
        with WeightFiles.folder(folder) as files:
            _count(entry, files)
    except ModelFileError as error:
        entry.problems.append(str(error))
    return entry


def _prompt(folder: Path, base: Path, name: str) -> Entry:
    from lotus2_ros.model.files import WeightFiles

    entry = Entry(name)
    path = next((place / name for place in (folder, base) if (place / name).is_file()), None)
    if path is None:
        has_encoders = all((base / n).is_dir() for n in ('text_encoder', 'text_encoder_2'))
        if has_encoders:
            entry.detail = 'made at first load from the text encoders'
        else:
            entry.problems.append(f'{base} has neither {name} nor the text encoders to make it')
        return entry
    entry.size = path.stat().st_size
    try:
        with WeightFiles.single(path) as files:
            _count(entry, files)
            shapes = [files.shape(key) for key in sorted(files.keys())]
            entry.detail = ' and '.join('x'.join(map(str, shape)) for shape in shapes)
    except ModelFileError as error:
        entry.problems.append(str(error))
    return entry


def _adapter(path: Path) -> Entry:
    """A LoRA file: the rank is the first side of every lora_A."""
    from lotus2_ros.model.files import WeightFiles

    entry = Entry(path.name)
    try:
        with WeightFiles.single(path) as files:
            entry.size = path.stat().st_size
            _count(entry, files)
            ranks = {files.shape(k)[0] for k in files.keys() if k.endswith('lora_A.weight')}  # noqa: SIM118
        if len(ranks) == 1:
            entry.detail = f'LoRA of rank {ranks.pop()}'
        else:
            found = ', '.join(map(str, sorted(ranks))) or 'no lora_A weights'
            entry.problems.append(f'{path}: ranks must all be the same; found {found}')
    except ModelFileError as error:
        entry.problems.append(str(error))
    return entry


def _lcm(path: Path) -> Entry:
    from lotus2_ros.model.files import read_plain_tensors

    entry = Entry(path.name)
    try:
        tensors = read_plain_tensors(path)
        entry.size = path.stat().st_size
        entry.tensors = len(tensors)
        entry.parameters = sum(tensor.numel() for tensor in tensors.values())
        with path.open('rb') as file:
            entry.detail = 'torch archive of tensors' if file.read(2) == b'PK' else ''
    except ModelFileError as error:
        entry.problems.append(str(error))
    return entry


def _count(entry: Entry, files: WeightFiles) -> None:
    entry.tensors = len(files.keys())
    entry.parameters = sum(math.prod(files.shape(key)) for key in files.keys())  # noqa: SIM118


def in_bytes(size: float) -> str:
    """A number of bytes in words."""
    for unit in ('B', 'KiB', 'MiB'):
        if size < 1024:
            return f'{size:.0f} {unit}' if unit == 'B' else f'{size:.1f} {unit}'
        size /= 1024
    return f'{size:.1f} GiB'
