"""A stage from its settings: base, adapters, starting weights, and what it needs beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from lotus2_ros.errors import ModelFileError, SettingsError
from lotus2_ros.model import sources
from lotus2_ros.model.loading import load_lcm
from lotus2_ros.model.lora import LoraWeights, read_lora
from lotus2_ros.model.tasks import TASKS
from lotus2_ros.runtime.device import choose_device, choose_precision
from lotus2_ros.training.recipe.base import Base, load_base, open_base
from lotus2_ros.training.recipe.coarse import CoarseLatents
from lotus2_ros.training.recipe.config import CORE, SHARPENER, RecipeSettings
from lotus2_ros.training.recipe.latent_store import LatentStore, store_folder
from lotus2_ros.training.recipe.lora import activate, attach, fill
from lotus2_ros.training.recipe.stages import CoreStage, SharpenerStage, Stage, new_lcm

CACHE_FOLDER = 'coarse'


def check_settings(stage: str, settings: RecipeSettings) -> None:
    """Hold settings against a stage before anything is loaded.

    Raises:
        SettingsError: they contradict each other.
    """
    if stage == SHARPENER and not settings.core:
        msg = (
            'core: the sharpener stage refines a trained core predictor; name its model, for'
            ' example --set core=runs/core/model'
        )
        raise SettingsError(msg)
    if stage == SHARPENER and settings.adapter.full:
        msg = (
            'adapter.full: a model folder has one transformer, which both stages share; train the'
            ' core in full, then the sharpener as an adapter with the result as base and core'
        )
        raise SettingsError(msg)
    if settings.adapter.full and settings.start:
        msg = 'start: a start is adapters, and full training has none; name the model as base'
        raise SettingsError(msg)
    if stage == CORE and settings.core:
        raise SettingsError('core: only the sharpener stage takes one; see start for fine-tuning')
    if not settings.data:
        raise SettingsError('data: no datasets; list at least one, for example {kind: synthetic}')


def make_base(settings: RecipeSettings, device: torch.device | None = None) -> Base:
    """Load a run's base.

    Args:
        settings: of the run.
        device: of this process; None chooses one by the settings.

    Raises:
        ModelFileError: the base is missing or damaged.
        DeviceError: the device or precision cannot be had.
    """
    folders, opened = open_base(settings.base)
    with opened:
        chosen = choose_device(settings.device, opened.parameters) if device is None else device
        choose_device(settings.device, opened.parameters)  # refuses a large base on a CPU unasked
        dtype = choose_precision(settings.precision, chosen)
        base = load_base(folders, opened, chosen, dtype, full=settings.adapter.full)
    if settings.checkpointing:
        base.transformer.enable_gradient_checkpointing()
    return base


def make_stage(name: str, base: Base, settings: RecipeSettings, out: Path) -> Stage:
    """Build a stage on its base.

    Args:
        name: 'core' or 'sharpener'.
        base: loaded, without adapters.
        settings: of the run.
        out: folder of the run, for the store of coarse latents.

    Raises:
        ModelFileError: the core or the start is missing, damaged, or of another base.
        SettingsError: the start's rank is not the one asked for.
    """
    draw = torch.Generator().manual_seed(settings.seed)
    if name == CORE:
        return _core_stage(base, settings, draw)
    return _sharpener_stage(base, settings, out, draw)


def _core_stage(base: Base, settings: RecipeSettings, draw: torch.Generator) -> CoreStage:
    task = TASKS[settings.task]
    lcm = new_lcm(base.latent_channels, draw)
    if settings.adapter.full:
        return CoreStage(base, lcm, full=True)
    attach(base.transformer, CORE, settings.rank, draw)
    if settings.start:
        folder = find_model(settings.start, (task.core_file, task.lcm_file))
        fill(base.transformer, CORE, _start(folder / task.core_file, base, settings))
        lcm = load_lcm(folder / task.lcm_file, base.latent_channels)
    return CoreStage(base, lcm)


def _sharpener_stage(
    base: Base, settings: RecipeSettings, out: Path, draw: torch.Generator
) -> SharpenerStage:
    task = TASKS[settings.task]
    folder = find_model(settings.core, (task.core_file, task.lcm_file))
    core = read_lora(folder / task.core_file, base.targets)
    attach(base.transformer, CORE, core.rank, draw)
    fill(base.transformer, CORE, core)
    attach(base.transformer, SHARPENER, settings.rank, draw)
    if settings.start:
        start = find_model(settings.start, (task.sharpener_file,)) / task.sharpener_file
        fill(base.transformer, SHARPENER, _start(start, base, settings))
    activate(base.transformer, SHARPENER, trained=True)
    root = Path(settings.cache.folder).expanduser() if settings.cache.folder else out / CACHE_FOLDER
    mark = _core_mark([folder / task.core_file, folder / task.lcm_file], base)
    store = LatentStore(store_folder(root, mark, base.dtype), settings.cache.limit_gib)
    lcm = load_lcm(folder / task.lcm_file, base.latent_channels)
    return SharpenerStage(
        base,
        CoarseLatents(base, lcm, store),
        inference_times=settings.flow.inference_times,
    )


def _start(path: Path, base: Base, settings: RecipeSettings) -> LoraWeights:
    weights = read_lora(path, base.targets)
    if weights.rank != settings.rank:
        msg = (
            f'adapter.rank is {settings.rank}, but {path} has rank {weights.rank}: they must agree'
        )
        raise SettingsError(msg)
    return weights


def find_model(name: str, wanted: Sequence[str]) -> Path:
    """Folder of a model that must hold certain files.

    Raises:
        ModelFileError: no such folder or file, or the hub refuses.
    """
    folder = sources.resolve(name, wanted)
    missing = [file for file in wanted if not (folder / file).is_file()]
    if missing:
        raise ModelFileError(f'{folder} lacks {", ".join(missing)}')
    return folder


def _core_mark(files: Sequence[Path], base: Base) -> str:
    """Checksum of all that decides a coarse latent."""
    mark = hashlib.sha256(base.identity.encode())
    for path in files:
        with path.open('rb') as stream:
            mark.update(hashlib.file_digest(stream, 'sha256').digest())
    return mark.hexdigest()
