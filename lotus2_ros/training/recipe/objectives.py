"""The two objectives of the paper, as pure functions of latents.

Core: |z_y - LCM(f(z_x, t = 1))|². Sharpener: |(z_c - z_f) - g(z_t, t)|², z_t = t z_c + (1 - t) z_f.
Source: Lotus-2 (arXiv 2512.01030), clean-data objective and rectified flow of the second stage.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.model.base import VAE_FACTOR
from lotus2_ros.model.flow import MAX_STEPS, TRAIN_TIMESTEPS, FlowSchedule


def latent_weight(mask: Tensor) -> Tensor:
    """How much each latent cell counts: the share of its 8x8 pixels whose target is known.

    A cell of the latent describes its own pixels best, though the VAE looks further; a cell without
    any known pixel counts nothing, and one that is half known counts half. A dense mask gives ones.

    Args:
        mask: (B, 1, H, W) bool, H and W multiples of 8.

    Returns:
        (B, 1, H/8, W/8) float32 in [0, 1].
    """
    return F.avg_pool2d(mask.float(), VAE_FACTOR)


def squared_errors(predicted: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean squared error of each sample.

    Each sample is normalised by its own weight. So the mean over a batch does not depend on how the
    batch is split over GPUs and micro-batches, and a sparse sample counts as much as a dense one.

    Args:
        predicted: (B, C, h, w).
        wanted: (B, C, h, w).
        weight: (B, 1, h, w) from `latent_weight`; of each sample some must be positive.

    Returns:
        (B,) float32.
    """
    error = (predicted.float() - wanted.float()).square().mean(1, keepdim=True)  # (B, 1, h, w)
    return (error * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))


def between(coarse: Tensor, fine: Tensor, time: Tensor) -> Tensor:
    """The flow's state z_t = t z_c + (1 - t) z_f in float32.

    Args:
        coarse: z_c (B, C, h, w).
        fine: z_f (B, C, h, w).
        time: t (B,) in (0, 1].
    """
    share = time[:, None, None, None]
    return share * coarse.float() + (1 - share) * fine.float()


class Place(NamedTuple):
    """Where a micro-batch stands in a run: all that its random draws depend on.

    Attributes:
        seed: of the run.
        step: optimiser steps made before.
        first: number of the micro-batch's first sample among those of the step, over all devices.
        total: samples of the step.
    """

    seed: int
    step: int
    first: int
    total: int

    def generator(self) -> torch.Generator:
        """The draws of the step, the same for all of its micro-batches."""
        state = np.random.SeedSequence([self.seed, self.step]).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(state))


def draw_times(
    count: int, place: Place, schedule: FlowSchedule, tokens: int, *, inference: bool
) -> Tensor:
    """Flow times of a micro-batch, (B,) float32 on the CPU, in (0, 1].

    They are drawn for the whole step, of which the micro-batch takes its part: resuming repeats
    them, and they do not depend on how a step is split over devices.

    Args:
        count: B.
        place: of the micro-batch.
        schedule: the base's.
        tokens: image tokens, which set the shift of the times that inference meets.
        inference: False draws from {1/10 .. 10/10}. True draws a number of steps n and one of them,
            and takes its time as inference does: linspace(1, 1/n, n), shifted by the scheduler.
    """
    draw = place.generator()
    part = slice(place.first, place.first + count)
    steps = torch.randint(1, TRAIN_TIMESTEPS + 1, (place.total,), generator=draw)[part]
    share = torch.rand(place.total, generator=draw)[part]
    if not inference:
        return steps / TRAIN_TIMESTEPS
    times = [
        schedule.steps(n, tokens)[min(int(n * where), n - 1)].timestep / TRAIN_TIMESTEPS
        for n, where in zip(steps.clamp(max=MAX_STEPS).tolist(), share.tolist(), strict=True)
    ]
    return torch.tensor(times)
