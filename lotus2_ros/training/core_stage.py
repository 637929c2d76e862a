"""Stage one: the core predictor, by the paper's clean-data objective.

Minimises |z_y - LCM(f(z_x, t = 1))|² over both tasks at once. nano has no pretrained base, so the
base, the core adapters, the LCMs and the prompt constants are trained together; a part of each
batch is compared after decoding, too.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.training.edges import FARTHEST, edge_loss, overlap_loss
from lotus2_ros.training.optimiser import Optimiser
from lotus2_ros.training.recording import Descent, Figures, RecordedStep
from lotus2_ros.training.run import REPORT_EVERY, TrainingRun
from lotus2_ros.training.sample_store import EncodedBatch, SampleStore
from lotus2_ros.training.vae_stage import gradient_distance
from lotus2_ros.types import DEPTH, TASKS

_LARGEST_ERROR = 2.0
"""A pixel's relative error counts up to this: a few far pixels must not outweigh a picture."""

_CLOSE = math.log(1.25)
"""Largest log ratio of predicted and true depth that delta1 counts."""

_NEARLY_CLOSE = 0.08
"""Log ratio over which the smooth delta1 goes from counting a pixel to not counting it."""

_LEAST_VARIANCE = 1e-4
"""Of a predicted map in [-1, 1]; a flat one has no slope to fit."""


def latent_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """The paper's objective: mean squared error of latents."""
    return F.mse_loss(predicted.float(), wanted)


def picture_loss(restored: Tensor, picture: Tensor) -> Tensor:
    """Mean absolute error of pictures and of their gradients."""
    return F.l1_loss(restored, picture) + 0.5 * gradient_distance(restored, picture)


def depth_losses(restored: Tensor, picture: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor]:
    """What evaluation reports of depth, after the alignment that it does, as losses.

    Scale and shift are fitted in disparity by least squares, with gradients through the fit; what
    lies beyond 20 m is left out. A mean for each picture comes first, as evaluation has it.

    Args:
        restored: (B, 1, H, W) predicted disparity on the [-1, 1] scale.
        picture: (B, 1, H, W) true disparity on that scale.
        bounds: (B, 2) disparities in 1/m that -1 and 1 stand for.

    Returns:
        The mean relative error (AbsRel), and the share of pixels that are not within a factor of
        1.25 (1 - delta1) with a soft step in its place, so that it has a gradient: about pixels
        that nearly count, where AbsRel's is spent on those that never will.
    """
    low, high = bounds[:, :1, None, None], bounds[:, 1:, None, None]
    disparity = low + 0.5 * (high - low) * (picture + 1)
    judged = (disparity > 1 / FARTHEST).to(disparity.dtype)
    aligned = align(restored, disparity, judged).clamp_min(1 / FARTHEST)
    error = (disparity / aligned - 1).abs().clamp_max(_LARGEST_ERROR)
    # Where nothing is judged a logarithm of zero would make the gradient NaN.
    ratio = (disparity.clamp_min(1 / FARTHEST) / aligned).log().abs()
    wrong = torch.sigmoid((ratio - _CLOSE) / _NEARLY_CLOSE)
    area = (1, 2, 3)
    count = judged.sum(area).clamp_min(1)
    relative, far_off = (((v * judged).sum(area) / count).mean() for v in (error, wrong))
    return relative, far_off


def align(restored: Tensor, disparity: Tensor, judged: Tensor) -> Tensor:
    """Bring predictions to the scale of the truth by least squares, each by itself.

    Args:
        restored: (B, 1, H, W) predicted disparity, any scale.
        disparity: (B, 1, H, W) true disparity.
        judged: (B, 1, H, W) 1 where a pixel counts, else 0.

    Returns:
        (B, 1, H, W) scale times prediction plus shift; the scale is not negative.
    """
    area = (1, 2, 3)
    count = judged.sum(area, keepdim=True).clamp_min(1)
    # Centred first: differences of large sums would cost float32 its digits.
    middle = (restored * judged).sum(area, keepdim=True) / count
    wanted = (disparity * judged).sum(area, keepdim=True) / count
    centred = (restored - middle) * judged
    variance = centred.square().sum(area, keepdim=True) / count
    covariance = (centred * (disparity - wanted)).sum(area, keepdim=True) / count
    scale = (covariance / variance.clamp_min(_LEAST_VARIANCE)).clamp_min(0)
    return wanted + scale * (restored - middle)


def train_core(run: TrainingRun, optimiser: Optimiser, *, until: float = float('inf')) -> None:
    """Train until the stage or this run's time is over.

    Args:
        run: network, frozen autoencoder, scenes and recipe.
        optimiser: of the network's parameters.
        until: seconds of wall-clock time after which it stops early.
    """
    settings, clock = run.settings, optimiser.clock
    feed = run.feed()
    descent = Descent(optimiser, enabled=run.recorded)
    rows = [torch.zeros(settings.batch, dtype=torch.int64, device=run.device) for _ in feed.stores]
    steps: dict[tuple[int, tuple[str, ...]], RecordedStep] = {}
    clock.start(until)
    while clock.running:
        size = run.draw_size()
        tasks = TASKS if clock.steps % settings.normals_every == 0 else (DEPTH,)
        rows[size].copy_(feed.rows(size, run.draws.index))
        key = (size, tasks)
        if key not in steps:
            losses = functools.partial(core_losses, run, feed.stores[size], rows[size], tasks)
            steps[key] = RecordedStep(losses, descent)
        figures = steps[key]()
        if clock.steps % REPORT_EVERY == 0 or not clock.running:
            run.tell('core', clock.steps, figures, rate=clock.rate)


def core_losses(
    run: TrainingRun, store: SampleStore, rows: Tensor, tasks: tuple[str, ...]
) -> tuple[Tensor, Figures]:
    """The loss of a batch, and its parts by name."""
    batch = store.take(rows)
    figures: Figures = {}
    loss = torch.zeros((), device=rows.device)
    with run.autocast():
        for task in tasks:
            predicted = run.network.core(batch.image, task)
            figures[task] = latent_loss(predicted, batch.wanted[task])
            loss = loss + figures[task] + decoded_losses(run, predicted, batch, task, figures)
            if run.settings.decoder_with_core:
                loss = loss + truth_losses(run, batch, task, figures)
    return loss, figures


def truth_losses(run: TrainingRun, batch: EncodedBatch, task: str, figures: Figures) -> Tensor:
    """Losses of a few decoded maps of the truth, for a decoder that is trained along.

    From the core's latents alone it would learn to draw softly what the core is unsure of, and
    could no longer draw the sharp edges that the sharpener's latents hold.
    """
    part = batch.part(max(1, round(len(batch.image) * run.settings.truth_share)))
    restored = run.decode(run.vae, part.wanted[task]).float()
    if task == DEPTH:
        restored = restored.mean(1, keepdim=True)
    figures[f'{task} truth'] = picture_loss(restored, part.maps[task])
    loss = figures[f'{task} truth']
    if task == DEPTH:
        figures['edges'] = edge_loss(restored, part.maps[task], part.bounds)
        loss = loss + run.settings.edge_weight * figures['edges']
    return loss


def decoded_losses(
    run: TrainingRun,
    predicted: Tensor,
    batch: EncodedBatch,
    task: str,
    figures: Figures,
    overlap_weight: float = 0.0,
) -> Tensor:
    """Weighted losses of the first part of a batch after decoding; adds them to the figures."""
    settings = run.settings
    if settings.decoded_weight == 0:
        return torch.zeros((), device=predicted.device)
    part = batch.part(max(1, round(len(predicted) * settings.decoded_share)))
    restored = run.decode(run.vae, predicted[: len(part.image)]).float()
    if task == DEPTH:
        restored = restored.mean(1, keepdim=True)
    figures[f'{task} decoded'] = picture_loss(restored, part.maps[task])
    loss = settings.decoded_weight * figures[f'{task} decoded']
    if task == DEPTH:
        relative, far_off = depth_losses(restored, part.maps[task], part.bounds)
        figures['depth relative'], figures['depth far off'] = relative, far_off
        loss = loss + settings.relative_weight * relative + settings.far_off_weight * far_off
        if overlap_weight > 0:
            figures['overlap'] = overlap_loss(restored, part.maps[task], part.bounds)
            loss = loss + overlap_weight * figures['overlap']
    return loss
