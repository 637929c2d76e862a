"""Where a prepared folder comes from: its sources' checksums, and what their licence asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lotus2_ros.model import prompt
from lotus2_ros.model.loading import ABOUT_FILE, ModelFolders
from lotus2_ros.model.prepared.manifest import FileRecord, record
from lotus2_ros.model.prepared.names import SCHEDULER, TRANSFORMER, VAE
from lotus2_ros.model.sources import is_hub_id
from lotus2_ros.model.tasks import TASKS


def source_records(
    folders: ModelFolders,
    tasks: Sequence[str],
    *,
    sharpener: bool,
    tell: Callable[[str, float], None],
) -> dict[str, FileRecord]:
    """Checksums of every file that goes in, under base/ and model/."""
    base, model = folders.base, folders.model
    places = {f'base/{name}': base / name for name in (SCHEDULER, TRANSFORMER, VAE)}
    for part in ('transformer', 'vae'):
        for path in sorted((base / part).glob('*.safetensors')):
            places[f'base/{part}/{path.name}'] = path
    stored = prompt.find_stored([model, base])
    if stored is not None:
        places[f'{"model" if stored.parent == model else "base"}/{stored.name}'] = stored
    chosen = [TASKS[name] for name in tasks]
    names = [name for task in chosen for name in (task.core_file, task.lcm_file)]
    if sharpener:
        names += [task.sharpener_file for task in chosen]
    if (model / ABOUT_FILE).is_file():
        names.append(ABOUT_FILE)
    places |= {f'model/{name}': model / name for name in names}
    total, done = sum(path.stat().st_size for path in places.values()), 0

    def read(size: int) -> None:
        nonlocal done
        done += size
        tell('checksums', done / total)

    return {name: record(path, read) for name, path in places.items()}


def known_as(model: str) -> str:
    """A model's name for those who have not its folder: a hub id, or the folder's own name."""
    return model if is_hub_id(model) else Path(model).expanduser().resolve().name


def licence_note(folders: ModelFolders, *, guided: bool) -> str:
    """What to know before passing the folder on; the base decides."""
    if folders.name in {'nano'} or folders.base_name == 'nano':
        return 'Weights bundled with lotus2_ros, under its licence (Apache-2.0).'
    if 'schnell' in folders.base_name.lower() or not guided:
        return 'Holds weights derived from FLUX.1 [schnell]: Apache-2.0, if that was the base.'
    return (
        'Holds weights derived from FLUX.1 [dev], if that was the base: FLUX.1 [dev]'
        ' Non-Commercial License. Whoever runs or receives this folder is bound by it.'
    )
