"""Accuracy while training, by the field's protocols, on whole pictures of validation data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from lotus2_ros.model.tasks import TASKS
from lotus2_ros.runtime.preprocess import prepare_image, read_picture, working_sizes
from lotus2_ros.training.data.sample import BadSample, Dataset, Record
from lotus2_ros.training.evaluation.depth_alignment import DepthRange, align_to_depth
from lotus2_ros.training.evaluation.depth_metrics import depth_errors
from lotus2_ros.training.evaluation.normal_metrics import normal_angles
from lotus2_ros.training.recipe.config import RecipeSettings
from lotus2_ros.training.recipe.errors import TrainingError
from lotus2_ros.training.recipe.processes import Accelerator
from lotus2_ros.training.recipe.stages import Stage
from lotus2_ros.types import DEPTH, AnyArray, BoolArray

Figures = dict[str, float]
Picks = list[tuple[Dataset, int]]

_FEWEST = 32
"""Pixels below which an error says nothing."""


def choose(
    datasets: Sequence[Dataset], settings: RecipeSettings
) -> tuple[Picks, list[tuple[str, str]]]:
    """Pictures to validate on: spread evenly over the datasets and over each one's length.

    They are read once, so that a run does not end at its first validation, hours after its start.
    One that cannot be used gives way to the next of its dataset.

    Returns:
        Dataset and index of each picture, and name and reason of those that were left out.

    Raises:
        TrainingError: a dataset has no usable picture.
    """
    picks: Picks = []
    unusable: dict[str, str] = {}
    for place, dataset in enumerate(datasets):
        total = settings.validation.count
        share = min(total // len(datasets) + (place < total % len(datasets)), len(dataset))
        taken: set[int] = set()
        for number in range(share):
            first = number * len(dataset) // share
            index = _usable(dataset, first, taken, unusable, settings)
            if index is None:
                break  # all of them are taken or unusable
            taken.add(index)
        if share and not taken:
            name, reason = next(reversed(unusable.items()))
            msg = f'{dataset.name}: no picture can be validated on; the last one: {name}: {reason}'
            raise TrainingError(msg)
        picks += [(dataset, index) for index in sorted(taken)]
    return picks, list(unusable.items())


def _usable(
    dataset: Dataset,
    first: int,
    taken: set[int],
    unusable: dict[str, str],
    settings: RecipeSettings,
) -> int | None:
    for step in range(len(dataset)):
        index = (first + step) % len(dataset)
        if index in taken:
            continue
        try:
            _counting(dataset.read(index), settings)
        except BadSample as error:
            unusable[error.name] = error.reason
            continue
        return index
    return None


def _counting(record: Record, settings: RecipeSettings) -> BoolArray:
    """Pixels that errors are taken over.

    Raises:
        BadSample: there are too few.
    """
    if settings.task != DEPTH:
        if record.surface is None or not record.surface.any():
            raise BadSample(record.name, 'no normals')
        return record.surface
    near, far = settings.validation.nearest, settings.validation.farthest
    counting = record.valid & DepthRange(near, far).contains(record.depth)
    if np.count_nonzero(counting) < _FEWEST:
        raise BadSample(record.name, f'hardly any depth between {near} and {far} m')
    return counting


def validate(
    stage: Stage, picks: Picks, settings: RecipeSettings, accelerator: Accelerator
) -> Figures:
    """Mean errors over the validation pictures, the same on every process.

    Depth: AbsRel and delta1 after the least-squares fit in disparity. Normals: mean angle, and the
    share under 11.25 degrees.

    Args:
        stage: being trained.
        picks: from `choose`.
        settings: of the run.
        accelerator: the pictures are shared out among its processes.

    Raises:
        BadSample: a picture can no longer be read.
    """
    mine = picks[accelerator.process_index :: accelerator.num_processes]
    rows = [_errors(stage, dataset.read(index), settings) for dataset, index in mine]
    names = _names(stage, settings)
    total = torch.zeros(len(names) + 1)
    for row in rows:
        total += torch.tensor([*(row[name] for name in names), 1.0])
    summed: Any = accelerator.reduce(total.to(accelerator.device), reduction='sum')
    return {name: float(summed[i] / summed[-1]) for i, name in enumerate(names)}


def measure_name(stage: Stage, settings: RecipeSettings) -> str:
    """The figure that the best checkpoint is chosen by; smaller is better."""
    return f'{stage.name} {"abs_rel" if settings.task == DEPTH else "mean_angle"}'


def _names(stage: Stage, settings: RecipeSettings) -> list[str]:
    kinds = ('abs_rel', 'delta1') if settings.task == DEPTH else ('mean_angle', 'under_11.25')
    parts = dict.fromkeys(('core', stage.name))
    return [f'{part} {kind}' for part in parts for kind in kinds]


def _errors(stage: Stage, record: Record, settings: RecipeSettings) -> Figures:
    row: Figures = {}
    for name, prediction in _predictions(stage, record, settings):
        judge = _depth_errors if settings.task == DEPTH else _normal_errors
        row |= {f'{name} {kind}': v for kind, v in judge(prediction, record, settings).items()}
    return row


def _predictions(
    stage: Stage, record: Record, settings: RecipeSettings
) -> Iterator[tuple[str, AnyArray]]:
    """What the model says of a picture, at its size, as the predictor reads it."""
    size = record.image.shape[:2]
    sizes = working_sizes(size, settings.export.max_side)
    image = prepare_image(record.image, sizes, torch.device('cpu'), torch.float32)
    latents = stage.predictions(image, settings.validation.sharpen_steps)
    for name, latent in latents.items():
        values = read_picture(stage.base.decode(latent), TASKS[settings.task], size)
        yield name, values[0].permute(1, 2, 0).cpu().numpy()  # (H, W, C)


def _depth_errors(prediction: AnyArray, record: Record, settings: RecipeSettings) -> Figures:
    counting = _counting(record, settings)
    disparity = prediction[..., 0]
    if not (disparity[counting] > 0).any():
        # The protocol fits to positive disparities only. A black picture is judged as the constant
        # that it is, so that a bad validation is a figure and not the end of a run.
        disparity = disparity + 1.0
    within = DepthRange(settings.validation.nearest, settings.validation.farthest)
    aligned = align_to_depth(disparity, record.depth, counting, within)
    errors = depth_errors(aligned.depth, record.depth, counting)
    return {'abs_rel': errors.abs_rel, 'delta1': errors.delta1}


def _normal_errors(prediction: AnyArray, record: Record, settings: RecipeSettings) -> Figures:
    assert record.normals is not None
    # Training data hold outward normals; predictions face the camera.
    angles = normal_angles(prediction, -record.normals, _counting(record, settings))
    return {'mean_angle': float(angles.mean()), 'under_11.25': float((angles < 11.25).mean())}
