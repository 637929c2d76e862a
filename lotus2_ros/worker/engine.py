"""The main loop of the model's process: frames in, results out, faults judged."""

from __future__ import annotations

import collections
import gc
import logging
import time
import weakref
from collections.abc import Callable
from typing import NoReturn

import numpy as np

from lotus2_ros.errors import DeviceError, Lotus2Error, SettingsError, WorkerError
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.runtime.scheduler import FrameJob, TwoRateScheduler
from lotus2_ros.settings.model import AUTO, BESIDE, BETWEEN, ModelSettings
from lotus2_ros.types import EdgeSearch, Float32Array, Prediction
from lotus2_ros.worker.channel import Channel
from lotus2_ros.worker.faults import NON_FINITE_LIMIT, classify
from lotus2_ros.worker.inbox import Inbox
from lotus2_ros.worker.messages import (
    Fatal,
    Frame,
    FrameFailed,
    Info,
    Ready,
    Result,
    Retired,
    RingReleased,
)

_INFO_PERIOD_S = 1.0
_POLL_PERIOD_S = 0.0005
"""A sharpening step beside frames is seen to have ended within this time."""

_WARM_UP_SIZE = (480, 640)
_LOGGER = logging.getLogger(__name__)


class StickyDeviceError(DeviceError):
    """The device context, or what lies in its memory, is lost; the process must end."""

    @property
    def farewell(self) -> Fatal:
        """What to tell the client."""
        return Fatal(str(self))


class Ticket:
    """Goes with a frame through the scheduler and tells, by its end, that nothing holds it."""

    def __init__(self, frame: Frame, retired: Callable[[int], object]) -> None:
        self.frame = frame
        self.taken_s = time.monotonic()
        self.retried = False
        weakref.finalize(self, retired, frame.sequence).atexit = False


class Engine:
    """A loaded predictor, its scheduler and the client they work for."""

    def __init__(
        self, predictor: Lotus2Predictor, channel: Channel, inbox: Inbox, *, beside: bool = False
    ) -> None:
        self._predictor = predictor
        self._channel = channel
        self._inbox = inbox
        self._scheduler = TwoRateScheduler(
            predictor, take_frame=self._take, emit=self._emit, beside=beside
        )
        self._retry: FrameJob | None = None
        # Filled by finalizers, which may run anywhere: nothing but an append may happen there.
        self._retired: collections.deque[int] = collections.deque()
        self._info_sent_s = 0.0
        self._non_finite = {False: 0, True: 0}  # in a row, of the core and of the sharpener

    @classmethod
    def load(
        cls,
        settings: ModelSettings,
        channel: Channel,
        inbox: Inbox,
        progress: Callable[[str, float], None],
    ) -> Engine:
        """Load and warm up, so that the first frame takes no longer than any other.

        Raises:
            Lotus2Error: the model cannot be loaded.
            StickyDeviceError: the device failed meanwhile.
        """
        try:
            predictor = Lotus2Predictor.from_settings(
                settings, sharpener=settings.load_sharpener, progress=progress
            )
            beside = _runs_beside(settings.sharpen_stepping, predictor)
            progress('warming up', 0.95)
            # On a GPU the sharpener's step is recorded too, which would hold up a frame later.
            steps = int(settings.load_sharpener and predictor.uses_gpu)
            predictor.predict(np.zeros((*_WARM_UP_SIZE, 3), np.uint8), sharpen_steps=steps)
        except RuntimeError as err:
            if classify(err) == 'sticky':
                raise StickyDeviceError(str(err)) from err
            raise
        # A full collection takes tenths of a second with torch loaded; none may fall on a frame.
        gc.collect()
        gc.freeze()
        channel.send(Ready(predictor.info()))
        return cls(predictor, channel, inbox, beside=beside)

    def run(self) -> NoReturn:
        """Work for ever.

        Raises:
            StickyDeviceError: only a new process helps.
            WorkerError: the client is gone.
        """
        while True:
            version = self._inbox.version
            self._apply_options()
            worked = self._run_once()
            self._report()
            self._judge_results()
            if not worked:
                pause_s = _POLL_PERIOD_S if self._scheduler.is_waiting else None
                self._inbox.wait_beyond(version, pause_s)

    def _apply_options(self) -> None:
        sharpening, requested = self._inbox.take_options()
        if sharpening is not None:
            self._scheduler.configure(sharpening.sharpen_rate_hz, sharpening.sharpen_steps)
        if requested:
            self._scheduler.request_sharpen()

    def _take(self) -> FrameJob | None:
        """The frame to be tried again, else the newest one."""
        job, self._retry = self._retry, None
        if job is None:
            frame = self._inbox.take_frame()
            if frame is None:
                return None
            image = self._inbox.ring(frame.ring).image(frame.slot, frame.height, frame.width)
            job = FrameJob(
                sequence=frame.sequence,
                rgb=image,
                tasks=frame.tasks,
                sharp_tasks=frame.sharp_tasks,
                max_side=frame.max_side,
                output_size=(frame.output_height, frame.output_width),
                search=EdgeSearch(*frame.search) if frame.search else None,
                context=Ticket(frame, self._retired.append),
            )
        return job

    def _emit(self, job: FrameJob, prediction: Prediction, sharp: bool) -> None:
        arrays = [a for a in (prediction.disparity, prediction.normals) if a is not None]
        if not all(_is_finite(array) for array in arrays):
            self._non_finite[sharp] += 1
            self._fail(job, sharp, 'non-finite output')
            return
        self._non_finite[sharp] = 0
        height, width = job.output_size or job.rgb.shape[:2]
        ring, slot = self._inbox.take_result_slot()
        views = ring.result(
            slot,
            height,
            width,
            disparity=prediction.disparity is not None,
            normals=prediction.normals is not None,
            flying=prediction.flying is not None,
        )
        parts = (prediction.disparity, prediction.normals, prediction.flying)
        for view, array in zip(views, parts, strict=True):
            if view is not None and array is not None:
                np.copyto(view, array)
        timings = {
            'model' if stage == 'total' else stage: seconds
            for stage, seconds in prediction.timings.items()
        }
        if not sharp:
            timings['worker'] = time.monotonic() - job.context.taken_s
        recorded = [s for stage, s in timings.items() if stage.startswith('recorded')]
        if recorded:
            _LOGGER.info(
                'recorded graphs for images of %dx%d in %.1f s; this frame was slow, the next are'
                ' not',
                job.rgb.shape[1],
                job.rgb.shape[0],
                sum(recorded),
            )
        self._channel.send(
            Result(
                sequence=job.sequence,
                ring=ring.number,
                slot=slot,
                height=height,
                width=width,
                disparity=prediction.disparity is not None,
                normals=prediction.normals is not None,
                flying=prediction.flying is not None,
                sharp=sharp,
                sharpen_steps=prediction.sharpen_steps,
                timings=timings,
            )
        )

    def _fail(self, job: FrameJob, sharp: bool, message: str) -> None:
        _LOGGER.error('frame %d%s: %s', job.sequence, ', sharpened' if sharp else '', message)
        self._channel.send(FrameFailed(job.sequence, sharp, message))

    def _run_once(self) -> bool:
        """One piece of work; True if there was any.

        Raises:
            StickyDeviceError: only a new process helps.
            WorkerError: the client is gone.
        """
        try:
            return self._scheduler.run_once()
        except WorkerError:
            raise
        except Exception as err:
            fault = classify(err)
            expected = isinstance(err, Lotus2Error)
            message = str(err) if expected else f'{type(err).__name__}: {err}'
            failure = self._scheduler.failed
            if fault == 'sticky':
                raise StickyDeviceError(message) from err
            if failure is None:
                raise
            if not expected:
                _LOGGER.exception('unexpected error of the model')
        # Only here are the exception and with it the failed frame's tensors gone, so that freeing
        # memory frees any.
        if fault == 'memory':
            self._make_room()
            ticket: Ticket = failure.job.context
            if not failure.sharp and not ticket.retried:
                ticket.retried = True
                self._retry = failure.job
                return True
        self._fail(failure.job, failure.sharp, message)
        return True

    def _judge_results(self) -> None:
        """Give up where it cannot be the images that make results useless.

        Raises:
            StickyDeviceError: too many results in a row were not finite.
        """
        if max(self._non_finite.values()) >= NON_FINITE_LIMIT:
            raise StickyDeviceError(
                f'{NON_FINITE_LIMIT} results in a row were not finite: the weights or the memory of'
                ' the device may be corrupted (if this repeats, verify the model files: lotus2'
                ' models verify)'
            )

    def _make_room(self) -> None:
        """Give up the sharpener before the core, and all caches."""
        given_up = self._scheduler.cancel_sharpen()
        if given_up is not None:
            self._fail(given_up, True, 'sharpening given up: the device is out of memory')
        self._predictor.free_memory()

    def _report(self) -> None:
        """Tell the client which frames and rings are done with, and now and then how it goes."""
        while self._retired:
            self._channel.send(Retired(self._retired.popleft()))
        if self._retry is None:
            for number in self._inbox.drop_outgrown_rings():
                self._channel.send(RingReleased(number))
        now_s = time.monotonic()
        if now_s - self._info_sent_s >= _INFO_PERIOD_S:
            self._info_sent_s = now_s
            self._channel.send(Info(self._predictor.info()))


def _is_finite(values: Float32Array) -> bool:
    """Whether no value is NaN or infinite.

    A sum is quick to take and finite only if all values are; where it is not, that may be for its
    own size.
    """
    with np.errstate(all='ignore'):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def _runs_beside(stepping: str, predictor: Lotus2Predictor) -> bool:
    """Whether sharpening steps are to run beside frames.

    Raises:
        SettingsError: they are, and cannot.
    """
    if stepping == BESIDE and not predictor.runs_beside:
        raise SettingsError(
            f'sharpen_stepping is {BESIDE}, which a GPU with acceleration can; here it must be'
            f' {BETWEEN} or {AUTO}'
        )
    return predictor.runs_beside and stepping != BETWEEN
