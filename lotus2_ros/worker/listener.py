"""What the client of the model's process reports, and to whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lotus2_ros.types import BoolArray, Float32Array

WorkerState = Literal['stopped', 'loading', 'ready', 'recovering', 'failed']
"""stopped: no process, start() is allowed. loading: first load. ready: frames are accepted.
recovering: the process was lost and is being replaced. failed: given up, see the reason; stop()
leads back to stopped."""


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """One result of the model, valid only until the listener's callback returns.

    Attributes:
        disparity: (H, W) float32 in shared memory, read-only, see `Prediction.disparity`; None if
            the task was not asked for. Copy what must outlive the callback.
        normals: (H, W, 3) float32 in shared memory, read-only, see `Prediction.normals`, or None.
        flying: (H, W) bool in shared memory, read-only, see `Prediction.flying`, or None.
        sharp: True for a sharpened result; its frame had a core result before.
        sharpen_steps: rectified-flow steps behind it; 0 for a core result.
        timings: stage name to seconds: the model's own stages, 'model' (their sum), 'worker' (frame
            taken to result sent, core results only), 'total' (commit_frame to this callback).
        context: the object given to `commit_frame`, the same for core and sharp result of a frame.
    """

    disparity: Float32Array | None
    normals: Float32Array | None
    flying: BoolArray | None
    sharp: bool
    sharpen_steps: int
    timings: dict[str, float]
    context: Any


class WorkerListener(Protocol):
    """Receives everything the worker reports, always on the client's one receiver thread.

    While a callback runs, nothing else is received: a slow listener slows the model, never loses
    memory. An exception is logged with its traceback and goes no further. `WorkerClient.stop` must
    not be called from here.
    """

    def on_result(self, result: WorkerResult) -> None:
        """A core or sharpened result."""

    def on_state(self, state: WorkerState, reason: str) -> None:
        """The state changed; `reason` says why for recovering and failed, else it is empty."""

    def on_dropped(self, context: Any, cause: str) -> None:
        """A committed frame will have no result.

        `cause` is 'replaced' (a newer frame came first), 'worker lost' or 'stopped'.
        """

    def on_frame_error(self, context: Any, message: str) -> None:
        """A frame, or its sharpening, failed with `message`; the worker lives on."""


@dataclass(frozen=True, slots=True)
class WorkerCounters:
    """What happened since `start`, for diagnostics.

    Attributes:
        accepted: frames committed.
        refused: frames not taken because the worker was not ready or no slot was free.
        replaced: committed frames that a newer one replaced before the model saw them.
        results: core results delivered.
        sharp_results: sharpened results delivered.
        errors: frames, or their sharpening, that failed.
        lost: committed frames lost with their worker.
    """

    accepted: int = 0
    refused: int = 0
    replaced: int = 0
    results: int = 0
    sharp_results: int = 0
    errors: int = 0
    lost: int = 0
