"""The processes of a run, by accelerate: who they are, and what they tell each other."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from accelerate.utils import (  # type: ignore[import-untyped]
    DistributedDataParallelKwargs,
    InitProcessGroupKwargs,
    gather_object,
)

from lotus2_ros.training.recipe.config import RecipeSettings
from lotus2_ros.training.recipe.errors import TrainingError

_PATIENCE = timedelta(hours=3)
"""How long processes wait for the first, which fetches the base from the hub. The launcher ends all
of them when one dies, whatever this is."""

__all__ = ['Accelerator', 'gathered', 'make_accelerator']


def make_accelerator(settings: RecipeSettings) -> Accelerator:
    """The processes and devices of a run.

    Precision is not accelerate's business here: frozen weights are rounded when they are loaded,
    and what is trained is float32.

    Raises:
        TrainingError: the batch cannot be shared out among the devices.
    """
    buckets = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    patience = InitProcessGroupKwargs(timeout=_PATIENCE)
    accelerator = Accelerator(
        cpu=settings.device == 'cpu' or not torch.cuda.is_available(),
        mixed_precision='no',
        kwargs_handlers=[buckets, patience],
    )
    try:
        count = settings.batch.accumulation(accelerator.num_processes)
    except ValueError as err:
        raise TrainingError(str(err)) from err
    accelerator.gradient_accumulation_steps = count
    return accelerator


def gathered(names: list[str]) -> list[str]:
    """The lists of all processes, one after the other."""
    return cast('list[str]', gather_object(names))
