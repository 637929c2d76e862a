"""The node's side of the model's process: submit frames, get results, survive its death.

No torch here, nor in anything this imports.
"""

from __future__ import annotations

from typing import Any

from lotus2_ros.settings import ModelSettings
from lotus2_ros.types import UInt8Array
from lotus2_ros.worker.listener import (
    WorkerCounters,
    WorkerListener,
    WorkerResult,
    WorkerState,
)

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
    """

    def __init__(
        self,
        settings: ModelSettings,
        *,
        listener: WorkerListener,
        load_timeout_s: float,
        frame_timeout_s: float,
        max_restarts: int,
    ) -> None:
        raise NotImplementedError

    def start(self) -> None:
        """Start the process and return at once; it loads in the background.

        Raises:
            WorkerError: it is running already, or has failed and was not stopped.
        """
        raise NotImplementedError

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the process, the receiver thread and all shared memory; idempotent, in any state.

        Raises:
            WorkerError: called from a listener's callback, or a callback did not return in time
                (the process is gone even then).
        """
        raise NotImplementedError

    def begin_frame(self, height: int, width: int) -> UInt8Array | None:
        """Shared memory to decode the next image straight into.

        Beginning again without `commit_frame` gives up the frame begun before.

        Returns:
            (height, width, 3) uint8 RGB, of undefined content, or None (counted as refused) while
            the worker is not ready: do not decode at all then.

        Raises:
            ImageError: a size of zero or beyond all reason.
        """
        raise NotImplementedError

    def commit_frame(
        self,
        *,
        tasks: tuple[str, ...],
        sharp_tasks: tuple[str, ...] = (),
        max_side: int = 0,
        output_size: tuple[int, int] | None = None,
        context: Any = None,
    ) -> bool:
        """Send the frame begun last; a newer frame replaces one that still waits.

        Args:
            tasks: wanted in the core result, a subset of the loaded tasks.
            sharp_tasks: wanted in a sharpened result, if this frame is sharpened.
            max_side: longest side in pixels the model sees; 0 is the model's own limit.
            output_size: (height, width) of the results, at most the image's; None is the image's.
            context: any object; handed back with the results of this frame.

        Returns:
            False if the worker was lost meanwhile: the frame is refused, `context` is not reported.

        Raises:
            WorkerError: no frame was begun.
            SettingsError: a task is unknown or not loaded.
            ImageError: output_size is larger than the image.
        """
        raise NotImplementedError

    def submit(
        self,
        rgb: UInt8Array,
        *,
        tasks: tuple[str, ...],
        sharp_tasks: tuple[str, ...] = (),
        max_side: int = 0,
        output_size: tuple[int, int] | None = None,
        context: Any = None,
    ) -> bool:
        """Copy `rgb` (H, W, 3) uint8 into shared memory and send it; see `commit_frame`.

        Returns:
            False if the frame was refused.

        Raises:
            ImageError: not a uint8 image of three channels.
        """
        raise NotImplementedError

    def configure(self, *, sharpen_rate_hz: float, sharpen_steps: int) -> None:
        """Set how often frames are sharpened (0: on request only) and with how many steps.

        Kept over restarts of the worker; may be called in any state.
        """
        raise NotImplementedError

    def request_sharpen(self) -> bool:
        """Ask for a sharpened result of the next possible frame; False unless ready."""
        raise NotImplementedError

    @property
    def state(self) -> WorkerState:
        """Where the worker is in its life."""
        raise NotImplementedError

    @property
    def reason(self) -> str:
        """Why the worker is recovering or has failed; empty otherwise."""
        raise NotImplementedError

    @property
    def info(self) -> dict[str, Any]:
        """The predictor's description (model, device, precision, memory...); empty until ready."""
        raise NotImplementedError

    @property
    def progress(self) -> tuple[str, float]:
        """Stage of loading and its fraction from 0 to 1."""
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """Process id of the worker, None while there is none."""
        raise NotImplementedError

    @property
    def restarts(self) -> int:
        """How often the worker was replaced since `start`."""
        raise NotImplementedError

    @property
    def counters(self) -> WorkerCounters:
        """What happened since `start`."""
        raise NotImplementedError
