"""Checkpoints of a run: written aside, made durable, then renamed; only plain tensors are read."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lotus2_ros.model.files import read_json
from lotus2_ros.training.recipe.errors import TrainingError

WEIGHTS_FILE, ADAM_FILE, STATE_FILE = 'trained.safetensors', 'adam.safetensors', 'state.json'
_NAME = re.compile(r'step-(\d{8})')
_PARTIAL = '.partial'
_MOMENTS = ('step', 'exp_avg', 'exp_avg_sq')


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on as if nothing had happened.

    Data, flips and flow times are functions of the step, so that no random state is part of it.

    Attributes:
        step: optimiser steps made.
        weights: what is trained, by name, float32.
        adam: Adam's moments, `<name>.<moment>`.
        metric: the validation's measure at this step, smaller is better; None where there was none.
        about: further plain data: settings, stage, devices.
    """

    step: int
    weights: dict[str, Tensor]
    adam: dict[str, Tensor]
    metric: float | None
    about: dict[str, Any]


def adam_tensors(
    adam: torch.optim.Optimizer, parameters: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Adam's moments by parameter name and moment."""
    return {
        f'{name}.{moment}': adam.state[value][moment].detach()
        for name, value in parameters.items()
        for moment in _MOMENTS
        if moment in adam.state[value]
    }


def restore(
    checkpoint: Checkpoint, adam: torch.optim.Optimizer, parameters: Mapping[str, Tensor]
) -> None:
    """Put weights and moments back in place.

    Raises:
        TrainingError: the checkpoint holds other tensors than this run trains.
    """
    wanted = {f'{name}.{moment}' for name in parameters for moment in _MOMENTS}
    if set(checkpoint.weights) != set(parameters) or set(checkpoint.adam) != wanted:
        differing = sorted(set(checkpoint.weights) ^ set(parameters))[:4]
        raise TrainingError(
            f'the checkpoint of step {checkpoint.step} is of another training:'
            f' {", ".join(differing) or "moments"} differ'
        )
    for name, value in parameters.items():
        if checkpoint.weights[name].shape != value.shape:
            msg = f'the checkpoint of step {checkpoint.step} has another shape of {name}'
            raise TrainingError(msg)
        with torch.no_grad():
            value.copy_(checkpoint.weights[name])
        adam.state[value] = {
            # Adam counts on the CPU unless it is fused, and reads the place from the tensor.
            moment: checkpoint.adam[f'{name}.{moment}'].to(
                'cpu' if moment == 'step' and not _fused(adam) else value.device
            )
            for moment in _MOMENTS
        }


def _fused(adam: torch.optim.Optimizer) -> bool:
    return bool(adam.param_groups[0].get('fused'))


class CheckpointFolder:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep

    def steps(self) -> list[int]:
        """Steps with a complete checkpoint, ascending."""
        if not self._folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self._folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        """Folder of a step."""
        return self._folder / f'step-{step:08d}'

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint and drop what is no longer kept.

        Until the last rename there is nothing that could be taken for a checkpoint, and before it
        everything is on the disk, so that neither a kill nor a power cut leaves half of one.

        Raises:
            TrainingError: the disk refuses.
        """
        path = self.path(checkpoint.step)
        if path.exists():  # a run that was resumed and at once interrupted
            return path
        part = path.with_name(path.name + _PARTIAL)
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            save_file(_on_host(checkpoint.weights), part / WEIGHTS_FILE)
            save_file(_on_host(checkpoint.adam), part / ADAM_FILE)
            about = {**checkpoint.about, 'step': checkpoint.step, 'metric': checkpoint.metric}
            (part / STATE_FILE).write_text(json.dumps(about, indent=1), encoding='utf-8')
            for file in (*part.iterdir(), part):
                _sync(file)
            part.replace(path)
            _sync(self._folder)
        except (OSError, SafetensorError) as err:
            raise TrainingError(f'{path} cannot be written: {err}') from err
        self._prune()
        return path

    def load(self, step: int) -> Checkpoint:
        """Read a checkpoint.

        Raises:
            TrainingError: a file is missing or damaged.
            ModelFileError: the description is.
        """
        path = self.path(step)
        about = read_json(path / STATE_FILE)
        try:
            weights, adam = load_file(path / WEIGHTS_FILE), load_file(path / ADAM_FILE)
        except (OSError, SafetensorError) as err:
            msg = f'{path} is damaged ({err}); delete it to go on from the one before'
            raise TrainingError(msg) from err
        return Checkpoint(int(about['step']), weights, adam, about.get('metric'), about)

    def best(self) -> int | None:
        """The step with the smallest validation measure, or None if none was validated."""
        measured = {step: self._metric(step) for step in self.steps()}
        known = {step: value for step, value in measured.items() if value is not None}
        return min(known, key=known.__getitem__) if known else None

    def _metric(self, step: int) -> float | None:
        value = read_json(self.path(step) / STATE_FILE).get('metric')
        return None if value is None else float(value)

    def _prune(self) -> None:
        for part in self._folder.glob(f'step-*{_PARTIAL}'):
            shutil.rmtree(part)
        kept = {*self.steps()[-self._keep :], self.best()}
        for step in set(self.steps()) - kept:
            shutil.rmtree(self.path(step))


def _on_host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().to('cpu').contiguous() for key, value in tensors.items()}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
