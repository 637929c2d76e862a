"""The autoencoder's decoder once more by itself: disparity and normal maps from frozen latents.

Pictures are encoded, but never decoded, where the model is used. A small decoder that need not draw
them draws sharper maps, and the latents that the core learns stay what they are.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from lotus2_ros.training.core_stage import picture_loss
from lotus2_ros.training.edges import edge_loss
from lotus2_ros.training.optimiser import Optimiser
from lotus2_ros.training.recording import Descent, Figures, RecordedStep
from lotus2_ros.training.run import REPORT_EVERY, TrainingRun
from lotus2_ros.training.sample_store import SampleStore
from lotus2_ros.types import DEPTH, TASKS


def train_decoder(run: TrainingRun, optimiser: Optimiser, *, until: float = float('inf')) -> None:
    """Train until the stage or this run's time is over.

    Args:
        run: autoencoder with frozen encoder, scenes and recipe.
        optimiser: of the decoder's parameters.
        until: seconds of wall-clock time after which it stops early.
    """
    settings, clock = run.settings, optimiser.clock
    # A map of each task of every scene: `vae_batch` maps a step.
    batch = max(1, settings.vae_batch // len(TASKS))
    feed = run.feed(batch=batch)
    descent = Descent(optimiser, enabled=run.recorded)
    rows = [torch.zeros(batch, dtype=torch.int64, device=run.device) for _ in feed.stores]
    steps = [
        RecordedStep(functools.partial(decoder_losses, run, store, chosen), descent)
        for store, chosen in zip(feed.stores, rows, strict=True)
    ]
    clock.start(until)
    while clock.running:
        size = run.draw_size()
        rows[size].copy_(feed.rows(size, run.draws.index))
        figures = steps[size]()
        if clock.steps == 1 or clock.steps % REPORT_EVERY == 0 or not clock.running:
            run.tell('decoder', clock.steps, figures)


def decoder_losses(run: TrainingRun, store: SampleStore, rows: Tensor) -> tuple[Tensor, Figures]:
    """The loss of the decoded maps of a batch, and its parts by name."""
    batch = store.take(rows)
    figures: Figures = {}
    loss = torch.zeros((), device=rows.device)
    for task in TASKS:
        with run.autocast():
            restored = run.decode(run.vae, batch.wanted[task]).float()
        if task == DEPTH:
            restored = restored.mean(1, keepdim=True)
        figures[task] = picture_loss(restored, batch.maps[task])
        loss = loss + figures[task]
        if task == DEPTH:
            figures['edges'] = edge_loss(restored, batch.maps[task], batch.bounds)
            loss = loss + run.settings.edge_weight * figures['edges']
    return loss, figures
