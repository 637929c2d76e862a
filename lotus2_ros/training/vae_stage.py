"""The autoencoder's stage: images, disparity maps and normal maps share one latent space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.training.optimiser import Optimiser
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.scenes import SceneSource
from lotus2_ros.training.settings import TrainingSettings
from lotus2_ros.training.targets import target_maps

Report = Callable[[str, int, dict[str, float]], None]


def gradient_distance(first: Tensor, second: Tensor) -> Tensor:
    """Mean absolute difference of horizontal and vertical differences of (B, C, H, W)."""
    difference = first - second
    across = (difference[..., 1:] - difference[..., :-1]).abs().mean()
    return across + (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()


def autoencoder_loss(vae: Any, pictures: Tensor, noise: Tensor, kl_weight: float) -> Tensor:
    """Reconstruction (L1, its gradient) plus a weighted mean KL divergence from N(0, 1).

    Args:
        vae: AutoencoderKL.
        pictures: (B, 3, H, W) in [-1, 1].
        noise: (B, 16, H/8, W/8) standard normal.
        kl_weight: weight of the divergence.
    """
    mean, spread = vae.encoder(pictures).float().chunk(2, dim=1)
    spread = spread.clamp(-30, 20)
    restored = vae.decoder(mean + noise * (0.5 * spread).exp()).float()
    divergence = 0.5 * (mean**2 + spread.exp() - 1 - spread).mean()
    error = (restored - pictures).abs().mean()
    loss: Tensor = error + 0.5 * gradient_distance(restored, pictures) + kl_weight * divergence
    return loss


def train_vae(
    vae: Any,
    source: SceneSource,
    draws: Draws,
    settings: TrainingSettings,
    optimiser: Optimiser,
    report: Report,
    *,
    until: float = float('inf'),
) -> None:
    """Train until the clock says the stage is over, then measure and store the latents' scale.

    Args:
        vae: what is trained, on the source's device.
        source: scenes.
        draws: noise and choices.
        settings: the recipe.
        optimiser: of the VAE's parameters.
        report: called with stage, step and figures every now and then.
        until: seconds of wall-clock time after which it stops early.
    """
    clock = optimiser.clock
    height, width = settings.sizes[0]
    clock.start(until)
    while clock.running:
        # One rendered batch serves several steps: rendering costs more than a step.
        for pictures in _pictures(source, draws, settings):
            noise = draws.normal(len(pictures), vae.config.latent_channels, height // 8, width // 8)
            with autocast(draws.device, settings):
                loss = autoencoder_loss(vae, pictures, noise, settings.latent_noise_weight)
            norm = optimiser.step(loss)
            if clock.steps == 1 or clock.steps % 100 == 0 or not clock.running:
                report('vae', clock.steps, {'loss': float(loss.detach()), 'norm': float(norm)})
            if not clock.running:
                break


def _pictures(source: SceneSource, draws: Draws, settings: TrainingSettings) -> tuple[Tensor, ...]:
    """Shuffled batches of the images and maps of newly rendered scenes."""
    sample = source.draw(settings.batch, *settings.sizes[0])
    pictures = torch.cat([sample.image, *target_maps(sample).values()])
    order = draws.uniform(0, 1, len(pictures)).argsort()
    batches: tuple[Tensor, ...] = pictures[order].split(settings.vae_batch)  # type: ignore[no-untyped-call]
    return batches


@torch.no_grad()
def measure_latents(vae: Any, source: SceneSource, settings: TrainingSettings) -> None:
    """Set the VAE's scaling and shift so that its latents have mean 0 and deviation 1."""
    height, width = settings.sizes[0]
    sample = source.draw(settings.batch, height, width)
    pictures = torch.cat([sample.image, *target_maps(sample).values()])
    mean = torch.cat([vae.encode(part).latent_dist.mode() for part in pictures.split(32)])
    vae.register_to_config(scaling_factor=1 / float(mean.std()), shift_factor=float(mean.mean()))


def autocast(device: torch.device, settings: TrainingSettings) -> torch.autocast:
    """The precision context of a training step."""
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == 'bfloat16')


def reconstruction_error(vae: Any, pictures: Tensor) -> float:
    """Mean absolute error of decode(encode(x)), on the [-1, 1] scale."""
    with torch.no_grad():
        restored = vae.decode(vae.encode(pictures).latent_dist.mode()).sample
    return float(F.l1_loss(restored, pictures))
