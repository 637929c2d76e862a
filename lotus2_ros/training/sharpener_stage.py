"""Stage two: the detail sharpener, a rectified flow from the core's latent to a sharper one.

Minimises |(z_c - z_f) - g(z_t, t)|² with z_t = t z_c + (1 - t) z_f, where z_c comes from the
trained core and z_f is the latent of edge-tolerant truth; for a part of each batch the fine latent
that the velocity implies, z_t - t g, is also compared after decoding, as in the core's stage. Only
the sharpener's adapters are trained.

In the paper z_f is the truth's own latent (`edge_radius` 0). The flow is deterministic and so is
z_c, and what z_c does not know about the place of an edge nothing in the flow can decide: the best
answer is the mean of all places, which is the slope that z_c has already. So here each pixel of
truth may come from a neighbour, whichever is nearest to the decoded z_c: the edge is sharp and
lies where the core has put it, a target that z_c determines. And the decoded latent is asked for
edges that overlap with true ones (`overlap_weight`), which a slope does not.

States on the way from z_c to z_f hold the truth in part, which inference never meets: after its
first step it is where the sharpener's own velocity has led. So some states of a batch are taken
from there (`own_state_share`; 0 is the paper's recipe), with the same z_f to reach.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import torch
from torch import Tensor

from lotus2_ros.model.flow import MAX_STEPS, dynamic_shift
from lotus2_ros.training.core_stage import decoded_losses
from lotus2_ros.training.edges import edge_tolerant
from lotus2_ros.training.optimiser import Optimiser
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.recording import Descent, Figures, RecordedStep
from lotus2_ros.training.run import REPORT_EVERY, TrainingRun
from lotus2_ros.training.sample_store import EncodedBatch, SampleStore
from lotus2_ros.training.scheduler import SCHEDULER_CONFIG
from lotus2_ros.types import DEPTH, TASKS


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


def draw_times(draws: Draws, batch: int, tokens: int) -> Tensor:
    """Flow times (B,) of a random step of a schedule of random length."""
    steps = draws.index(MAX_STEPS, batch) + 1
    index = (draws.uniform(0, 1, batch) * steps).floor()
    return inference_times(steps, index, tokens)


def train_sharpener(run: TrainingRun, optimiser: Optimiser, *, until: float = float('inf')) -> None:
    """Train until the stage or this run's time is over.

    Args:
        run: trained network, frozen autoencoder, scenes and recipe; only the sharpener's adapters
            change.
        optimiser: of the adapters.
        until: seconds of wall-clock time after which it stops early.
    """
    settings, clock = run.settings, optimiser.clock
    feed = run.feed(functools.partial(with_coarse, run))
    descent = Descent(optimiser, enabled=run.recorded)
    rows = [torch.zeros(settings.batch, dtype=torch.int64, device=run.device) for _ in feed.stores]
    times = {task: torch.zeros(settings.batch, device=run.device) for task in TASKS}
    steps: dict[tuple[int, tuple[str, ...]], RecordedStep] = {}
    clock.start(until)
    while clock.running:
        size = run.draw_size()
        height, width = settings.sizes[size]
        tasks = TASKS if clock.steps % settings.normals_every == 0 else (DEPTH,)
        rows[size].copy_(feed.rows(size, run.draws.index))
        for task in tasks:
            times[task].copy_(draw_times(run.draws, settings.batch, height * width // 256))
        key = (size, tasks)
        if key not in steps:
            chosen = {task: times[task] for task in tasks}
            losses = functools.partial(flow_losses, run, feed.stores[size], rows[size], chosen)
            steps[key] = RecordedStep(losses, descent)
        figures = steps[key]()
        if clock.steps % REPORT_EVERY == 0 or not clock.running:
            run.tell('sharpener', clock.steps, figures)


@torch.no_grad()
def with_coarse(run: TrainingRun, batch: EncodedBatch) -> EncodedBatch:
    """Add the core's latents to samples, and put edge-tolerant latents in the place of the truth's.

    Done once for each rendered sample, as the core no longer changes. The maps stay the truth: what
    is decoded is judged by it.
    """
    coarse, wanted = {}, dict(batch.wanted)
    with run.autocast():
        for task in TASKS:
            coarse[task] = run.network.core(batch.image, task).float()
            if run.settings.edge_radius > 0:
                picture = tolerant_map(run, batch.maps[task], coarse[task], task)
                picture = picture.expand(-1, 3, -1, -1).contiguous()
                wanted[task] = run.encode(run.vae, picture).float()
    return dataclasses.replace(batch, wanted=wanted, coarse=coarse)


def tolerant_map(run: TrainingRun, truth: Tensor, coarse: Tensor, task: str) -> Tensor:
    """True maps (B, C, H, W) moved towards what coarse latents (B, 16, h, w) decode to."""
    decoded = run.decode(run.vae, coarse).float().clamp(-1, 1)
    if task == DEPTH:
        decoded = decoded.mean(1, keepdim=True)
    return edge_tolerant(truth, decoded, run.settings.edge_radius)


def flow_losses(
    run: TrainingRun, store: SampleStore, rows: Tensor, times: dict[str, Tensor]
) -> tuple[Tensor, Figures]:
    """The loss of a batch at flow times (B,) of each task, and its parts by name.

    '<task> zero' is what a sharpener that does nothing would get.
    """
    batch = store.take(rows)
    loss = torch.zeros((), device=rows.device)
    figures: Figures = {}
    with run.autocast():
        for task, time in times.items():
            coarse, fine = batch.coarse[task], batch.wanted[task]
            share = time[:, None, None, None]
            own = own_rows(len(time), run.settings.own_state_share, time.device)
            state = torch.where(
                own[:, None, None, None],
                first_step(run, coarse, share, task),
                share * coarse + (1 - share) * fine,
            )
            velocity = velocity_at(run, state, time, task)
            # The velocity that leads from this state to the fine latent: coarse - fine, but for own
            # states, which count by their distance from it instead; near t = 0 it would be huge.
            wanted = (state - fine) / share
            weight = torch.where(own[:, None, None, None], share.square(), 1.0)
            figures[task] = (weight * (velocity - wanted).square()).mean()
            figures[f'{task} zero'] = (coarse - fine).square().mean()
            implied = state - share * velocity
            overlap = run.settings.overlap_weight
            decoded = decoded_losses(run, implied, batch, task, figures, overlap)
            loss = loss + figures[task] + decoded
    return loss, figures


def own_rows(batch: int, share: float, device: torch.device) -> Tensor:
    """(B,) bool, that share of True spread evenly: some are among those that are decoded."""
    place = torch.arange(batch, device=device)
    return ((place + 1) * share).floor() > (place * share).floor()


def first_step(run: TrainingRun, coarse: Tensor, share: Tensor, task: str) -> Tensor:
    """Where inference is at a flow time (B, 1, 1, 1) when it comes there from t = 1 in one step."""
    if run.settings.own_state_share == 0:
        return coarse
    with torch.no_grad():
        start = torch.ones_like(share[:, 0, 0, 0])
        return coarse - (1 - share) * velocity_at(run, coarse, start, task)


def velocity_at(run: TrainingRun, state: Tensor, time: Tensor, task: str) -> Tensor:
    """The sharpener's velocity (B, 16, h, w), float32, of a state at flow times (B,)."""
    # The scheduler has 10 training steps, so its timestep is 10 t, and the transformer is handed a
    # thousandth of that.
    return run.network.velocity(state, time * MAX_STEPS / 1000, task).float()
