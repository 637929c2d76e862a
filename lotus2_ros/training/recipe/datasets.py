"""The data of a run: training batches by step, validation pictures, and a fixed batch to show."""

from __future__ import annotations

import signal
from collections.abc import Generator
from dataclasses import dataclass, field
from multiprocessing import resource_tracker

from lotus2_ros.training.data import open_datasets
from lotus2_ros.training.data.sample import Batch
from lotus2_ros.training.data.stream import TrainingStream
from lotus2_ros.training.recipe.config import RecipeSettings
from lotus2_ros.training.recipe.processes import Accelerator
from lotus2_ros.training.recipe.validation import Picks, choose


@dataclass
class TrainingData:
    """Streams of one process.

    Attributes:
        stream: of training batches, a function of step and rank.
        shown: of the samples that pictures show, the same for the whole run.
        validation: whole pictures that are known to be usable.
        unusable: validation pictures that were left out, with reasons.
    """

    stream: TrainingStream
    shown: TrainingStream
    validation: Picks
    unusable: list[tuple[str, str]] = field(default_factory=list)

    def batches(self, first: int, workers: int) -> Generator[Batch]:
        """Micro-batches from any place on, prepared ahead by workers."""
        loader = self.stream.loader(first, workers)
        # Workers start with the first batch and inherit what is blocked: Ctrl-C reaches every
        # process of a terminal, and is for the trainer, which still needs them for the step at
        # hand. The trainer itself gets it as soon as it is unblocked.
        resource_tracker.ensure_running()  # its own start would unblock the signal
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            batch = next(loader)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield batch
        yield from loader

    def samples(self) -> Batch:
        """The samples that pictures show."""
        return self.shown.batch(0)

    def bad(self) -> list[list[str]]:
        """Samples of this process that were left out: name and reason."""
        return [list(entry) for entry in (*self.unusable, *self.stream.bad)]


def open_data(settings: RecipeSettings, accelerator: Accelerator) -> TrainingData:
    """Open the datasets of a run.

    Raises:
        DataError: an entry is wrong or a dataset cannot be opened; names the key.
        TrainingError: a validation dataset has no usable picture.
    """
    opened = open_datasets(settings.data, task=settings.task, file='data')
    stream = TrainingStream(
        opened.datasets,
        opened.weights,
        task=settings.task,
        sizes=opened.sizes,
        batch_size=settings.batch.per_device,
        seed=settings.seed,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        flip=settings.flip,
    )
    picks: Picks = []
    unusable: list[tuple[str, str]] = []
    seen = opened
    if settings.validation.data:
        seen = open_datasets(settings.validation.data, task=settings.task, file='validation.data')
        picks, unusable = choose(seen.datasets, settings)
    shown = TrainingStream(
        seen.datasets,
        seen.weights,
        task=settings.task,
        sizes=seen.sizes,
        batch_size=settings.pictures.count,
        seed=settings.seed,
        flip=False,
    )
    return TrainingData(stream, shown, picks, unusable)
