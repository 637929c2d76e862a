"""Sharpening one image a step at a time, so that other work may come between."""

from __future__ import annotations

from collections.abc import Sequence

from lotus2_ros.runtime.preprocess import Size
from lotus2_ros.runtime.stages import CoreState, Stages
from lotus2_ros.runtime.timing import StageClock
from lotus2_ros.types import Prediction


class SharpenJob:
    """Sharpening of one image, taken one transformer call at a time.

    Between two calls anything else may run on the same predictor.
    """

    def __init__(self, stages: Stages, state: CoreState, steps: int, tasks: Sequence[str]) -> None:
        self._stages = stages
        self._input_size = state.input_size
        self._steps = steps
        self._latents = {name: state.latents[name] for name in tasks}
        self._plan = [
            (name, step)
            for name, latent in self._latents.items()
            for step in stages.flow_steps(latent, steps)
        ]
        self._completed = 0
        self._clock = StageClock(stages.device)

    @property
    def total(self) -> int:
        """Number of calls of `step` in all: Euler steps times tasks."""
        return len(self._plan)

    @property
    def completed(self) -> int:
        """Number of calls of `step` so far."""
        return self._completed

    @property
    def done(self) -> bool:
        """True once every step is taken."""
        return self._completed == len(self._plan)

    def step(self) -> None:
        """Take the next Euler step; returns when the device has finished it.

        Raises:
            RuntimeError: all steps are taken.
        """
        if self.done:
            raise RuntimeError('all sharpening steps are taken')
        name, step = self._plan[self._completed]
        with self._clock.stage('sharpen'):
            self._latents[name] = self._stages.step(name, self._latents[name], step)
        self._completed += 1

    def finish(self, output_size: Size | None = None) -> Prediction:
        """Decode the sharpened latents at an output size (height, width), the image's by default.

        Raises:
            RuntimeError: steps are left.
        """
        if not self.done:
            raise RuntimeError(f'{self.total - self.completed} sharpening steps are left')
        state = CoreState(self._latents, self._input_size, self._clock, self._steps)
        return self._stages.finish([state], output_size or self._input_size)[0]
