"""The node's side of the model's process: submit frames, get results, survive its death.

No torch here, nor in anything this imports.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from lotus2_ros.errors import ImageError, SettingsError, WorkerError
from lotus2_ros.settings import ModelSettings, NodeSettings
from lotus2_ros.types import EdgeSearch, UInt8Array
from lotus2_ros.worker.listener import (
    WorkerCounters,
    WorkerListener,
    WorkerResult,
    WorkerState,
)
from lotus2_ros.worker.messages import Configure, RequestSharpen
from lotus2_ros.worker.ring import check_image_size
from lotus2_ros.worker.session import Session
from lotus2_ros.worker.supervision import Limits, Status, Supervisor

__all__ = ['WorkerClient', 'WorkerCounters', 'WorkerListener', 'WorkerResult', 'WorkerState']


class WorkerClient:
    """Owns the model's process.

    Frames are given by one thread at a time; everything else may be called from any thread.

    Args:
        settings: what the process loads.
        listener: receives results, states and drops on the client's receiver thread.
        load_timeout_s: loading that takes longer has failed and is tried again.
        frame_timeout_s: a worker that has frames but finishes none for this long is replaced.
        max_restarts: restarts allowed within a minute before the client gives up.
        max_growth_bytes: a worker that has grown by more since it was ready is replaced; 0 is any.
        streams: how many cameras share the model; they take turns.
    """

    def __init__(
        self,
        settings: ModelSettings,
        *,
        listener: WorkerListener,
        load_timeout_s: float,
        frame_timeout_s: float,
        max_restarts: int,
        max_growth_bytes: int = 0,
        streams: int = 1,
    ) -> None:
        self._settings = settings
        self._streams = streams
        self._listener = listener
        self._limits = Limits(load_timeout_s, frame_timeout_s, max_restarts, max_growth_bytes)
        defaults = NodeSettings()
        self._sharpening = Configure(defaults.sharpen_rate_hz, defaults.sharpen_steps)
        self._life = threading.Lock()
        self._supervisor: Supervisor | None = None
        self._last_counters = WorkerCounters()
        self._last_status = Status()
        self._begun: tuple[Session, tuple[int, int]] | None = None

    def start(self) -> None:
        """Start the process and return at once; it loads in the background.

        Raises:
            WorkerError: it is running already, or has failed and was not stopped.
        """
        with self._life:
            if self._supervisor is not None:
                raise WorkerError(f'the worker cannot be started: it is {self.state}')
            supervisor = Supervisor(
                self._settings, self._listener, self._limits, self._sharpening, self._streams
            )
            # Set first: the listener may look at the client from its first callback on.
            self._supervisor = supervisor
            try:
                supervisor.start()
            except BaseException:
                self._supervisor = None
                raise

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the process, the receiver thread and all shared memory; idempotent, in any state.

        Raises:
            WorkerError: called from a listener's callback, or a callback did not return in time
                (the process is gone even then).
        """
        supervisor = self._supervisor
        if supervisor is None:
            return
        supervisor.stop(timeout_s)
        with self._life:
            if self._supervisor is supervisor:
                self._supervisor = None
                self._begun = None
                self._last_counters = supervisor.tally.counters
                self._last_status = supervisor.status

    def begin_frame(self, height: int, width: int, stream: int = 0) -> UInt8Array | None:
        """Shared memory to decode the next image straight into.

        Beginning again without `commit_frame` gives up the frame begun before.

        Args:
            height: of the image, px.
            width: of the image, px.
            stream: which camera's it is, from 0.

        Returns:
            (height, width, 3) uint8 RGB, of undefined content, or None (counted as refused) while
            the worker is not ready, or busy with others of this stream: do not decode at all then.

        Raises:
            ImageError: a size of zero or beyond all reason.
            WorkerError: there is no such stream.
        """
        check_image_size(height, width)
        if not 0 <= stream < self._streams:
            raise WorkerError(f'stream {stream} of a frame: there are {self._streams}, from 0')
        self._begun = None
        supervisor = self._supervisor
        session = supervisor.session if supervisor is not None else None
        view = session.begin_frame(height, width, stream) if session is not None else None
        if supervisor is not None and view is None:
            supervisor.tally.add('refused')
        if session is not None and view is not None:
            self._begun = session, (height, width)
        return view

    def commit_frame(
        self,
        *,
        tasks: tuple[str, ...],
        sharp_tasks: tuple[str, ...] = (),
        max_side: int = 0,
        output_size: tuple[int, int] | None = None,
        search: EdgeSearch | None = None,
        context: Any = None,
    ) -> bool:
        """Send the frame begun last; it replaces one of its stream that still waits.

        Args:
            tasks: wanted in the core result, a subset of the loaded tasks.
            sharp_tasks: wanted in a sharpened result, if this frame is sharpened.
            max_side: longest side in pixels the model sees; 0 is the model's own limit.
            output_size: (height, width) of the results, at most the image's; None is the image's.
            search: for pixels that fly, in the core's disparity; its numbers are finite. None is
                none.
            context: any object; handed back with the results of this frame.

        Returns:
            False if the worker was lost meanwhile: the frame is refused, `context` is not reported.

        Raises:
            WorkerError: no frame was begun.
            SettingsError: a task is unknown or not loaded.
            ImageError: output_size is larger than the image.
        """
        begun, self._begun = self._begun, None
        if begun is None:
            raise WorkerError('commit_frame without a frame begun by begin_frame')
        session, (height, width) = begun
        unknown = [name for name in (*tasks, *sharp_tasks) if name not in self._settings.tasks]
        if unknown or not tasks + sharp_tasks:
            raise SettingsError(
                f'tasks {list(tasks)} and sharp_tasks {list(sharp_tasks)}: name at least one, of'
                f' those loaded: {", ".join(self._settings.tasks)}'
            )
        if output_size is not None:
            check_image_size(*output_size)
            if output_size[0] * output_size[1] > height * width:
                raise ImageError(
                    f'output of {output_size[1]}x{output_size[0]} is larger than the image of'
                    f' {width}x{height}'
                )
        return session.commit_frame(
            tasks=tasks,
            sharp_tasks=sharp_tasks,
            max_side=max_side,
            output_size=output_size,
            search=search,
            context=context,
        )

    def submit(
        self,
        rgb: UInt8Array,
        *,
        tasks: tuple[str, ...],
        sharp_tasks: tuple[str, ...] = (),
        max_side: int = 0,
        output_size: tuple[int, int] | None = None,
        stream: int = 0,
        search: EdgeSearch | None = None,
        context: Any = None,
    ) -> bool:
        """Copy `rgb` (H, W, 3) uint8 into shared memory and send it.

        See `begin_frame` and `commit_frame`.

        Returns:
            False if the frame was refused.

        Raises:
            ImageError: not a uint8 image of three channels.
        """
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise ImageError(f'image of shape {rgb.shape} {rgb.dtype}; wanted (H, W, 3) uint8')
        view = self.begin_frame(rgb.shape[0], rgb.shape[1], stream)
        if view is None:
            return False
        np.copyto(view, rgb)
        return self.commit_frame(
            tasks=tasks,
            sharp_tasks=sharp_tasks,
            max_side=max_side,
            output_size=output_size,
            search=search,
            context=context,
        )

    def configure(self, *, sharpen_rate_hz: float, sharpen_steps: int) -> None:
        """Set how often frames are sharpened (0: on request only) and with how many steps.

        Kept over restarts of the worker; may be called in any state.
        """
        sharpening = Configure(float(sharpen_rate_hz), sharpen_steps)
        with self._life:
            self._sharpening = sharpening
            if self._supervisor is not None:
                self._supervisor.configure(sharpening)

    def request_sharpen(self) -> bool:
        """Ask for a sharpened result of the next possible frame; False unless ready."""
        supervisor = self._supervisor
        session = supervisor.session if supervisor is not None else None
        return session is not None and session.send_if_alive(RequestSharpen())

    @property
    def state(self) -> WorkerState:
        """Where the worker is in its life."""
        return self._status.state

    @property
    def reason(self) -> str:
        """Why the worker is recovering or has failed; empty otherwise."""
        return self._status.reason

    @property
    def info(self) -> dict[str, Any]:
        """The predictor's description (model, device, precision, memory...); empty until ready."""
        return dict(self._status.info)

    @property
    def progress(self) -> tuple[str, float]:
        """Stage of loading and its fraction from 0 to 1."""
        return self._status.stage, self._status.fraction

    @property
    def pid(self) -> int | None:
        """Process id of the worker, None while there is none."""
        return self._status.pid

    @property
    def restarts(self) -> int:
        """How often the worker was replaced since `start`."""
        return self._status.restarts

    @property
    def counters(self) -> WorkerCounters:
        """What happened since `start`."""
        supervisor = self._supervisor
        return self._last_counters if supervisor is None else supervisor.tally.counters

    @property
    def _status(self) -> Status:
        supervisor = self._supervisor
        return self._last_status if supervisor is None else supervisor.status
