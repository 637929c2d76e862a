"""One training step's bookkeeping: learning rate by the clock, clipping, AdamW, weight average."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from lotus2_ros.training.settings import Optimisation

_LONGEST_STEP = 2.0
"""Seconds that one step can count: what goes beyond was spent compiling, not training."""


_AVERAGE_EVERY = 5


class Clock:
    """Progress of a stage by time and steps, carried over interruptions."""

    def __init__(self, settings: Optimisation, now: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
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

    def tick(self) -> None:
        """A step was made."""
        now = self._now()
        self.seconds += min(now - self._mark, _LONGEST_STEP)
        self._mark = now
        self.steps += 1
        self._steps_here += 1

    @property
    def running(self) -> bool:
        """Whether another step is to be made."""
        return self.progress < 1 and self._now() < self._deadline

    @property
    def progress(self) -> float:
        """0 at the start to 1 at the end of the stage, by time or steps, whichever is further."""
        by_time = self.seconds / self.settings.seconds
        return min(1.0, max(by_time, self.steps / self.settings.steps))

    @property
    def rate(self) -> float:
        """Learning rate: linear warm-up, then half a cosine down to 1 % of the peak."""
        warm = min(1.0, (self._steps_here + 1) / self.settings.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress))
        return self.settings.rate * warm * (0.01 + 0.99 * cosine)


class Optimiser:
    """AdamW with clipping, and an exponential moving average of what it trains."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], clock: Clock) -> None:
        """Make an optimiser.

        Args:
            parameters: what is trained, by name; matrices decay, but not those of adapters.
            clock: gives learning rate and progress.
        """
        self.clock = clock
        self.parameters = dict(parameters)
        settings = clock.settings
        values = list(self.parameters.values())
        decayed = [
            value
            for name, value in self.parameters.items()
            if value.ndim >= 2 and not name.endswith(('.down', '.up', 'prompt_embeds'))
        ]
        chosen = {id(value) for value in decayed}
        groups = [
            {'params': decayed, 'weight_decay': settings.decay},
            {'params': [v for v in values if id(v) not in chosen], 'weight_decay': 0.0},
        ]
        on_gpu = values[0].is_cuda
        # A tensor, and capturable, so that a recorded step follows the schedule.
        self._rate = torch.tensor(settings.rate, device=values[0].device)
        self.adam = torch.optim.AdamW(
            [group for group in groups if group['params']],
            lr=self._rate if on_gpu else settings.rate,
            betas=settings.betas,
            fused=on_gpu,
            capturable=on_gpu,
        )
        self.average = {name: value.detach().clone() for name, value in self.parameters.items()}

    def step(self, loss: Tensor) -> Tensor:
        """Make one step down the loss; returns the gradient's norm before clipping."""
        self.before()
        norm = self.descend(loss)
        self.after()
        return norm

    def before(self) -> None:
        """Set the learning rate of the coming step."""
        self._rate.fill_(self.clock.rate)
        for group in self.adam.param_groups:
            group['lr'] = self._rate if self._rate.is_cuda else self.clock.rate

    def descend(self, loss: Tensor) -> Tensor:
        """Back-propagate, clip and step; touches tensors only, so that it can be recorded."""
        self.adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.clock.settings.clip)
        self.adam.step()
        return norm

    def after(self) -> None:
        """Average the weights every few steps, and count the step."""
        steps = self.clock.steps
        if steps % _AVERAGE_EVERY == 0:
            decay = min(self.clock.settings.average, (1 + steps) / (10 + steps))
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(self.average.values()),
                    [value.detach() for value in self.parameters.values()],
                    1 - decay**_AVERAGE_EVERY,
                )
        self.clock.tick()

    @torch.no_grad()
    def load_average(self) -> None:
        """Put the averaged weights in the place of the trained ones."""
        for name, value in self.parameters.items():
            value.copy_(self.average[name])
