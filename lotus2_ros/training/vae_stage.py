"""The autoencoder's stage: images, disparity maps and normal maps share one latent space."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.training.optimiser import Optimiser
from lotus2_ros.training.recording import Descent, Figures, RecordedStep
from lotus2_ros.training.run import REPORT_EVERY, TrainingRun
from lotus2_ros.training.targets import target_maps


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


def train_vae(run: TrainingRun, optimiser: Optimiser, *, until: float = float('inf')) -> None:
    """Train until the clock says the stage is over.

    Args:
        run: autoencoder, scenes and recipe.
        optimiser: of the autoencoder's parameters.
        until: seconds of wall-clock time after which it stops early.
    """
    settings, clock, draws = run.settings, optimiser.clock, run.draws
    height, width = settings.sizes[0]
    shape = (settings.vae_batch, run.vae.config.latent_channels, height // 8, width // 8)
    pictures = torch.zeros(settings.vae_batch, 3, height, width, device=run.device)
    noise = torch.zeros(shape, device=run.device)

    def losses() -> tuple[Tensor, Figures]:
        with run.autocast():
            loss = autoencoder_loss(run.vae, pictures, noise, settings.latent_noise_weight)
        return loss, {'loss': loss}

    step = RecordedStep(losses, Descent(optimiser, enabled=run.recorded))
    clock.start(until)
    while clock.running:
        # One rendered batch serves several steps: rendering costs more than a step.
        for part in _pictures(run):
            pictures.copy_(part)
            noise.copy_(draws.normal(*shape))
            figures = step()
            if clock.steps == 1 or clock.steps % REPORT_EVERY == 0 or not clock.running:
                run.tell('vae', clock.steps, figures)
            if not clock.running:
                break


def _pictures(run: TrainingRun) -> tuple[Tensor, ...]:
    """Shuffled whole batches of the images and maps of newly rendered scenes."""
    settings = run.settings
    sample = run.source.draw(settings.batch, *settings.sizes[0])
    pictures = torch.cat([sample.image, *target_maps(sample).values()])
    whole = len(pictures) - len(pictures) % settings.vae_batch
    order = run.draws.uniform(0, 1, len(pictures)).argsort()[:whole]
    batches: tuple[Tensor, ...] = pictures[order].split(settings.vae_batch)  # type: ignore[no-untyped-call]
    return batches


@torch.no_grad()
def measure_latents(run: TrainingRun) -> tuple[float, float]:
    """Scaling and shift that give the autoencoder's latents mean 0 and deviation 1."""
    pictures = torch.cat(_pictures(run))
    mean = torch.cat([run.vae.encode(part).latent_dist.mode() for part in pictures.split(32)])
    return 1 / float(mean.std()), float(mean.mean())


def reconstruction_error(vae: Any, pictures: Tensor) -> float:
    """Mean absolute error of decode(encode(x)), on the [-1, 1] scale."""
    with torch.no_grad():
        restored = vae.decode(vae.encode(pictures).latent_dist.mode()).sample
    return float(F.l1_loss(restored, pictures))
