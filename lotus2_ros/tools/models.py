"""What a model folder holds, and what is wrong with it.

Without a folder: the models that come with the package. Of large weight
files only the headers are read; --load really loads the model, on the CPU, and finds every fault.
"""

from __future__ import annotations

import argparse
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        'model', nargs='?', help='nano or a folder; without it the bundled models are listed'
    )
    parser.add_argument('--base', default='', help='folder of the FLUX base, if it lies elsewhere')
    parser.add_argument('--load', action='store_true', help='load it too, on the CPU')


def run(args: argparse.Namespace) -> int:
    """List or inspect.

    Returns:
        0, or 1 if the model has a problem.

    Raises:
        ModelFileError: there is no such folder.
    """
    from lotus2_ros.model.sources import BUNDLED, bundled_folder

    if args.model is None:
        for name in BUNDLED:
            folder = bundled_folder(name)
            size = sum(p.stat().st_size for p in folder.rglob('*') if p.is_file())
            state = f'{_bytes(size)}' if folder.is_dir() else 'missing: not installed completely'
            print(f'{name:12} {state:12} {folder}')
        return 0
    folder = bundled_folder(args.model) if args.model in BUNDLED else Path(args.model).expanduser()
    base = Path(args.base).expanduser() if args.base else folder
    for path in (folder, base):
        if not path.is_dir():
            raise ModelFileError(
                f'{path} is no folder; a model on the hub is inspected once it has been fetched'
            )
    entries = inspect(folder, base)
    print_entries(folder, entries)
    failed = any(entry.problems for entry in entries)
    if args.load and not failed:
        from lotus2_ros.runtime import Lotus2Predictor

        info = Lotus2Predictor.from_pretrained(
            folder, base=base if args.base else None, device='cpu'
        ).info()
        print(
            f'loads: {info["parameters"]:,} parameters, tasks {" ".join(info["tasks"])}, '
            f'longest side {info["max_side"]} px'
        )
    return 1 if failed else 0


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
            _bytes(entry.size),
            str(entry.tensors or ''),
            f'{entry.parameters:,}' if entry.parameters else '',
            about,
        )
    Console(width=None if sys.stdout.isatty() else 130).print(table)
    for entry in entries:
        for problem in entry.problems:
            print(f'problem: {problem}')
    total = sum(entry.size for entry in entries)
    print(f'{_bytes(total)} in all, {sum(len(entry.problems) for entry in entries)} problems')


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


def _bytes(size: float) -> str:
    for unit in ('B', 'KiB', 'MiB'):
        if size < 1024:
            return f'{size:.0f} {unit}' if unit == 'B' else f'{size:.1f} {unit}'
        size /= 1024
    return f'{size:.1f} GiB'
