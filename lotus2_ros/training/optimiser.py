"""A training step's bookkeeping: learning rate by the clock, clipping, Muon and AdamW, averages."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lotus2_ros.training.muon import Muon
from lotus2_ros.training.parallel import Processes
from lotus2_ros.training.settings import Optimisation

_LONGEST_STEP = 2.0
"""Seconds that one step can count: what goes beyond was spent compiling, not training."""


class Clock:
    """Progress of a stage by time and steps, carried over interruptions."""

    def __init__(
        self,
        settings: Optimisation,
        now: Callable[[], float] = time.monotonic,
        agree: Callable[..., tuple[float, ...]] = lambda *values: values,
    ) -> None:
        """Make a clock.

        Args:
            settings: length of the stage and its learning rate.
            now: seconds.
            agree: makes the numbers of several processes equal, so that all stop at one step.
        """
        self.settings = settings
        self._agree = agree
        self._late = False
        self.steps = 0
        self.seconds = 0.0
        self._now = now
        self._mark = now()
        self._deadline = math.inf
        self._steps_here = 0

    def resume(self, seconds: float, steps: int) -> None:
        """Count from where an earlier run stopped."""
        self.seconds, self.steps = seconds, steps

    def start(self, limit: float = math.inf) -> None:
        """Time counts from here; after `limit` seconds the stage pauses."""
        self._mark = self._now()
        self._deadline = self._mark + limit
        self._late = limit <= 0

    def tick(self) -> None:
        """A step was made."""
        cycle = self.cycle
        now = self._now()
        spent = self.seconds + min(now - self._mark, _LONGEST_STEP)
        self.seconds, late = self._agree(spent, float(now >= self._deadline))
        self._late = bool(late)
        self._mark = now
        self.steps += 1
        self._steps_here = self._steps_here + 1 if self.cycle == cycle else 0

    @property
    def running(self) -> bool:
        """Whether another step is to be made."""
        return self.progress < 1 and not self._late

    @property
    def progress(self) -> float:
        """0 at the start to 1 at the end of the stage, by time or steps, whichever is further."""
        by_time = self.seconds / self.settings.seconds
        return min(1.0, max(by_time, self.steps / self.settings.steps))

    @property
    def cycle(self) -> int:
        """Number of schedules gone through."""
        return int(self.progress * self._schedules)

    @property
    def _schedules(self) -> int:
        return max(1, self.settings.cycles)

    @property
    def rate(self) -> float:
        """Learning rate: linear warm-up, then half a cosine down to 1 % of the peak."""
        warm = min(1.0, (self._steps_here + 1) / self.settings.warmup)
        part = self.progress * self._schedules - min(self.cycle, self._schedules - 1)
        cosine = 0.5 * (1 + math.cos(math.pi * part))
        return self.settings.rate * warm * (0.01 + 0.99 * cosine)


class Optimiser:
    """Gradients in one block, Muon for inner matrices and AdamW for the rest, and an average.

    All gradients are views of one tensor, so that processes average them in one exchange and a
    recorded step finds them where it left them.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        clock: Clock,
        processes: Processes | None = None,
    ) -> None:
        """Make an optimiser.

        Args:
            parameters: what is trained, by name; matrices decay, but not those of adapters.
            clock: gives learning rate and progress.
            processes: that train together; default this one alone.
        """
        self.clock = clock
        self.parameters = dict(parameters)
        self.processes = processes or Processes()
        settings = clock.settings
        values = list(self.parameters.values())
        device = values[0].device
        self._sizes = [value.numel() for value in values]
        self._gradients = torch.zeros(sum(self._sizes), device=device)
        for value, part in zip(values, self._gradients.split(self._sizes), strict=True):
            # In the weights' own memory order: fused AdamW insists.
            value.grad = part.as_strided(value.shape, value.stride())
        # Tensors, so that a recorded step follows the schedule.
        self._rate = torch.tensor(settings.rate, device=device)
        self._kept = torch.tensor(0.0, device=device)
        inner = [v for name, v in self.parameters.items() if settings.muon and _is_inner(name, v)]
        self._muon = Muon(inner, decay=settings.decay) if inner else None
        self._adam = self._make_adam({id(value) for value in inner})
        self._average = _joined(values)
        self._origin = self._average.clone() if settings.cycles else None

    def _make_adam(self, elsewhere: set[int]) -> torch.optim.AdamW:
        settings = self.clock.settings
        own = {name: v for name, v in self.parameters.items() if id(v) not in elsewhere}
        decayed = [
            value
            for name, value in own.items()
            if value.ndim >= 2 and not name.endswith(('.down', '.up', 'prompt_embeds'))
        ]
        chosen = {id(value) for value in decayed}
        groups = [
            {'params': decayed, 'weight_decay': settings.decay},
            {'params': [v for v in own.values() if id(v) not in chosen], 'weight_decay': 0.0},
        ]
        on_gpu = self._rate.is_cuda
        return torch.optim.AdamW(
            [group for group in groups if group['params']],
            lr=self._rate if on_gpu else settings.rate,
            betas=settings.betas,
            fused=on_gpu,
            capturable=on_gpu,
        )

    @property
    def average(self) -> dict[str, Tensor]:
        """Averaged weights by parameter name."""
        parts = zip(self.parameters.items(), self._average.split(self._sizes), strict=True)
        return {name: part.view_as(value) for (name, value), part in parts}

    def before(self) -> None:
        """Set the learning rate and the average's decay for the coming step."""
        self._rate.fill_(self.clock.rate)
        steps = self.clock.steps
        self._kept.fill_(min(self.clock.settings.average, (1 + steps) / (10 + steps)))
        if not self._rate.is_cuda:
            for group in self._adam.param_groups:
                group['lr'] = self.clock.rate

    def clear(self) -> None:
        """Forget the gradients."""
        self._gradients.zero_()

    def exchange(self) -> None:
        """Average the gradients over the processes."""
        self.processes.average(self._gradients)

    @torch.no_grad()
    def descend(self) -> Tensor:
        """Clip, step and average; touches tensors only, so that it can be recorded.

        Returns:
            The gradient's norm before clipping.
        """
        norm: Tensor = self._gradients.norm()
        self._gradients.mul_((self.clock.settings.clip / (norm + 1e-6)).clamp_max(1.0))
        if self._muon is not None:
            self._muon.step(self._rate)
        self._adam.step()
        self._average.lerp_(_joined(self.parameters.values()), 1 - self._kept)
        return norm

    def after(self) -> None:
        """Count the step; at the end of a cycle the weights meet those that it began with."""
        cycle = self.clock.cycle
        self.clock.tick()
        if self._origin is not None and self.clock.cycle != cycle:
            self._origin.lerp_(self._average, self.clock.settings.share)
            self._average.copy_(self._origin)
            self.load_average()

    def step(self, loss: Tensor) -> Tensor:
        """Make one whole step down a loss; returns the gradient's norm before clipping."""
        self.before()
        self.clear()
        loss.backward()  # type: ignore[no-untyped-call]
        self.exchange()
        norm = self.descend()
        self.after()
        return norm

    def release(self) -> None:
        """Give up the gradients, so that the parameters can be trained by another optimiser."""
        for value in self.parameters.values():
            value.grad = None

    @property
    def origin(self) -> Tensor | None:
        """All weights that the present cycle began with, in one vector; None without cycles."""
        return self._origin

    def load_origin(self, origin: Tensor) -> None:
        """Take over what `origin` gave; nothing happens without cycles."""
        if self._origin is not None:
            self._origin.copy_(origin)

    def moments(self) -> dict[str, Any]:
        """What Muon and AdamW remember."""
        muon = self._muon.state_dict() if self._muon is not None else None
        return {'adam': self._adam.state_dict(), 'muon': muon}

    def load_moments(self, moments: dict[str, Any]) -> None:
        """Take over what `moments` gave."""
        self._adam.load_state_dict(moments['adam'])
        if self._muon is not None:
            self._muon.load_state_dict(moments['muon'])

    @torch.no_grad()
    def load_average(self) -> None:
        """Put the averaged weights in the place of the trained ones."""
        for name, value in self.average.items():
            self.parameters[name].copy_(value)


def _joined(values: Iterable[Tensor]) -> Tensor:
    """All entries in one vector."""
    return torch.cat([value.detach().reshape(-1) for value in values])


def _is_inner(name: str, value: nn.Parameter) -> bool:
    """Whether a parameter is a matrix between hidden features of a transformer's block.

    The modulation's matrices are not: their input is nearly constant.
    """
    return 'transformer_blocks.' in name and value.ndim == 2 and '.norm' not in name
