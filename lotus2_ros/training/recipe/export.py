"""The result of a run: a model folder with the published file names."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lotus2_ros.model.loading import ABOUT_FILE
from lotus2_ros.model.lora import PREFIX
from lotus2_ros.model.prompt import PROMPT_FILE, find_stored
from lotus2_ros.model.tasks import TASKS
from lotus2_ros.training.recipe.base import Base
from lotus2_ros.training.recipe.config import ExportSettings, RecipeSettings
from lotus2_ros.training.recipe.stages import LCM_PREFIX, CoreStage, SharpenerStage

_DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


def export_core(folder: Path, stage: CoreStage, settings: RecipeSettings) -> None:
    """Write the core predictor's adapter and the local continuity module.

    Trained in full, the transformer is written too, and the folder is a base and a model in one;
    its adapter file then holds an adapter that adds nothing, because the layout has one.

    Args:
        folder: made if missing; files of the same names are replaced.
        stage: the trained stage.
        settings: of the run.
    """
    task = TASKS[settings.task]
    about = settings.export
    tensors = {name: value.detach() for name, value in stage.parameters().items()}
    lcm = {n.removeprefix(LCM_PREFIX): v for n, v in tensors.items() if n.startswith(LCM_PREFIX)}
    adapter = {name: v for name, v in tensors.items() if name.startswith(PREFIX)}
    folder.mkdir(parents=True, exist_ok=True)
    if stage.full:
        _write_base(folder, stage.base)
        adapter = _empty_adapter(stage.base)
    _write(folder / task.core_file, adapter, about.dtype)
    write_lcm(folder / task.lcm_file, lcm, about)
    _write_common(folder, stage.base, about)


def export_sharpener(
    folder: Path, stage: SharpenerStage, core: Path, settings: RecipeSettings
) -> None:
    """Write the detail sharpener beside copies of the core's files that it was trained for.

    Args:
        folder: made if missing; files of the same names are replaced.
        stage: the trained stage.
        core: folder of the core's files.
        settings: of the run.
    """
    task = TASKS[settings.task]
    folder.mkdir(parents=True, exist_ok=True)
    for name in (task.core_file, task.lcm_file):
        if not (folder / name).exists() or not (folder / name).samefile(core / name):
            _replace(folder / name, functools.partial(shutil.copyfile, core / name))
    _write(folder / task.sharpener_file, dict(stage.parameters()), settings.export.dtype)
    _write_common(folder, stage.base, settings.export)


def write_lcm(path: Path, tensors: Mapping[str, Tensor], about: ExportSettings) -> None:
    """Write the local continuity module under its published name.

    The released loader opens this file with `torch.load(weights_only=True)` by its path. Up to
    torch 2.12 that reads torch archives only, whatever the name; from 2.13 on a path that ends in
    .safetensors is read as safetensors only.
    """
    plain = {
        key: value.detach().to('cpu', _DTYPES[about.dtype]).contiguous()
        for key, value in tensors.items()
    }
    if about.lcm_format == 'safetensors':
        _replace(path, lambda part: save_file(plain, part, metadata={'format': 'pt'}))
    else:
        _replace(path, lambda part: torch.save(plain, part))


def _empty_adapter(base: Base) -> dict[str, Tensor]:
    tensors = {}
    for name, (outputs, inputs) in base.targets.items():
        tensors[f'{PREFIX}{name}.lora_A.weight'] = torch.zeros(1, inputs)
        tensors[f'{PREFIX}{name}.lora_B.weight'] = torch.zeros(outputs, 1)
    return tensors


def _write_base(folder: Path, base: Base) -> None:
    """The trained transformer, and the frozen parts of the base that it belongs to."""
    assert base.folders is not None
    base.transformer.save_pretrained(folder / 'transformer')
    for part in ('vae', 'scheduler'):
        shutil.copytree(base.folders.base / part, folder / part, dirs_exist_ok=True)


def _write_common(folder: Path, base: Base, about: ExportSettings) -> None:
    """The model's description, and the prompt embeddings that it was trained with."""
    content = json.dumps({'name': about.name, 'max_side': about.max_side}, indent=2) + '\n'
    _replace(folder / ABOUT_FILE, lambda part: part.write_text(content, encoding='utf-8'))
    prompt = {
        'prompt_embeds': base.conditioning.prompt,
        'pooled_prompt_embeds': base.conditioning.pooled,
    }
    stored = None if base.folders is None else find_stored([base.folders.base])
    if stored is not None:
        _replace(folder / PROMPT_FILE, functools.partial(shutil.copyfile, stored))
    else:
        plain = {key: value.to('cpu').contiguous() for key, value in prompt.items()}
        _replace(folder / PROMPT_FILE, lambda part: save_file(plain, part))


def _write(path: Path, tensors: Mapping[str, Tensor], dtype: str) -> None:
    plain = {k: v.detach().to('cpu', _DTYPES[dtype]).contiguous() for k, v in tensors.items()}
    _replace(path, lambda part: save_file(plain, part, metadata={'format': 'pt'}))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside the goal, then rename: a reader never sees half a file."""
    part = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
