"""Stage two: the detail sharpener, a rectified flow from the core's latent to the true one.

Minimises |(z_c - z_f) - g(z_t, t)|² with z_t = t z_c + (1 - t) z_f, where z_c comes from the
trained core and z_f is the ground truth's latent. Only the sharpener's adapters are trained.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lotus2_ros.model.flow import MAX_STEPS, dynamic_shift
from lotus2_ros.model.latents import encode_images
from lotus2_ros.training.core_stage import Encode, draw_size, encode_sample
from lotus2_ros.training.network import TwoStageNetwork
from lotus2_ros.training.optimiser import Optimiser
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.scenes import SceneSource
from lotus2_ros.training.scheduler import SCHEDULER_CONFIG
from lotus2_ros.training.settings import TrainingSettings
from lotus2_ros.training.targets import flipped
from lotus2_ros.training.vae_stage import Report, autocast
from lotus2_ros.types import TASKS


def inference_times(steps: Tensor, index: Tensor, tokens: int) -> Tensor:
    """Flow times that inference meets: linspace(1, 1/n, n)[k], shifted as FLUX's scheduler does.

    Args:
        steps: (B,) number of steps n of the schedule.
        index: (B,) which step k, 0 <= k < n.
        tokens: image tokens.

    Returns:
        (B,) in (0, 1].
    """
    sigma = 1 - index / steps  # linspace(1, 1/n, n)
    grown = math.exp(dynamic_shift(SCHEDULER_CONFIG, tokens))
    return grown / (grown + 1 / sigma - 1)


def train_sharpener(
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
        network: its core is trained; only the sharpener's adapters change.
        vae: trained and frozen.
        source: scenes.
        draws: flips, sizes and flow times.
        settings: the recipe.
        optimiser: of the adapters.
        report: called with stage, step and figures every now and then.
        encode: `encode_images` or a compiled version.
        until: seconds of wall-clock time after which it stops early.
    """
    clock = optimiser.clock
    batch = settings.batch
    clock.start(until)
    while clock.running:
        height, width = draw_size(draws, settings)
        sample = flipped(source.draw(batch, height, width), draws.chance(0.5, batch))
        with autocast(draws.device, settings):
            image, wanted, _ = encode_sample(vae, sample, encode)
            loss = torch.zeros((), device=draws.device)
            figures: dict[str, Tensor] = {}
            for task in TASKS:
                with torch.no_grad():
                    coarse = network.core(image, task).float()
                fine = wanted[task]
                steps = draws.index(MAX_STEPS, batch) + 1
                index = (draws.uniform(0, 1, batch) * steps).floor()
                time = inference_times(steps, index, fine[0, 0].numel() // 4)
                share = time[:, None, None, None]
                state = share * coarse + (1 - share) * fine
                # The scheduler has 10 training steps, so its timestep is 10 t, and the
                # transformer is handed a thousandth of that.
                velocity = network.velocity(state, time * MAX_STEPS / 1000, task)
                figures[task] = (velocity.float() - (coarse - fine)).square().mean()
                figures[f'{task} zero'] = (coarse - fine).square().mean()
                loss = loss + figures[task]
        norm = optimiser.step(loss)
        if clock.steps % 100 == 0 or not clock.running:
            values = {name: float(value.detach()) for name, value in figures.items()}
            report('sharpener', clock.steps, {**values, 'norm': float(norm)})
