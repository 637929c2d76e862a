"""Sharpening one image a step at a time, so that other work may come between, or run beside."""

from __future__ import annotations

from collections.abc import Sequence

from lotus2_ros.runtime.preprocess import Size
from lotus2_ros.runtime.split_stages import SplitStages
from lotus2_ros.runtime.stages import CoreState, Decoding, Stages, Step
from lotus2_ros.types import Prediction


class SharpenJob:
    """Sharpening of one image, taken one transformer call at a time.

    Between two calls anything else may run on the same predictor; beside them, frames may.
    """

    def __init__(
        self,
        stages: Stages | SplitStages,
        state: CoreState,
        steps: int,
        tasks: Sequence[str],
        *,
        beside: bool = False,
    ) -> None:
        """Plan the steps.

        Args:
            stages: of the model.
            state: of the core predictor.
            steps: Euler steps for each task.
            tasks: of the state.
            beside: a step that was begun runs beside frames, where `stages` can.
        """
        self._stages = stages
        self._input_size = state.input_size
        self._steps = steps
        self._beside = beside
        self._latents = {name: state.latents[name] for name in tasks}
        self._plan = [
            (name, step)
            for name, latent in self._latents.items()
            for step in stages.flow_steps(latent, steps)
        ]
        self._completed = 0
        self._begun: Step | None = None
        self._decoding: Decoding | None = None
        self._clock = stages.clock()

    @property
    def total(self) -> int:
        """Number of calls of `step` in all: Euler steps times tasks."""
        return len(self._plan)

    @property
    def completed(self) -> int:
        """Number of steps that have ended, as far as `step` and `poll` have seen."""
        return self._completed

    @property
    def done(self) -> bool:
        """True once every step is taken."""
        return self._completed == len(self._plan)

    def step(self) -> None:
        """Take the next Euler step; returns when the device has finished it, or begun it if beside.

        Where the last step was under way and has ended since anyone looked, nothing is left to do.

        Raises:
            RuntimeError: all steps were known to be taken, or one is under way.
        """
        if self.done:
            raise RuntimeError('all sharpening steps are taken')
        if self.poll():
            raise RuntimeError('a sharpening step is under way')
        if self.done:
            return
        name, step = self._plan[self._completed]
        latent = self._latents[name]
        if self._beside:
            self._begun = self._stages.begin(name, latent, step, self._clock)
            self.poll()
        else:
            self._latents[name] = self._stages.take(name, latent, step, self._clock)
            self._completed += 1

    def decode(self, output_size: Size | None = None) -> None:
        """Begin to decode at an output size (height, width), the image's by default.

        Where that was begun, it goes on.

        Raises:
            RuntimeError: steps are left.
        """
        if self._decoding is not None:
            return
        if not self.done:
            raise RuntimeError(f'{self.total - self.completed} sharpening steps are left')
        state = CoreState(self._latents, self._input_size, self._clock, self._steps)
        self._decoding = self._stages.decode([state], output_size or self._input_size)

    def poll(self) -> bool:
        """Whether a step, or the decoding, is still under way."""
        if self._decoding is not None:
            return not self._decoding.ended()
        if self._begun is None:
            return False
        if not self._begun.ended():
            return True
        name, _ = self._plan[self._completed]
        self._latents[name] = self._begun.latent
        self._begun = None
        self._completed += 1
        return False

    def finish(self, output_size: Size | None = None) -> Prediction:
        """The sharpened result; decodes it first, see `decode`, where that was not begun.

        Raises:
            RuntimeError: steps are left.
        """
        self.decode(output_size)
        assert self._decoding is not None
        return self._decoding.result()[0]
