"""Two rates on one device: every frame through the core, now and then one through the sharpener."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from lotus2_ros.errors import SettingsError
from lotus2_ros.model.flow import MAX_STEPS
from lotus2_ros.types import EdgeSearch, Prediction, UInt8Array

REQUEST_PERIOD_S = 1.0
"""A frame sharpened on request under full load should be ready after about this long."""


class Job(Protocol):
    """Sharpening in single steps; see `SharpenJob`."""

    @property
    def done(self) -> bool:
        """True once every step is taken."""

    @property
    def completed(self) -> int:
        """Steps taken."""

    @property
    def total(self) -> int:
        """Steps in all."""

    def step(self) -> None:
        """Take one step, or begin it."""

    def poll(self) -> bool:
        """Whether a step, or the decoding, that was begun is still under way."""

    def decode(self, output_size: tuple[int, int] | None = None) -> None:
        """Begin to decode, once every step is taken; where that was begun, it goes on."""

    def finish(self) -> Prediction:
        """The result."""


class Predictor(Protocol):
    """What the scheduler asks of a predictor; see `Lotus2Predictor`."""

    def run_core(
        self, rgb: UInt8Array, tasks: Sequence[str] | None = None, max_side: int | None = None
    ) -> Any:
        """Run the core and keep its state."""

    def finish(
        self,
        state: Any,
        output_size: tuple[int, int] | None = None,
        tasks: Sequence[str] | None = None,
        search: EdgeSearch | None = None,
    ) -> Prediction:
        """Decode a state."""

    def sharpen(
        self, state: Any, steps: int, tasks: Sequence[str] | None = None, *, beside: bool = False
    ) -> Job:
        """Prepare sharpening a state."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameJob:
    """One image to be worked on.

    Attributes:
        sequence: number of the frame, for its sender.
        rgb: (H, W, 3) uint8; read only while the core runs on it.
        tasks: wanted from the core predictor.
        sharp_tasks: wanted from the sharpener, should this frame be sharpened.
        max_side: longest side the network sees, in pixels; 0 is the model's own limit.
        output_size: height and width of the results; None is the image's own.
        search: for pixels that fly in the core's disparity; None is none.
        context: anything; handed back with the results.
    """

    sequence: int
    rgb: UInt8Array
    tasks: tuple[str, ...]
    sharp_tasks: tuple[str, ...] = ()
    max_side: int = 0
    output_size: tuple[int, int] | None = None
    search: EdgeSearch | None = None
    context: Any = None


class Failure(NamedTuple):
    """The work during which an error was raised.

    Attributes:
        job: the frame.
        sharp: True if it was being sharpened, False if it was in the core.
    """

    job: FrameJob
    sharp: bool


class TwoRateScheduler:
    """Decides, one piece of work at a time, between the newest frame and the sharpener.

    A waiting frame goes first, and the frame taken is always the newest. A sharpening under way
    gets the time between frames, one step at a time, so that a frame waits for one step at most
    (or for one decoding, which is shorter). Where frames leave no time between them, one step is
    put between two frames as often as is needed for the sharpening to end within its period, and
    no oftener: otherwise a camera faster than the model would never see a sharpened result.

    Where steps run beside frames, or on a device of their own, a frame waits for none: what is said
    above of taking a step then goes for beginning one, and the next begins only once the last has
    ended.

    It draws no threads and does no I/O: `run_once` is called again and again from one thread.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        take_frame: Callable[[], FrameJob | None],
        emit: Callable[[FrameJob, Prediction, bool], None],
        beside: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Put the parts together.

        Args:
            predictor: does the work.
            take_frame: gives the newest waiting frame once, or None.
            emit: takes a frame, its prediction, and True if that is a sharpened one.
            beside: sharpening steps run beside frames, which the predictor must be able to.
            clock: seconds, never going back.
        """
        self._predictor = predictor
        self._take_frame = take_frame
        self._emit = emit
        self._beside = beside
        self._clock = clock
        self._period_s: float | None = None
        self._steps = MAX_STEPS
        self._requested = False
        self._last_start_s: float | None = None
        self._sharp: _Sharpening | None = None
        self._frame_was_last = False
        self._failed: Failure | None = None

    @property
    def sharpening(self) -> FrameJob | None:
        """The frame being sharpened."""
        return self._sharp.frame if self._sharp else None

    @property
    def is_waiting(self) -> bool:
        """Whether, as last seen, sharpening is under way: there may be work any moment."""
        return self._sharp is not None and self._sharp.under_way

    @property
    def failed(self) -> Failure | None:
        """What the error was about that the last `run_once` raised; None if it raised none."""
        return self._failed

    def configure(self, rate_hz: float, steps: int) -> None:
        """Set how often a frame is sharpened, and by how many Euler steps, from the next one on.

        Args:
            rate_hz: starts per second; 0 is only on request.
            steps: 1 to 10.

        Raises:
            SettingsError: out of range.
        """
        if not rate_hz >= 0.0:
            raise SettingsError(f'sharpen_rate_hz is {rate_hz}; allowed: 0 and more')
        if not 1 <= steps <= MAX_STEPS:
            raise SettingsError(f'sharpen_steps is {steps}; allowed: 1 to {MAX_STEPS}')
        self._period_s = 1.0 / rate_hz if rate_hz > 0 else None
        self._steps = steps

    def request_sharpen(self) -> None:
        """Sharpen the next frame that wants it, once no other is being sharpened."""
        self._requested = True

    def cancel_sharpen(self) -> FrameJob | None:
        """Give up the sharpening under way and its memory; returns its frame."""
        frame = self.sharpening
        self._sharp = None
        return frame

    def run_once(self) -> bool:
        """Do one piece of work: a frame, a sharpening step, or a sharpened result.

        Whatever the predictor or `emit` raises comes through as it is, with `failed` telling
        which frame it was about. A sharpening that fails is given up; a frame that fails leaves
        the sharpening as it was. Either way the scheduler goes on with the next call.

        Returns:
            True if there was anything to do.
        """
        self._failed = None
        sharp = self._ready_sharpening()
        if sharp is not None and self._frame_was_last and sharp.is_late(self._clock()):
            self._advance(sharp)
            return True
        frame = self._take_frame()
        if frame is not None:
            self._run_frame(frame)
            return True
        if sharp is not None:
            self._advance(sharp)
            return True
        return False

    def _ready_sharpening(self) -> _Sharpening | None:
        """The sharpening, if there is one and its next piece of work can begin."""
        sharp = self._sharp
        if sharp is None:
            return None
        with self._working_on(sharp):
            sharp.under_way = sharp.job.poll()
        return None if sharp.under_way else sharp

    def _run_frame(self, frame: FrameJob) -> None:
        self._frame_was_last = True
        self._failed = Failure(frame, sharp=False)
        sharpen = self._sharp is None and bool(frame.sharp_tasks) and self._is_due()
        wanted = {*frame.tasks, *frame.sharp_tasks} if sharpen else set(frame.tasks)
        if not wanted:
            # Nobody listens, yet the sender must learn that the frame is done with.
            self._emit(frame, Prediction(disparity=None, normals=None), False)
            self._failed = None
            return
        state = self._predictor.run_core(frame.rgb, sorted(wanted), frame.max_side)
        prediction = Prediction(disparity=None, normals=None)
        if frame.tasks:
            prediction = self._predictor.finish(state, frame.output_size, frame.tasks, frame.search)
        self._emit(frame, prediction, False)
        if sharpen:
            self._failed = Failure(frame, sharp=True)
            self._start(frame, state)
        self._failed = None

    def _is_due(self) -> bool:
        if self._requested:
            return True
        if self._period_s is None:
            return False
        last = self._last_start_s
        return last is None or self._clock() - last >= self._period_s

    def _start(self, frame: FrameJob, state: Any) -> None:
        period_s = REQUEST_PERIOD_S if self._period_s is None else self._period_s
        self._requested = False
        self._last_start_s = self._clock()
        job = self._predictor.sharpen(state, self._steps, frame.sharp_tasks, beside=self._beside)
        self._sharp = _Sharpening(frame, job, self._last_start_s, period_s)

    def _advance(self, sharp: _Sharpening) -> None:
        """Take or begin one step, or decode once all are taken."""
        self._frame_was_last = False
        with self._working_on(sharp):
            if not sharp.job.done:
                sharp.job.step()
                return
            sharp.job.decode(sharp.frame.output_size)
            sharp.under_way = sharp.job.poll()
            if not sharp.under_way:
                self._sharp = None
                self._emit(sharp.frame, sharp.job.finish(), True)

    @contextmanager
    def _working_on(self, sharp: _Sharpening) -> Iterator[None]:
        """A sharpening that fails is given up, and it is told which frame it was of."""
        self._failed = Failure(sharp.frame, sharp=True)
        try:
            yield
        except BaseException:
            self._sharp = None
            raise
        self._failed = None


@dataclass(slots=True)
class _Sharpening:
    """A frame on its way through the sharpener."""

    frame: FrameJob
    job: Job
    started_s: float
    period_s: float
    under_way: bool = False

    def is_late(self, now_s: float) -> bool:
        """True if its steps, decoding included, are behind an even spread over the period."""
        share = (self.job.completed + 1) / (self.job.total + 1)
        return now_s - self.started_s >= share * self.period_s
