"""Stage one: the core predictor, by the paper's clean-data objective.

Minimises |z_y - LCM(f(z_x, t = 1))|² over both tasks at once. nano has no pretrained base, so the
base, the core adapters, the LCMs and the prompt constants are trained together; a part of each
batch is compared after decoding, too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.model.latents import decode_latents, encode_images
from lotus2_ros.training.network import TwoStageNetwork
from lotus2_ros.training.optimiser import Optimiser
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.recording import RecordedStep
from lotus2_ros.training.scenes import Sample, SceneSource
from lotus2_ros.training.settings import TrainingSettings
from lotus2_ros.training.targets import flipped, target_maps
from lotus2_ros.training.vae_stage import Report, autocast, gradient_distance
from lotus2_ros.types import DEPTH, TASKS

Encode = Callable[[Any, Tensor], Tensor]


def latent_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """The paper's objective: mean squared error of latents."""
    return F.mse_loss(predicted.float(), wanted)


def decoded_loss(vae: Any, predicted: Tensor, picture: Tensor) -> Tensor:
    """Mean absolute error and error of gradients after decoding."""
    restored = decode_latents(vae, predicted).float()
    return F.l1_loss(restored, picture) + 0.5 * gradient_distance(restored, picture)


def draw_size(draws: Draws, settings: TrainingSettings) -> tuple[int, int]:
    """Height and width of the next batch."""
    ends = torch.tensor(settings.size_weights).cumsum(0)
    roll = torch.rand((), generator=draws.host).item() * float(ends[-1])
    return settings.sizes[int((ends < roll).sum())]


@torch.no_grad()
def encode_sample(
    vae: Any, sample: Sample, encode: Encode
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Latents of the image and of each task's map, and the maps themselves."""
    maps = target_maps(sample)
    latents = encode(vae, torch.cat([sample.image, *maps.values()])).float()
    image, *wanted = latents.chunk(1 + len(maps))
    return image, dict(zip(maps, wanted, strict=True)), maps


def train_core(
    network: TwoStageNetwork,
    vae: Any,
    source: SceneSource,
    draws: Draws,
    settings: TrainingSettings,
    optimiser: Optimiser,
    report: Report,
    *,
    encode: Encode = encode_images,
    until: float = float('inf'),
) -> None:
    """Train until the stage or this run's time is over.

    Args:
        network: what is trained.
        vae: trained and frozen.
        source: scenes.
        draws: flips and sizes.
        settings: the recipe.
        optimiser: of the network's parameters.
        report: called with stage, step and figures every now and then.
        encode: `encode_images` or a compiled version.
        until: seconds of wall-clock time after which it stops early.
    """
    clock = optimiser.clock
    steps: dict[tuple[int, int, tuple[str, ...]], RecordedStep] = {}
    clock.start(until)
    while clock.running:
        height, width = draw_size(draws, settings)
        tasks = TASKS if clock.steps % settings.normals_every == 0 else (DEPTH,)
        batch = source.draw(settings.batch, height, width)
        sample = flipped(batch, draws.chance(0.5, settings.batch))
        key = (height, width, tasks)
        if key not in steps:
            losses = functools.partial(
                core_losses, network, vae, settings, optimiser, encode, tasks
            )
            steps[key] = RecordedStep(losses, optimiser, enabled=settings.recorded)
        figures = steps[key](sample)
        if clock.steps % 100 == 0 or not clock.running:
            values = {name: float(value) for name, value in figures.items()}
            report('core', clock.steps, {**values, 'rate': clock.rate})


def core_losses(
    network: TwoStageNetwork,
    vae: Any,
    settings: TrainingSettings,
    optimiser: Optimiser,
    encode: Encode,
    tasks: tuple[str, ...],
    sample: Sample,
) -> dict[str, Tensor]:
    """One step on a batch: the losses by name and the gradient's norm."""
    device = sample.image.device
    with autocast(device, settings):
        image, wanted, maps = encode_sample(vae, sample, encode)
        loss = torch.zeros((), device=device)
        figures: dict[str, Tensor] = {}
        for task in tasks:
            predicted = network.core(image, task)
            figures[task] = latent_loss(predicted, wanted[task])
            loss = loss + figures[task]
            if settings.decoded_weight > 0:
                part = max(1, round(len(image) * settings.decoded_share))
                extra = decoded_loss(vae, predicted[:part], maps[task][:part])
                figures[f'{task} decoded'] = extra
                loss = loss + settings.decoded_weight * extra
    figures['norm'] = optimiser.descend(loss)
    return {name: value.detach() for name, value in figures.items()}
