"""The cheap look at a model's name that a configure transition can afford."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from lotus2_ros.errors import ModelFileError
from lotus2_ros.types import PREPARED_FILE

_MARKS = ('transformer', 'vae', 'model_index.json')


def check_model_folder(model: str, base: str) -> None:
    """Refuse a folder that is not there, or is no model, at once and not after the worker's start.

    Everything else about the files is checked where they are read; a hub id is left to the hub.

    Args:
        model: 'nano', a folder, or a hub id.
        base: the FLUX base, a folder or hub id; empty if `model` holds it.

    Raises:
        ModelFileError: naming the folder and what it lacks.
    """
    if model == 'nano':
        folder: Path | None = bundled('nano')
    else:
        folder = as_folder(model, 'model')
    if folder is not None and (folder / PREPARED_FILE).is_file():
        if base:
            raise ModelFileError(f'model: {folder} is prepared and takes no base; leave base empty')
        return
    if folder is not None and not base:
        _check_base(folder, 'model')
    base_folder = as_folder(base, 'base') if base else None
    if base_folder is not None:
        _check_base(base_folder, 'base')


def bundled(name: str) -> Path:
    """The folder of a model that comes with the package."""
    spec = importlib.util.find_spec('lotus2_ros')
    if spec is None or not spec.submodule_search_locations:
        raise ModelFileError('the package lotus2_ros is not installed as a folder')
    return Path(spec.submodule_search_locations[0]) / 'models' / name


def as_folder(name: str, parameter: str) -> Path | None:
    """The folder that a name means, or None if it is a hub id (owner/name).

    Raises:
        ModelFileError: it is written as a path, and no folder is there.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    is_hub_id = name.count('/') == 1 and name[0] not in '/.~'
    if is_hub_id:
        return None
    raise ModelFileError(f'{parameter} is {name!r}, but there is no such folder')


def _check_base(folder: Path, parameter: str) -> None:
    if not folder.is_dir():
        raise ModelFileError(f'{parameter}: there is no folder {folder}')
    if not any((folder / mark).exists() for mark in _MARKS):
        raise ModelFileError(
            f'{parameter}: {folder} is no model folder: it has none of {", ".join(_MARKS)}'
            + (' (give base where the FLUX base lies elsewhere)' if parameter == 'model' else '')
        )
