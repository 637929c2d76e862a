"""Batches by step number: the same step gives the same bytes, whatever was drawn before it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lotus2_ros.training.data.errors import DataError
from lotus2_ros.training.data.fitting import checked, fitted, mirrored
from lotus2_ros.training.data.prefetching import prefetched
from lotus2_ros.training.data.sample import BadSample, Batch, Dataset
from lotus2_ros.training.data.schedule import Schedule, Slot
from lotus2_ros.training.data.supervision import supervision
from lotus2_ros.types import TASKS, AnyArray

_SIDE_STEP = 16
"""Pixels that a token and the autoencoder make of one side."""


class Bad(NamedTuple):
    """A sample that was left out."""

    name: str
    reason: str


class TrainingStream:
    """Batches for one rank of one task, each from one dataset."""

    def __init__(
        self,
        datasets: Sequence[Dataset],
        weights: Sequence[float],
        *,
        task: str,
        sizes: Sequence[tuple[int, int]],
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        flip: bool = True,
    ) -> None:
        """Make a stream.

        Args:
            datasets: at least one, none empty.
            weights: how often a step draws from each, positive; their sum does not matter.
            task: 'depth' or 'normals'.
            sizes: (height, width) of each dataset's batches, multiples of 16 [px].
            batch_size: samples of a step and rank.
            seed: of the order and the flips, not negative.
            rank: this process, below `world_size`.
            world_size: processes that train together; in a step they draw different samples of
                the same dataset.
            flip: mirror every second sample at random.

        Raises:
            DataError: an argument is out of range.
        """
        _check(datasets, weights, task, sizes, batch_size, seed, rank, world_size)
        self._datasets = tuple(datasets)
        self._task = task
        self._sizes = tuple(sizes)
        self._rank = rank
        self._flip = flip
        self._schedule = Schedule(
            [len(dataset) for dataset in datasets],
            weights,
            batch_size=batch_size,
            seed=seed,
            world_size=world_size,
        )
        self._bad: dict[str, str] = {}

    @property
    def bad(self) -> tuple[Bad, ...]:
        """The samples that were met and left out so far, each once, in the order they were met."""
        return tuple(Bad(name, reason) for name, reason in self._bad.items())

    def batch(self, step: int) -> Batch:
        """The batch of a step, a pure function of the step, the seed and the rank.

        Raises:
            DataError: the step's dataset has no usable sample at all.
        """
        batch, bad = self.drawn(step)
        self._note(bad)
        return batch

    def loader(self, first_step: int, workers: int) -> Generator[Batch]:
        """Endless batches in order, from a step on, prepared ahead by processes.

        Close the generator, or drop it, to end its processes.

        Args:
            first_step: where to start, e.g. where an earlier run ended.
            workers: processes; 0 prepares each batch here when it is asked for.

        Raises:
            DataError: a worker died, or a dataset has no usable sample at all.
        """
        if workers == 0:
            for step in count(first_step):
                yield self.batch(step)
        with closing(prefetched(self._arrays, first_step, workers)) as results:
            for arrays, names, bad in results:
                self._note(bad)
                image, target, mask = (torch.from_numpy(array) for array in arrays)
                yield Batch(image, target, mask, names)

    def drawn(self, step: int) -> tuple[Batch, tuple[Bad, ...]]:
        """The batch of a step and the bad samples met on the way; notes nothing."""
        dataset = self._schedule.dataset(step)
        images, targets, masks, names = [], [], [], []
        bad: list[Bad] = []
        for slot in self._schedule.slots(step, self._rank):
            image, target, mask, name = self._filled_slot(dataset, slot, bad)
            images.append(image)
            targets.append(target)
            masks.append(mask)
            names.append(name)
        batch = Batch(torch.stack(images), torch.stack(targets), torch.stack(masks), tuple(names))
        return batch, tuple(bad)

    def _filled_slot(
        self, dataset: int, slot: Slot, bad: list[Bad]
    ) -> tuple[Tensor, Tensor, Tensor, str]:
        """The first usable of a slot's candidates; unusable ones are added to `bad`."""
        for index in self._schedule.candidates(dataset, slot):
            try:
                return self._sample(dataset, index, slot.flip)
            except BadSample as error:
                bad.append(Bad(error.name, error.reason))
        msg = (
            f'none of the {len(self._datasets[dataset])} samples of '
            f'{self._datasets[dataset].name} can be used; the last one: '
            f'{bad[-1].name}: {bad[-1].reason}'
        )
        raise DataError(msg)

    def _sample(self, dataset: int, index: int, flip: bool) -> tuple[Tensor, Tensor, Tensor, str]:
        """Image (3, h, w), target (3, h, w), mask (1, h, w) and name of a sample."""
        record = fitted(checked(self._datasets[dataset].read(index)), *self._sizes[dataset])
        if flip and self._flip:
            record = mirrored(record)
        target, mask = supervision(record, self._task)
        pixels = np.ascontiguousarray(record.image.transpose(2, 0, 1))
        image = torch.from_numpy(pixels).float() / 127.5 - 1
        return image, target, mask, record.name

    def _note(self, bad: Sequence[Bad]) -> None:
        for name, reason in bad:
            self._bad.setdefault(name, reason)

    def _arrays(self, step: int) -> tuple[tuple[AnyArray, ...], tuple[str, ...], tuple[Bad, ...]]:
        """What `drawn` gives, in a form that goes through a pipe."""
        batch, bad = self.drawn(step)
        arrays = (batch.image.numpy(), batch.target.numpy(), batch.mask.numpy())
        return arrays, batch.names, bad


def _check(
    datasets: Sequence[Dataset],
    weights: Sequence[float],
    task: str,
    sizes: Sequence[tuple[int, int]],
    batch_size: int,
    seed: int,
    rank: int,
    world_size: int,
) -> None:
    """Raises DataError for arguments that make no stream."""
    if not datasets or not len(datasets) == len(weights) == len(sizes):
        msg = (
            f'{len(datasets)} datasets, {len(weights)} weights and {len(sizes)} sizes: give at '
            'least one dataset, and a weight and a size for each'
        )
        raise DataError(msg)
    if task not in TASKS:
        raise DataError(f'task {task!r} is none of {TASKS}')
    for dataset, weight, (height, width) in zip(datasets, weights, sizes, strict=True):
        if len(dataset) == 0:
            raise DataError(f'{dataset.name} is empty')
        if not weight > 0 or not np.isfinite(weight):
            raise DataError(f'weight {weight} of {dataset.name} is not positive')
        if min(height, width) < _SIDE_STEP or height % _SIDE_STEP or width % _SIDE_STEP:
            msg = f'size {height}x{width} of {dataset.name}: sides are multiples of {_SIDE_STEP}'
            raise DataError(msg)
    if batch_size < 1 or seed < 0 or not 0 <= rank < world_size:
        msg = (
            f'batch_size {batch_size}, seed {seed}, rank {rank} of {world_size}: '
            'batch_size is at least 1, seed at least 0, rank below world_size'
        )
        raise DataError(msg)
