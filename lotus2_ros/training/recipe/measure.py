"""Memory and time of real training steps: the trainer's own step on random pictures."""

from __future__ import annotations

import gc
import itertools
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch

from lotus2_ros.runtime.device import choose_device, choose_precision, device_name
from lotus2_ros.training.data.sample import Batch
from lotus2_ros.training.recipe.base import Base
from lotus2_ros.training.recipe.build import make_base
from lotus2_ros.training.recipe.coarse import CoarseLatents
from lotus2_ros.training.recipe.config import CORE, SHARPENER, RecipeSettings
from lotus2_ros.training.recipe.latent_store import LatentStore
from lotus2_ros.training.recipe.lora import attach
from lotus2_ros.training.recipe.processes import make_accelerator
from lotus2_ros.training.recipe.random_base import GUIDED, flux_parameters, random_base
from lotus2_ros.training.recipe.stages import CoreStage, SharpenerStage, Stage, new_lcm
from lotus2_ros.training.recipe.stepper import Stepper

_GIB = 1 << 30
Size = tuple[int, int]


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        batch: samples in memory at once.
        accumulation: micro-batches a step.
        allocated_gib: peak of what tensors took; None where it is not counted, or out of memory.
        reserved_gib: peak of what PyTorch took from the device, its cache included.
        samples_per_second: mean over the timed steps; None when out of memory.
        seconds_per_step: likewise.
        out_of_memory: it does not fit.
    """

    batch: int
    accumulation: int
    allocated_gib: float | None = None
    reserved_gib: float | None = None
    samples_per_second: float | None = None
    seconds_per_step: float | None = None
    out_of_memory: bool = False


def base_to_measure(settings: RecipeSettings) -> Base:
    """FLUX-sized random weights where the base is FLUX, else the base itself.

    Raises:
        DeviceError: the device or precision cannot be had; FLUX does not run on a CPU unasked.
        ModelFileError: the base is missing or damaged.
    """
    if settings.base not in GUIDED:
        return make_base(settings)
    device = choose_device(settings.device, flux_parameters())
    dtype = choose_precision(settings.precision, device)
    base = random_base(device, dtype, guidance_embeds=GUIDED[settings.base])
    if settings.checkpointing:
        base.transformer.enable_gradient_checkpointing()
    return base


def stage_to_measure(
    name: str, base: Base, settings: RecipeSettings, folder: Path, *, cached: bool
) -> Stage:
    """A stage with fresh adapters.

    Args:
        name: 'core' or 'sharpener'.
        base: without adapters.
        settings: rank and optimiser.
        folder: for coarse latents.
        cached: the sharpener finds its coarse latents, as after the first pass over the data;
            else the core is run for each sample.
    """
    draw = torch.Generator().manual_seed(settings.seed)
    attach(base.transformer, CORE, settings.rank, draw)
    lcm = new_lcm(base.latent_channels, draw)
    if name == CORE:
        return CoreStage(base, lcm)
    attach(base.transformer, SHARPENER, settings.rank, draw)
    store = LatentStore(folder, limit_gib=1.0 if cached else 0.0)
    coarse = CoarseLatents(base, lcm, store)
    return SharpenerStage(base, coarse, inference_times=settings.flow.inference_times)


def random_batch(count: int, size: Size, seed: int) -> Batch:
    """Pictures of noise."""
    draw = torch.Generator().manual_seed(seed)
    shape = (count, 3, *size)
    return Batch(
        image=torch.rand(shape, generator=draw) * 2 - 1,
        target=torch.rand(shape, generator=draw) * 2 - 1,
        mask=torch.ones(count, 1, *size, dtype=torch.bool),
        names=tuple(f'noise {i}' for i in range(count)),
    )


def measure(
    stage: Stage,
    settings: RecipeSettings,
    size: Size,
    batches: Sequence[int],
    accumulations: Sequence[int],
    steps: int,
) -> Iterator[Row]:
    """Measure steps; rows come as they are made. A size that does not fit is a row of its own.

    Args:
        stage: what is trained; its weights change.
        settings: of the run.
        size: height and width of the pictures.
        batches: samples in memory at once, to try.
        accumulations: micro-batches a step, to try with each.
        steps: timed steps, after one that is not.
    """
    accelerator = make_accelerator(settings)
    stepper = Stepper(stage, settings, accelerator)
    for count, accumulation in itertools.product(batches, accumulations):
        accelerator.gradient_accumulation_steps = accumulation
        stepper.accumulation = accumulation
        row = _steps(stepper, stage.base.device, random_batch(count, size, settings.seed), steps)
        yield row or Row(count, accumulation, out_of_memory=True)
        stepper.adam.zero_grad(set_to_none=True)
        _free(stage.base.device)


def _steps(stepper: Stepper, device: torch.device, batch: Batch, steps: int) -> Row | None:
    """One measurement, or None when the device's memory does not suffice."""
    on_gpu = device.type == 'cuda'
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    try:
        begun = 0.0
        for step in range(steps + 1):
            if step == 1:
                begun = _now(device)
            stepper.step(step, itertools.repeat(batch))
        seconds = (_now(device) - begun) / steps
    except torch.OutOfMemoryError:
        return None
    count = len(batch.names)
    return Row(
        batch=count,
        accumulation=stepper.accumulation,
        allocated_gib=torch.cuda.max_memory_allocated(device) / _GIB if on_gpu else None,
        reserved_gib=torch.cuda.max_memory_reserved(device) / _GIB if on_gpu else None,
        samples_per_second=count * stepper.accumulation / seconds,
        seconds_per_step=seconds,
    )


def _now(device: torch.device) -> float:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.empty_cache()


def report(
    stage: Stage, settings: RecipeSettings, size: Size, rows: Sequence[Row]
) -> dict[str, Any]:
    """All that a measurement needs to be repeated, as plain data."""
    device = stage.base.device
    trained = sum(value.numel() for value in stage.parameters().values())
    weights = sum(value.numel() for value in stage.base.transformer.parameters())
    return {
        'stage': stage.name,
        'base': settings.base,
        'rank': settings.rank,
        'checkpointing': settings.checkpointing,
        'precision': str(stage.base.dtype).removeprefix('torch.'),
        'height': size[0],
        'width': size[1],
        'trained_parameters': trained,
        'transformer_parameters': weights,
        'device': device_name(device),
        'torch': torch.__version__,
        'diffusers': diffusers.__version__,
        'python': platform.python_version(),
        'rows': [asdict(row) for row in rows],
    }


def markdown(row: Row | None = None) -> str:
    """A row of the table, or its head."""
    if row is None:
        head = '| batch | accumulation | allocated, GiB | reserved, GiB | samples/s | s/step |'
        return f'{head}\n|---|---|---|---|---|---|'
    if row.out_of_memory:
        return f'| {row.batch} | {row.accumulation} | out of memory | | | |'

    def shown(value: float | None, digits: int) -> str:
        return '-' if value is None else f'{value:.{digits}f}'

    return (
        f'| {row.batch} | {row.accumulation} | {shown(row.allocated_gib, 1)} |'
        f' {shown(row.reserved_gib, 1)} | {shown(row.samples_per_second, 3)} |'
        f' {shown(row.seconds_per_step, 2)} |'
    )
