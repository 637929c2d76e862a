"""Which samples a published figure was taken on: the lists that come with the protocols' code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.training.evaluation.storage import Storage


def find_list(folder: Path, pattern: str) -> Path:
    """The one list under a folder that a glob matches.

    Args:
        folder: searched through all its folders.
        pattern: for `Path.rglob`, such as 'nyu*/**/filename_list_test.txt'.

    Raises:
        EvaluationError: no list matches, or several do.
    """
    if not folder.is_dir():
        raise EvaluationError(f'{folder}: no such folder of split lists')
    found = sorted(path for path in folder.rglob(pattern) if path.is_file())
    if len(found) != 1:
        names = ', '.join(map(str, found)) or 'none'
        raise EvaluationError(f'one list {pattern} is needed under {folder}; found: {names}')
    return found[0]


def read_list(path: Path, columns: int) -> list[tuple[str, ...]]:
    """Lines of file names separated by blanks; lines that say None for a file are left out.

    Args:
        path: of the list.
        columns: names a line must have at least; further ones are dropped.

    Raises:
        EvaluationError: the list cannot be read, is empty, or a line has fewer names.
    """
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f'{path}: cannot be read: {error}') from error
    entries = []
    for number, line in enumerate(lines, 1):
        names = line.split()
        if not names:
            continue
        if len(names) < columns:
            raise EvaluationError(f'{path}:{number}: {len(names)} names, not {columns}')
        entries.append(tuple(names[:columns]))
    entries = [entry for entry in entries if 'None' not in entry]
    if not entries:
        raise EvaluationError(f'{path}: no sample in the list')
    return entries


def derive_pairs(storage: Storage, image: str, partners: Sequence[str]) -> list[tuple[str, ...]]:
    """Pairs by the layout of the folder, where there is no list.

    Args:
        storage: the files.
        image: regular expression that matches a picture's whole name, with named groups.
        partners: names of the picture's ground-truth files, with those groups in braces.

    Returns:
        Picture and partners, by name; pictures without all partners are not ground truth's.

    Raises:
        EvaluationError: there is none.
    """
    names = storage.names()
    there, pairs = set(names), []
    for name in names:
        match = re.fullmatch(image, name)
        if match is None:
            continue
        others = tuple(partner.format(**match.groupdict()) for partner in partners)
        if all(other in there for other in others):
            pairs.append((name, *others))
    if not pairs:
        raise EvaluationError(f'{storage.place}: no picture {image} with {" and ".join(partners)}')
    return pairs
