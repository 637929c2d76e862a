"""Stage one: the core predictor, by the paper's clean-data objective.

Minimises |z_y - LCM(f(z_x, t = 1))|² over both tasks at once. nano has no pretrained base, so the
base, the core adapters, the LCMs and the prompt constants are trained together; late in the stage a
part of each batch is compared after decoding, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.model.latents import decode_latents, encode_images
from lotus2_ros.training.network import TwoStageNetwork
from lotus2_ros.training.optimiser import Optimiser
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.scenes import Sample, SceneSource
from lotus2_ros.training.settings import TrainingSettings
from lotus2_ros.training.targets import flipped, target_maps
from lotus2_ros.training.vae_stage import Report, autocast, gradient_distance
from lotus2_ros.types import TASKS

Encode = Callable[[Any, Tensor], Tensor]


def latent_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """The paper's objective: mean squared error of latents."""
    return F.mse_loss(predicted.float(), wanted)


def decoded_loss(vae: Any, predicted: Tensor, picture: Tensor) -> Tensor:
    """Mean absolute error and error of gradients after decoding."""
    restored = decode_latents(vae, predicted).float()
    return F.l1_loss(restored, picture) + 0.5 * gradient_distance(restored, picture)


def draw_size(draws: Draws, settings: TrainingSettings, progress: float) -> tuple[int, int]:
    """Height and width of the next batch: small pictures early, larger ones late."""
    pairs = zip(settings.size_weights, settings.late_size_weights, strict=True)
    weights = [(1 - progress) * early + progress * late for early, late in pairs]
    ends = torch.tensor(weights).cumsum(0)
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
    decode_loss: Callable[[Any, Tensor, Tensor], Tensor] = decoded_loss,
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
        decode_loss: `decoded_loss` or a compiled version.
        until: seconds of wall-clock time after which it stops early.
    """
    clock = optimiser.clock
    batch = settings.core.batch
    clock.start(until)
    while clock.running:
        height, width = draw_size(draws, settings, clock.progress)
        sample = flipped(source.draw(batch, height, width), draws.chance(0.5, batch))
        with autocast(draws.device, settings):
            image, wanted, maps = encode_sample(vae, sample, encode)
            loss = torch.zeros((), device=draws.device)
            figures: dict[str, Tensor] = {}
            for task in TASKS:
                predicted = network.core(image, task)
                figures[task] = latent_loss(predicted, wanted[task])
                loss = loss + figures[task]
                if clock.progress >= settings.decoded_from and settings.decoded_weight > 0:
                    part = max(1, round(batch * settings.decoded_share))
                    extra = decode_loss(vae, predicted[:part], maps[task][:part])
                    figures[f'{task} decoded'] = extra
                    loss = loss + settings.decoded_weight * extra
        norm = optimiser.step(loss)
        if clock.steps % 100 == 0 or clock.progress >= 1:
            values = {name: float(value.detach()) for name, value in figures.items()}
            report('core', clock.steps, {**values, 'norm': float(norm), 'rate': clock.rate})
