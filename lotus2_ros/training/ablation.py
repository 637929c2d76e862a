"""What each choice of the core predictor is worth: the paper's Table III at nano's size.

Every variant trains a fresh transformer with the same autoencoder, scenes, steps and seeds, on
depth alone, and is judged on the same held-out scenes.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lotus2_ros.model.flow import MAX_STEPS
from lotus2_ros.training.core_stage import latent_loss
from lotus2_ros.training.evaluation.boundary import boundary_score
from lotus2_ros.training.evaluation.depth_alignment import DepthRange, align_to_depth
from lotus2_ros.training.evaluation.depth_metrics import depth_errors
from lotus2_ros.training.held_out import HeldOutScene
from lotus2_ros.training.network import CORE, TwoStageNetwork, slot
from lotus2_ros.training.optimiser import Clock, Optimiser
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.recording import Descent, Figures, RecordedStep
from lotus2_ros.training.run import REPORT_EVERY, TrainingRun
from lotus2_ros.training.sample_store import SampleStore
from lotus2_ros.training.settings import Optimisation
from lotus2_ros.training.sharpener_stage import draw_times, inference_times
from lotus2_ros.types import DEPTH, AnyArray

RANGE = DepthRange(nearest=0.2, farthest=20.0)
"""Depths judged, metres."""


@dataclass(frozen=True)
class Variant:
    """One way to train and run a core predictor.

    Attributes:
        name: as the table shows it.
        flow: learn a rectified flow from the picture's latent to the annotation's, over all times;
            otherwise one call at t = 1.
        residual: that call predicts z_x - z_y, the flow's velocity, and not z_y itself.
        local_continuity: with the local continuity module.
        steps: numbers of Euler steps to judge a flow with.
    """

    name: str
    flow: bool = False
    residual: bool = False
    local_continuity: bool = True
    steps: tuple[int, ...] = (1,)


VARIANTS = (
    Variant('clean data, one step, LCM (Lotus-2)'),
    Variant('clean data, one step', local_continuity=False),
    Variant('residual, one step', residual=True, local_continuity=False),
    Variant('rectified flow', flow=True, residual=True, local_continuity=False, steps=(1, 4, 10)),
)


@dataclass
class Judged:
    """Means over held-out scenes.

    Attributes:
        name: of the variant, with its steps.
        abs_rel: aligned in disparity.
        delta1: likewise.
        boundary_f1: of the aligned depth.
        pictures: predicted disparity maps of the first scenes, (H, W) each.
    """

    name: str
    abs_rel: float
    delta1: float
    boundary_f1: float
    pictures: list[AnyArray] = field(default_factory=list)


def train_variant(run: TrainingRun, variant: Variant, settings: Optimisation) -> TwoStageNetwork:
    """Train a fresh network on scenes that are the same for every variant.

    Args:
        run: autoencoder, scenes and recipe; its stream of scenes begins anew.
        variant: what to train.
        settings: of the optimisation; lengths by steps make variants comparable.
    """
    with torch.random.fork_rng():
        # diffusers initialises from the global state; it is put back after.
        torch.manual_seed(run.settings.seed)
        network = TwoStageNetwork(run.settings.architecture, run.device)
    if run.settings.compiled:
        network.compile_blocks()
    seed = run.settings.seed
    run.source.restart(seed + 1)
    draws = Draws(torch.Generator(run.device).manual_seed(seed))
    own = dataclasses.replace(run, network=network, draws=draws)
    optimiser = Optimiser(network.core_parameters(), Clock(settings))
    feed = own.feed()
    descent = Descent(optimiser, enabled=own.recorded)
    rows = torch.zeros(own.settings.batch, dtype=torch.int64, device=own.device)
    times = torch.ones(own.settings.batch, device=own.device)
    height, width = own.settings.sizes[0]
    losses = functools.partial(variant_losses, own, variant, feed.stores[0], rows, times)
    step = RecordedStep(losses, descent)
    optimiser.clock.start()
    while optimiser.clock.running:
        rows.copy_(feed.rows(0, own.draws.index))
        if variant.flow:
            times.copy_(draw_times(own.draws, len(times), height * width // 256))
        figures = step()
        done = optimiser.clock.steps
        if done == 1 or done % REPORT_EVERY == 0:
            own.tell(variant.name, done, figures)
    optimiser.load_average()
    optimiser.release()
    return network


def variant_losses(
    run: TrainingRun, variant: Variant, store: SampleStore, rows: Tensor, times: Tensor
) -> tuple[Tensor, Figures]:
    """The latent loss of a batch at flow times (B,)."""
    batch = store.take(rows)
    image, wanted = batch.image, batch.wanted[DEPTH]
    with run.autocast():
        if variant.flow:
            share = times[:, None, None, None]
            state = share * image + (1 - share) * wanted
            predicted = _call(run.network, variant, state, times * MAX_STEPS / 1000)
            loss = latent_loss(predicted, image - wanted)
        else:
            predicted = _call(run.network, variant, image, None)
            loss = latent_loss(predicted, image - wanted if variant.residual else wanted)
    return loss, {'depth': loss}


def _call(
    network: TwoStageNetwork, variant: Variant, latent: Tensor, times: Tensor | None
) -> Tensor:
    if times is None:
        times = torch.full((len(latent),), 1e-3, device=latent.device)
    output = network.at(latent, times, slot(CORE, DEPTH))
    refined: Tensor = network.lcm[DEPTH](output) if variant.local_continuity else output
    return refined


@torch.no_grad()
def predict(run: TrainingRun, variant: Variant, image: Tensor, steps: int) -> Tensor:
    """The annotation's latent (B, 16, h, w) from the picture's.

    Args:
        run: with the variant's network.
        variant: how it was trained.
        image: latents of pictures.
        steps: Euler steps of a flow; 1 for all others.
    """
    if not variant.flow:
        output = _call(run.network, variant, image, None).float()
        return image - output if variant.residual else output
    count = torch.full((steps,), steps, device=image.device)
    tokens = image[0, 0].numel() // 4
    times = inference_times(count, torch.arange(steps, device=image.device), tokens)
    ends = torch.cat([times[1:], torch.zeros_like(times[:1])])
    state = image
    for time, end in zip(times, ends, strict=True):
        velocity = _call(run.network, variant, state, (time * MAX_STEPS / 1000).expand(len(image)))
        state = state + (end - time) * velocity.float()
    return state


def judge(
    run: TrainingRun, variant: Variant, scenes: list[HeldOutScene], *, shown: int = 4
) -> list[Judged]:
    """Figures of a trained variant on held-out scenes, one entry for each number of steps.

    Args:
        run: with the variant's network.
        variant: how it was trained.
        scenes: all of one size.
        shown: predictions to keep for a picture.
    """
    results = []
    for steps in variant.steps:
        rows, pictures = [], []
        for scene in scenes:
            disparity = _disparity(run, variant, scene, steps)
            aligned = align_to_depth(disparity, scene.depth, scene.valid, RANGE)
            errors = depth_errors(aligned.depth, scene.depth, scene.valid)
            edges = boundary_score(aligned.depth, scene.depth, scene.valid)
            rows.append((errors.abs_rel, errors.delta1, edges.f1))
            pictures.append(disparity)
        name = f'{variant.name}, {steps} steps' if variant.flow else variant.name
        abs_rel, delta1, edges_f1 = (float(mean) for mean in np.mean(rows, 0))
        results.append(Judged(name, abs_rel, delta1, edges_f1, pictures[:shown]))
    return results


@torch.no_grad()
def _disparity(run: TrainingRun, variant: Variant, scene: HeldOutScene, steps: int) -> AnyArray:
    picture = torch.from_numpy(scene.rgb).to(run.device).permute(2, 0, 1)[None].float()
    with run.autocast():
        latent = run.encode(run.vae, picture / 127.5 - 1).float()
        decoded = run.decode(run.vae, predict(run, variant, latent, steps))
    return (decoded.float().clamp(-1, 1).mean(1)[0].cpu().numpy() + 1) / 2


def table(rows: list[Judged]) -> str:
    """A Markdown table."""
    lines = ['| core predictor | AbsRel | delta1 | boundary F1 |', '|---|---|---|---|']
    lines += [
        f'| {r.name} | {r.abs_rel:.4f} | {r.delta1:.3f} | {r.boundary_f1:.3f} |' for r in rows
    ]
    return '\n'.join(lines)
