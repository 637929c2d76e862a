"""Rendered samples kept as latents and maps, so that each serves several training steps.

Rendering and encoding a batch cost more than a training step on it. A model that sees a few hundred
thousand scenes once each is not about to know them by heart, so each is shown a few times, long
after one another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lotus2_ros.training.scenes import Sample
from lotus2_ros.training.targets import disparity_bounds, target_maps
from lotus2_ros.types import DEPTH, NORMALS, TASKS

Encode = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class EncodedBatch:
    """B samples as a training step wants them.

    Attributes:
        image: (B, 16, h, w) latents of the pictures.
        wanted: by task, (B, 16, h, w) latents of the maps.
        maps: by task, (B, 1 or 3, H, W) maps in [-1, 1]; disparity has one channel.
        bounds: (B, 2) disparities in 1/m that -1 and 1 stand for.
        coarse: by task, (B, 16, h, w) latents that the core predicts; only the sharpener's stage
            has them.
    """

    image: Tensor
    wanted: dict[str, Tensor]
    maps: dict[str, Tensor]
    bounds: Tensor
    coarse: dict[str, Tensor] = field(default_factory=dict)

    def part(self, count: int) -> EncodedBatch:
        """The first few samples."""
        return EncodedBatch(
            self.image[:count],
            {task: value[:count] for task, value in self.wanted.items()},
            {task: value[:count] for task, value in self.maps.items()},
            self.bounds[:count],
            {task: value[:count] for task, value in self.coarse.items()},
        )


@torch.no_grad()
def encode_sample(vae: Any, sample: Sample, encode: Encode) -> EncodedBatch:
    """Latents of the pictures and of each task's maps, and the maps themselves."""
    maps = target_maps(sample)
    latents = encode(vae, torch.cat([sample.image, *maps.values()])).float()
    image, *wanted = latents.chunk(1 + len(maps))
    return EncodedBatch(
        image,
        dict(zip(maps, wanted, strict=True)),
        {**maps, DEPTH: maps[DEPTH][:, :1]},
        torch.stack(disparity_bounds(sample.disparity), -1),
    )


class SampleStore:
    """The newest samples of one size; the oldest make room for new ones."""

    def __init__(
        self,
        capacity: int,
        height: int,
        width: int,
        device: torch.device,
        *,
        coarse: bool = False,
    ) -> None:
        """Make an empty store.

        Args:
            capacity: samples it can hold.
            height: of the pictures, px.
            width: of the pictures, px.
            device: to keep them on.
            coarse: the samples have coarse latents.
        """
        self.capacity = capacity
        self.filled = 0
        self._next = 0

        def rows(*shape: int) -> Tensor:
            return torch.empty(capacity, *shape, dtype=torch.float16, device=device)

        latent = (16, height // 8, width // 8)
        self._image = rows(*latent)
        self._wanted = {task: rows(*latent) for task in TASKS}
        self._coarse = {task: rows(*latent) for task in TASKS} if coarse else {}
        self._maps = {DEPTH: rows(1, height, width), NORMALS: rows(3, height, width)}
        self._bounds = torch.empty(capacity, 2, device=device)

    def add(self, batch: EncodedBatch) -> None:
        """Keep a batch of at most `capacity` samples."""
        count = len(batch.image)
        rows = (torch.arange(count, device=batch.image.device) + self._next) % self.capacity
        self._image[rows] = batch.image.half()
        self._bounds[rows] = batch.bounds
        for task in TASKS:
            self._wanted[task][rows] = batch.wanted[task].half()
            self._maps[task][rows] = batch.maps[task].half()
        for task, kept in self._coarse.items():
            kept[rows] = batch.coarse[task].half()
        self._next = (self._next + count) % self.capacity
        self.filled = min(self.filled + count, self.capacity)

    def take(self, rows: Tensor) -> EncodedBatch:
        """The samples at the given rows (B,) int64; only reads where rows point, on the device."""
        return EncodedBatch(
            self._image[rows].float(),
            {task: value[rows].float() for task, value in self._wanted.items()},
            {task: value[rows].float() for task, value in self._maps.items()},
            self._bounds[rows],
            {task: value[rows].float() for task, value in self._coarse.items()},
        )


class SampleFeed:
    """Draws batches from stores of all sizes, and refills them as they are used."""

    def __init__(
        self,
        stores: list[SampleStore],
        refill: Callable[[int], EncodedBatch],
        *,
        batch: int,
        reuse: float,
        first: int,
    ) -> None:
        """Make a feed.

        Args:
            stores: one for each size.
            refill: renders a new batch for the store of that index.
            batch: samples drawn at a time.
            reuse: how often a sample is drawn on average.
            first: samples each store holds before anything is drawn from it.
        """
        self.stores = stores
        self._refill = refill
        self._batch = batch
        self._reuse = reuse
        self._first = first
        self._owed = [0.0] * len(stores)

    def rows(self, index: int, draw: Callable[[int, int], Tensor]) -> Tensor:
        """Rows (batch,) of the next batch of a store, after adding what is due.

        Args:
            index: of the store.
            draw: gives uniform int64 below its first argument, as many as its second says.
        """
        store = self.stores[index]
        while store.filled < min(self._first, store.capacity):
            store.add(self._refill(index))
        while self._owed[index] >= 1:
            store.add(self._refill(index))
            self._owed[index] -= 1
        self._owed[index] += 1 / self._reuse
        return draw(store.filled, self._batch)
