"""Which samples a step draws: a pure function of seed, step and rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1024
"""Steps whose datasets are drawn together."""

_DATASET, _ORDER, _FLIP = range(3)
"""What a generator is for: its seed is (seed, purpose, ...)."""


@dataclass(frozen=True)
class Slot:
    """One place in a batch.

    Attributes:
        epoch: which pass over the dataset.
        position: in that pass's order.
        flip: mirror the sample.
    """

    epoch: int
    position: int
    flip: bool


class Schedule:
    """Draws datasets by weight and each dataset's samples without replacement.

    All ranks draw from the same dataset in a step, as one size takes one time. A pass over a
    dataset is cut into turns of batch x world samples; a rank's part of a turn is its own. The last
    incomplete turn of a pass is left out, so no sample is twice in a step; a dataset smaller than
    one turn is repeated instead.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        weights: Sequence[float],
        *,
        batch_size: int,
        seed: int,
        world_size: int,
    ) -> None:
        """Make a schedule.

        Args:
            lengths: samples of each dataset, at least one each.
            weights: how often a step draws from each, positive, of any sum.
            batch_size: samples of a step and rank.
            seed: of all draws, not negative.
            world_size: number of ranks.
        """
        self._lengths = tuple(lengths)
        self._edges = np.cumsum(np.asarray(weights, np.float64)) / float(np.sum(weights))
        self._batch = batch_size
        self._seed = seed
        self._world = world_size
        self._before: list[NDArray[np.int64]] = [np.zeros(len(self._lengths), np.int64)]

    def dataset(self, step: int) -> int:
        """Which dataset a step draws from."""
        return int(self._choices(step // _BLOCK)[step % _BLOCK])

    def slots(self, step: int, rank: int) -> tuple[Slot, ...]:
        """The places that a rank fills in a step."""
        dataset = self.dataset(step)
        group = self._batch * self._world
        first = self._turn(step, dataset) * group + rank * self._batch
        usable = self._usable(dataset)
        slots = []
        for number in range(first, first + self._batch):
            draws = np.random.default_rng((self._seed, _FLIP, dataset, number))
            slots.append(Slot(number // usable, number % usable, bool(draws.random() < 0.5)))
        return tuple(slots)

    def candidates(self, dataset: int, slot: Slot) -> Iterator[int]:
        """Indices for a slot: its own first, then what replaces it if it is bad, each index once.

        A replacement comes from the same rank's later turns, from the same place in the batch, so
        two ranks, or two places of a batch, do not get the same one; when these are used up, from
        anywhere.
        """
        order = _order(self._seed, dataset, slot.epoch, self._lengths[dataset])
        group = self._batch * self._world
        usable = self._usable(dataset)
        for step in range(0, usable, group):
            yield int(order[(slot.position + step) % usable])
        for place in range(len(order)):
            if place >= usable or (place - slot.position) % group:
                yield int(order[place])

    def _usable(self, dataset: int) -> int:
        """Samples of a pass: whole turns, or all where there is not even one."""
        length, group = self._lengths[dataset], self._batch * self._world
        return length // group * group or length

    def _choices(self, block: int) -> NDArray[np.int64]:
        return _choices(self._seed, block, tuple(self._edges))

    def _turn(self, step: int, dataset: int) -> int:
        """How many earlier steps drew from the same dataset."""
        block = step // _BLOCK
        while len(self._before) <= block:
            last = self._choices(len(self._before) - 1)
            counts = np.bincount(last, minlength=len(self._lengths))
            self._before.append(self._before[-1] + counts)
        inside = self._choices(block)[: step % _BLOCK]
        return int(self._before[block][dataset] + np.count_nonzero(inside == dataset))


@lru_cache(maxsize=16)
def _choices(seed: int, block: int, edges: tuple[float, ...]) -> NDArray[np.int64]:
    """The datasets of a block's steps, (_BLOCK,)."""
    draws = np.random.default_rng((seed, _DATASET, block)).random(_BLOCK)
    return np.searchsorted(edges[:-1], draws, side='right')


@lru_cache(maxsize=16)
def _order(seed: int, dataset: int, epoch: int, length: int) -> NDArray[np.int64]:
    """A pass's order of a dataset, (length,)."""
    return np.random.default_rng((seed, _ORDER, dataset, epoch)).permutation(length)
