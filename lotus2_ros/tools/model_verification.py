"""Read all of a prepared folder and hold it against the checksums in its manifest."""

from __future__ import annotations

import argparse
from pathlib import Path

from lotus2_ros.tools.progress import progress_bars


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('folder', type=Path, help='prepared by `lotus2 models prepare`')


def run(args: argparse.Namespace) -> int:
    """Verify and print what is wrong.

    Returns:
        0, or 1 if anything is wrong.

    Raises:
        ModelFileError: the folder holds no manifest that can be read.
    """
    from lotus2_ros.model.prepared.manifest import verify

    with progress_bars() as tell:
        problems = verify(args.folder.expanduser(), lambda _file, fraction: tell('read', fraction))
    for problem in problems:
        print(f'problem: {problem}')
    print(f'{args.folder}: {len(problems)} problems')
    return 1 if problems else 0
