"""The processes of a run, by accelerate: who they are, and what they tell each other."""

from __future__ import annotations

from typing import cast

from accelerate import Accelerator  # type: ignore[import-untyped]
from accelerate.utils import (  # type: ignore[import-untyped]
    DistributedDataParallelKwargs,
    gather_object,
)

from lotus2_ros.training.recipe.config import RecipeSettings
from lotus2_ros.training.recipe.errors import TrainingError

__all__ = ['Accelerator', 'gathered', 'make_accelerator']


def make_accelerator(settings: RecipeSettings) -> Accelerator:
    """The processes and devices of a run.

    Precision is not accelerate's business here: frozen weights are rounded when they are loaded,
    and what is trained is float32.

    Raises:
        TrainingError: the batch cannot be shared out among the devices.
    """
    buckets = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    accelerator = Accelerator(
        cpu=settings.device == 'cpu', mixed_precision='no', kwargs_handlers=[buckets]
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
