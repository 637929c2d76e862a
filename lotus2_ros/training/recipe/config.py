"""The settings of a training run: the only place their defaults live, and what is allowed.

The defaults are the paper's (arXiv 2512.01030) where it states one: Adam, 1e-4, batch 64, adapters
of rank 128 for depth and 256 for normals, ten flow times. Where it does not, they say so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from lotus2_ros.types import DEPTH, TASKS

CORE, SHARPENER = 'core', 'sharpener'
STAGES = (CORE, SHARPENER)
PUBLISHED_RANKS = {'depth': 128, 'normals': 256}


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    _require(value in allowed, f'{name} is {value!r}; allowed: {", ".join(allowed)}')


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """What of the transformer is trained.

    Attributes:
        rank: of the low-rank adapters, whose alpha equals their rank; 0 is the published rank of
            the task, 128 for depth and 256 for normals.
        full: train all of the transformer's weights instead (core stage only).
    """

    rank: int = 0
    full: bool = False

    def __post_init__(self) -> None:
        _require(
            self.rank >= 0, f'rank is {self.rank}; it must be positive, or 0 for the published'
        )


@dataclass(frozen=True, slots=True)
class OptimiserSettings:
    """Adam.

    Attributes:
        lr: learning rate.
        betas: decay of Adam's moments; PyTorch's defaults, the paper names none.
        eps: added to the root of the second moment.
        weight_decay: L2 penalty; none in the paper.
        warmup: steps over which the learning rate grows to `lr`.
        schedule: 'constant' (the paper names no schedule) or 'cosine', down to zero at the end.
        clip: largest norm of the gradient, 0 for no limit; not in the paper.
    """

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    warmup: int = 0
    schedule: str = 'constant'
    clip: float = 1.0

    def __post_init__(self) -> None:
        _require(self.lr > 0, f'lr is {self.lr}; it must be positive')
        _require(all(0 <= beta < 1 for beta in self.betas), f'betas are {self.betas}: 0 to 1')
        _require(self.eps > 0, f'eps is {self.eps}; it must be positive')
        _require(self.weight_decay >= 0, f'weight_decay is {self.weight_decay}; at least 0')
        _require(self.warmup >= 0, f'warmup is {self.warmup}; at least 0')
        _require(self.clip >= 0, f'clip is {self.clip}; at least 0')
        _choice('schedule', self.schedule, ('constant', 'cosine'))

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step, counted from 0, of a run of `steps` steps."""
        warm = min(1.0, (step + 1) / (self.warmup + 1))
        if self.schedule == 'constant':
            return self.lr * warm
        return self.lr * warm * 0.5 * (1 + math.cos(math.pi * step / steps))


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """How many samples make a step.

    Attributes:
        total: samples a step, over all GPUs and accumulated micro-batches.
        per_device: samples in memory at once on one GPU; what is missing to `total` is accumulated.
    """

    total: int = 64
    per_device: int = 2

    def __post_init__(self) -> None:
        _require(self.total > 0, f'total is {self.total}; it must be positive')
        _require(self.per_device > 0, f'per_device is {self.per_device}; it must be positive')

    def accumulation(self, world_size: int) -> int:
        """Micro-batches a step on each of `world_size` devices.

        Raises:
            ValueError: the total cannot be divided so.
        """
        share = self.per_device * world_size
        if self.total % share:
            msg = (
                f'batch.total {self.total} is no multiple of batch.per_device {self.per_device}'
                f' times {world_size} device(s)'
            )
            raise ValueError(msg)
        return self.total // share


@dataclass(frozen=True, slots=True)
class FlowSettings:
    """Where on the flow the sharpener is trained.

    Attributes:
        inference_times: False draws t from {1/10 .. 10/10}, as the paper does. True draws a number
            of steps and one of its steps, and takes the time that the base's scheduler gives it:
            inference shifts times by the image's size, so that it never meets the paper's exactly.
    """

    inference_times: bool = False


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """The store of coarse latents of the sharpener stage.

    Attributes:
        folder: where; empty is `coarse` in the run's folder. May be shared between runs.
        limit_gib: beyond this size no more is stored; the core is run again instead.
    """

    folder: str = ''
    limit_gib: float = 64.0

    def __post_init__(self) -> None:
        _require(self.limit_gib >= 0, f'limit_gib is {self.limit_gib}; at least 0')


@dataclass(frozen=True, slots=True)
class ValidationSettings:
    """Accuracy while training.

    Attributes:
        every: steps between validations; 0 for none but the last, if there is data.
        count: pictures, spread evenly over the datasets.
        data: datasets, as in `data`.
        nearest: smallest depth that counts, and the clip after alignment [m].
        farthest: largest depth that counts, and the clip after alignment [m].
        sharpen_steps: Euler steps of the sharpener in its stage.
    """

    every: int = 0
    count: int = 32
    data: tuple[dict[str, Any], ...] = ()
    nearest: float = 0.1
    farthest: float = 80.0
    sharpen_steps: int = 10

    def __post_init__(self) -> None:
        _require(self.every >= 0, f'every is {self.every}; at least 0')
        _require(self.count > 0, f'count is {self.count}; it must be positive')
        _require(0 < self.nearest < self.farthest, 'nearest must be positive and below farthest')
        _require(1 <= self.sharpen_steps <= 10, f'sharpen_steps is {self.sharpen_steps}; 1 to 10')


@dataclass(frozen=True, slots=True)
class PictureSettings:
    """Sample pictures while training: image, truth, core, and sharpened in the second stage.

    Attributes:
        every: steps between pictures; 0 for none.
        count: rows.
    """

    every: int = 500
    count: int = 4

    def __post_init__(self) -> None:
        _require(self.every >= 0, f'every is {self.every}; at least 0')
        _require(self.count > 0, f'count is {self.count}; it must be positive')


@dataclass(frozen=True, slots=True)
class CheckpointSettings:
    """What a run can be resumed from.

    Attributes:
        every: steps between checkpoints.
        keep: the last so many are kept, and the best by validation besides.
    """

    every: int = 250
    keep: int = 2

    def __post_init__(self) -> None:
        _require(self.every > 0, f'every is {self.every}; it must be positive')
        _require(self.keep > 0, f'keep is {self.keep}; it must be positive')


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """The files that are the result.

    Attributes:
        name: of the model, for people.
        max_side: longest image side that the model is to be run at [px].
        dtype: of the adapters and of the local continuity module.
        lcm_format: 'torch' writes the module as the released loader reads it on the torch that it
            pins (2.5), 'safetensors' as torch 2.13 and later read a file of that name. This
            package reads both.
    """

    name: str = 'lotus-2'
    max_side: int = 1024
    dtype: str = 'float32'
    lcm_format: str = 'torch'

    def __post_init__(self) -> None:
        _require(self.max_side >= 32, f'max_side is {self.max_side}; at least 32')
        _choice('dtype', self.dtype, ('float32', 'bfloat16'))
        _choice('lcm_format', self.lcm_format, ('torch', 'safetensors'))


@dataclass(frozen=True, slots=True)
class RecipeSettings:
    """One training run of one task and stage.

    Attributes:
        base: FLUX base: nano, a folder or a hub id.
        start: model whose trained files of this stage are the start (fine-tuning); empty begins
            with adapters that change nothing.
        core: model whose core predictor the sharpener refines; the sharpener stage needs it.
        task: 'depth' or 'normals'.
        steps: optimiser steps of the run; the paper does not state its number.
        seed: of initial adapters, data order and flow times.
        device: 'auto', 'cpu' or 'cuda'.
        precision: 'auto', 'bfloat16' or 'float32', of what is frozen and of the arithmetic; what
            is trained, its gradients and Adam's moments are always float32.
        checkpointing: compute activations again in the backward pass instead of keeping them.
        workers: that prepare batches ahead.
        flip: mirror half of the pictures.
        adapter: what is trained.
        optimiser: how.
        batch: on how many samples.
        flow: at which times, in the sharpener stage.
        cache: of coarse latents, in the sharpener stage.
        data: training datasets.
        validation: accuracy while training.
        pictures: samples while training.
        checkpoints: to resume from.
        export: the result.
    """

    base: str = 'black-forest-labs/FLUX.1-dev'
    start: str = ''
    core: str = ''
    task: str = DEPTH
    steps: int = 20_000
    seed: int = 0
    device: str = 'auto'
    precision: str = 'auto'
    checkpointing: bool = True
    workers: int = 4
    flip: bool = True
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    batch: BatchSettings = field(default_factory=BatchSettings)
    flow: FlowSettings = field(default_factory=FlowSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    data: tuple[dict[str, Any], ...] = ()
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    pictures: PictureSettings = field(default_factory=PictureSettings)
    checkpoints: CheckpointSettings = field(default_factory=CheckpointSettings)
    export: ExportSettings = field(default_factory=ExportSettings)

    def __post_init__(self) -> None:
        _choice('task', self.task, TASKS)
        _choice('device', self.device, ('auto', 'cpu', 'cuda'))
        _choice('precision', self.precision, ('auto', 'bfloat16', 'float32'))
        _require(self.steps > 0, f'steps is {self.steps}; it must be positive')
        _require(self.seed >= 0, f'seed is {self.seed}; at least 0')
        _require(self.workers >= 0, f'workers is {self.workers}; at least 0')

    @property
    def rank(self) -> int:
        """Rank of the adapters."""
        return self.adapter.rank or PUBLISHED_RANKS[self.task]


FREE_TO_CHANGE = (
    *('workers', 'cache', 'pictures', 'checkpoints', 'export', 'device', 'checkpointing'),
    *('validation.every', 'steps'),
)
"""Settings that an interrupted run may be resumed with other values of: no sample, no gradient and
no learning rate depends on them (`steps` is one only while the schedule is constant)."""
