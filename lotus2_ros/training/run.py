"""What all stages of a training run share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lotus2_ros.training.network import TwoStageNetwork
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.sample_store import (
    Encode,
    EncodedBatch,
    SampleFeed,
    SampleStore,
    encode_sample,
)
from lotus2_ros.training.scenes import SceneSource
from lotus2_ros.training.settings import TrainingSettings
from lotus2_ros.training.targets import flipped

Report = Callable[[str, int, dict[str, float]], None]

REPORT_EVERY = 100
"""Steps between two reports: each waits for the device."""


@dataclass
class TrainingRun:
    """Networks, scenes, randomness and the recipe.

    Attributes:
        settings: the recipe.
        network: the two-stage network.
        vae: the autoencoder.
        source: scenes.
        draws: flips, sizes, flow times, noise.
        encode: `encode_images` or a compiled version.
        decode: `decode_latents` or a compiled version.
        report: takes stage, step and figures every now and then.
    """

    settings: TrainingSettings
    network: TwoStageNetwork
    vae: Any
    source: SceneSource
    draws: Draws
    encode: Encode
    decode: Callable[[Any, Tensor], Tensor]
    report: Report

    @property
    def device(self) -> torch.device:
        """Where everything is."""
        return self.draws.device

    @property
    def recorded(self) -> bool:
        """Whether steps are recorded as CUDA graphs."""
        return self.settings.recorded and self.device.type == 'cuda'

    def autocast(self) -> torch.autocast:
        """The precision context of a training step."""
        bfloat16 = self.settings.precision == 'bfloat16'
        return torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16)

    def feed(
        self, prepare: Callable[[EncodedBatch], EncodedBatch] | None = None, *, batch: int = 0
    ) -> SampleFeed:
        """An empty feed of encoded samples of all sizes.

        Args:
            prepare: adds the core's latents to samples, once each, when they are rendered.
            batch: samples drawn at a time, if not the settings' `batch`.
        """
        settings = self.settings
        capacity = max(settings.batch, settings.stored_samples)
        stores = [
            SampleStore(capacity, *size, self.device, coarse=prepare is not None)
            for size in settings.sizes
        ]

        def refill(index: int) -> EncodedBatch:
            samples = self._refill(index)
            return samples if prepare is None else prepare(samples)

        drawn = batch or settings.batch
        return SampleFeed(
            stores, refill, batch=drawn, reuse=settings.reuse * settings.batch / drawn,
            first=min(capacity, 8 * settings.batch),
        )  # fmt: skip

    def _refill(self, index: int) -> EncodedBatch:
        count = self.settings.batch
        sample = self.source.draw(count, *self.settings.sizes[index])
        with self.autocast():
            return encode_sample(
                self.vae, flipped(sample, self.draws.chance(0.5, count)), self.encode
            )

    def draw_size(self) -> int:
        """Index of the next batch's size."""
        ends = torch.tensor(self.settings.size_weights).cumsum(0)
        roll = torch.rand((), generator=self.draws.host).item() * float(ends[-1])
        return int((ends < roll).sum())

    def tell(self, stage: str, step: int, figures: dict[str, Tensor], **more: float) -> None:
        """Report figures."""
        self.report(stage, step, {k: float(v) for k, v in figures.items()} | more)
