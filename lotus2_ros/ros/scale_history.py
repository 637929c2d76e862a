"""The last few predictions, so that a reference that comes late finds the image it belongs to."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.geometry.scale.steady import SteadyMap
from lotus2_ros.geometry.scale.transition import UNCHANGED, NoTransition, Transition
from lotus2_ros.ros.products import Frame
from lotus2_ros.types import Float32Array, UInt8Array

KEPT = 8


@dataclass(eq=False)
class Predicted:
    """One frame's prediction.

    Attributes:
        stamp: of the image [ns].
        frame: the image's context.
        disparity: (H, W) float32 as predicted.
        picture: (h, w) grey, or None.
        transition: from the prediction before to this one.
        steady: what makes the disparity steady.
        a: scale that was found for this frame [1/m]; NaN without metres.
        b: its shift [1/m].
    """

    stamp: int
    frame: Frame
    disparity: Float32Array
    picture: UInt8Array | None
    transition: Transition | NoTransition
    steady: SteadyMap
    a: float = float('nan')
    b: float = float('nan')


class FramesUnderWay:
    """Frames that the model has and that have no prediction yet; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frames: set[Frame] = set()

    def add(self, frame: Frame) -> None:
        """Another one."""
        with self._lock:
            self._frames.add(frame)

    def remove(self, frame: Frame) -> None:
        """It is under way no longer, if it was."""
        with self._lock:
            self._frames.discard(frame)

    @property
    def only(self) -> Frame | None:
        """The one there is; None where there are none or several."""
        with self._lock:
            return next(iter(self._frames)) if len(self._frames) == 1 else None


class PredictionHistory:
    """Predictions in the order of their stamps."""

    def __init__(self) -> None:
        self._entries: deque[Predicted] = deque(maxlen=KEPT)

    def clear(self) -> None:
        """Forget them all."""
        self._entries.clear()

    def add(self, entry: Predicted) -> None:
        """A new one, later than all others."""
        self._entries.append(entry)

    @property
    def newest(self) -> Predicted | None:
        """The last one."""
        return self._entries[-1] if self._entries else None

    def at(self, stamp: int) -> Predicted | None:
        """The one with exactly this stamp."""
        return next((entry for entry in self._entries if entry.stamp == stamp), None)

    def nearest(self, stamp: int) -> Predicted | None:
        """The one whose stamp is nearest."""
        return min(self._entries, key=lambda entry: abs(entry.stamp - stamp), default=None)

    def earlier(self) -> list[Predicted]:
        """All but the newest, the latest first."""
        return list(self._entries)[-2::-1]

    def carried(self, estimate: ScaleEstimate, entry: Predicted) -> ScaleEstimate | NoScale:
        """An estimate for an older prediction as one for the newest.

        Returns:
            The estimate; or 'picture changed since the reference'.
        """
        entries = list(self._entries)
        way = UNCHANGED
        for later in entries[entries.index(entry) + 1 :]:
            if isinstance(later.transition, NoTransition):
                return NoScale('picture changed since the reference')
            way = way.then(later.transition)
        return estimate if way is UNCHANGED else way.carried(estimate)
