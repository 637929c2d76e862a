"""One optimiser step: micro-batches, their gradients, and Adam."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from lotus2_ros.training.data.sample import Batch
from lotus2_ros.training.recipe.config import RecipeSettings
from lotus2_ros.training.recipe.errors import TrainingError
from lotus2_ros.training.recipe.objectives import Place
from lotus2_ros.training.recipe.processes import Accelerator, gathered
from lotus2_ros.training.recipe.stages import Stage

# Not cuDNN's: it has given gradients that are not finite in bfloat16. The backward pass is inside
# too, since with checkpointing it computes the forward pass again.
_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]

_NAMED = 8
"""Samples that a message names at most."""


class Figures(NamedTuple):
    """What a step says of itself.

    Attributes:
        loss: mean over all samples of all devices.
        norm: of the gradient, before clipping.
        rate: learning rate.
        stop: some process was asked to stop.
    """

    loss: float
    norm: float
    rate: float
    stop: bool


class Stepper:
    """Makes steps of a stage. Everything random in a step is a function of its number and rank."""

    def __init__(self, stage: Stage, settings: RecipeSettings, accelerator: Accelerator) -> None:
        """Prepare a stage for training.

        Args:
            stage: what is trained.
            settings: of the run.
            accelerator: of these settings.
        """
        self._stage = stage
        self._settings = settings
        self._accelerator = accelerator
        self.accumulation = accelerator.gradient_accumulation_steps
        self.parameters = stage.parameters()
        about = settings.optimiser
        adam = torch.optim.Adam(
            list(self.parameters.values()),
            lr=about.lr,
            betas=about.betas,
            eps=about.eps,
            weight_decay=about.weight_decay,
            fused=accelerator.device.type == 'cuda',
        )
        self.adam: torch.optim.Optimizer = adam
        self._trained, self._adam = accelerator.prepare(stage.module, adam)

    def step(self, step: int, batches: Iterator[Batch], *, stop: bool = False) -> Figures:
        """Make one step.

        Args:
            step: steps made before.
            batches: the next micro-batches of this process.
            stop: this process was asked to stop; all learn of it in the same step.

        Raises:
            TrainingError: the loss or gradient is not finite, or a sample has no target; Adam has
                not moved then, and every process raises.
        """
        rate = self._settings.optimiser.rate(step, self._settings.steps)
        for group in self.adam.param_groups:
            group['lr'] = rate
        names: list[str] = []
        losses: list[Tensor] = []
        for part in range(self.accumulation):
            batch = next(batches)
            names += batch.names
            losses.append(self._descend(step, part, batch))
        each = torch.cat(losses)
        norm = float(self._clip())
        asked = torch.tensor(float(stop), device=each.device)
        mean: Any = self._accelerator.reduce(torch.stack([each.mean(), asked]), reduction='mean')
        loss = float(mean[0])
        if not torch.isfinite(torch.tensor([loss, norm])).all():
            self._fail(step, loss, norm, names, each)
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        return Figures(loss, norm, rate, bool(mean[1] > 0))

    def _descend(self, step: int, part: int, batch: Batch) -> Tensor:
        """Add a micro-batch's gradient; returns the samples' losses (B,)."""
        count = len(batch.names)
        before = self._accelerator.process_index * self.accumulation + part
        total = count * self.accumulation * self._accelerator.num_processes
        place = Place(self._settings.seed, step, before * count, total)
        with self._accelerator.accumulate(self._trained), sdpa_kernel(_ATTENTION):
            each = self._stage.losses(self._trained, batch, place)
            self._accelerator.backward(each.mean())
        return each.detach()

    def _clip(self) -> Tensor:
        limit = self._settings.optimiser.clip or float('inf')
        norm: Tensor = self._accelerator.clip_grad_norm_(self.parameters.values(), limit)
        return norm

    def _fail(self, step: int, loss: float, norm: float, names: list[str], each: Tensor) -> None:
        bad = [n for n, fine in zip(names, each.isfinite().tolist(), strict=True) if not fine]
        guilty = gathered(bad) or gathered(names)
        more = f' and {len(guilty) - _NAMED} more' if len(guilty) > _NAMED else ''
        msg = (
            f'step {step + 1}: the loss is {loss} and its gradient {norm}, not finite; samples:'
            f' {", ".join(guilty[:_NAMED])}{more}. No weight was changed by this step. Look at'
            ' these samples; lower optimiser.lr or set optimiser.clip if they are sound'
        )
        raise TrainingError(msg)
