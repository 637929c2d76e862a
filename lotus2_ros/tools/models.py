r"""What a model folder holds, and what is wrong with it; prepare, verify and random.

Without a folder: the models that come with the package. Of large weight
files only the headers are read; --load really loads the model, on the CPU, and finds every fault.

  lotus2 models prepare MODEL --base BASE --out FOLDER    make it ready once: loads in seconds
  lotus2 models verify FOLDER                             hold a prepared folder to its checksums
  lotus2 models random --out FOLDER                       FLUX.1-dev's shape, to measure speed

A folder of such a name is written with its path: ./prepare
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lotus2_ros.errors import ModelFileError
from lotus2_ros.tools.model_inspection import in_bytes, inspect, print_entries
from lotus2_ros.types import PREPARED_FILE, TASKS

SUBCOMMANDS = {
    'prepare': 'model_preparation',
    'verify': 'model_verification',
    'random': 'random_model',
}
"""Word after `lotus2 models` to the module beside this one that does it."""


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
            state = f'{in_bytes(size)}' if folder.is_dir() else 'missing: not installed completely'
            print(f'{name:12} {state:12} {folder}')
        return 0
    folder = bundled_folder(args.model) if args.model in BUNDLED else Path(args.model).expanduser()
    base = Path(args.base).expanduser() if args.base else folder
    for path in (folder, base):
        if not path.is_dir():
            raise ModelFileError(
                f'{path} is no folder; a model on the hub is inspected once it has been fetched'
            )
    if (folder / PREPARED_FILE).is_file():
        return _show_prepared(folder, load=args.load)
    entries = inspect(folder, base)
    print_entries(folder, entries)
    failed = any(entry.problems for entry in entries)
    if args.load and not failed:
        _load(folder, base if args.base else None)
    return 1 if failed else 0


def _show_prepared(folder: Path, *, load: bool) -> int:
    from lotus2_ros.model.prepared.manifest import Manifest, check_lengths

    manifest = Manifest.read(folder)
    check_lengths(folder, manifest)
    size = sum(record.size for record in manifest.files.values())
    print(f'{folder}: {manifest.name}, prepared, {in_bytes(size)} in {len(manifest.files)} files')
    print(f'{manifest.precision}, {manifest.layout}; stages {" ".join(manifest.stages)}')
    sizes = ' '.join(f'{width}x{height}' for height, width in manifest.sizes)
    print(f'sharpens {sizes}{" and any other size" if manifest.keeps_modulation else ""}')
    print(manifest.licence)
    if load:
        _load(folder, None, tasks=manifest.tasks, sharpener=manifest.sharpener)
    return 0


def _load(
    folder: Path,
    base: Path | None,
    tasks: Sequence[str] = TASKS,
    *,
    sharpener: bool = True,
) -> None:
    from lotus2_ros.runtime import Lotus2Predictor

    info = Lotus2Predictor.from_pretrained(
        folder, base=base, tasks=tasks, sharpener=sharpener, device='cpu'
    ).info()
    print(
        f'loads: {info["parameters"]:,} parameters, tasks {" ".join(info["tasks"])}, '
        f'longest side {info["max_side"]} px'
    )
