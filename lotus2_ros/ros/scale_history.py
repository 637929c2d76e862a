"""The last few predictions, so that a reference that comes late finds the image it belongs to."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.geometry.scale.steady import SteadyMap
from lotus2_ros.geometry.scale.transition import UNCHANGED, NoTransition, Transition
from lotus2_ros.ros.products import Frame
from lotus2_ros.types import Float32Array, UInt8Array

KEPT = 8


@dataclass(eq=False)
class Taken:
    """An image that the model has, or had.

    Attributes:
        stamp: of the image [ns].
        frame: the image's context.
    """

    stamp: int
    frame: Frame

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of the prediction; None if nobody knows yet."""
        return self.frame.size

    @property
    def intrinsics(self) -> Intrinsics | NoScale:
        """Camera of the prediction; or 'no CameraInfo'."""
        if self.frame.camera is None or self.size is None:
            return NoScale('no CameraInfo')
        height, width = self.size
        return self.frame.camera.intrinsics.scaled(width, height)


@dataclass(eq=False)
class Predicted(Taken):
    """One frame's prediction.

    Attributes:
        disparity: (H, W) float32 as predicted.
        picture: (h, w) grey, or None.
        transition: from the prediction before to this one.
        steady: what makes the disparity steady.
        a: scale that was found for this frame [1/m]; NaN without metres.
        b: its shift [1/m].
    """

    disparity: Float32Array
    picture: UInt8Array | None
    transition: Transition | NoTransition
    steady: SteadyMap
    a: float = float('nan')
    b: float = float('nan')

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the prediction."""
        return self.disparity.shape[0], self.disparity.shape[1]


class FramesUnderWay:
    """Images that the model has and that have no prediction yet; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._images: dict[Frame, Taken] = {}
        self._answering = 0

    def __len__(self) -> int:
        """Number of them."""
        with self._lock:
            return len(self._images)

    def add(self, image: Taken) -> None:
        """Another one."""
        with self._lock:
            self._images[image.frame] = image

    def remove(self, frame: Frame) -> None:
        """It is under way no longer, if it was."""
        with self._lock:
            self._images.pop(frame, None)

    @contextmanager
    def answering(self, frame: Frame) -> Iterator[None]:
        """It has a result, which is being worked on."""
        with self._lock:
            self._images.pop(frame, None)
            self._answering += 1
        try:
            yield
        finally:
            with self._lock:
                self._answering -= 1

    def first(self, after: int) -> Taken | None:
        """The one that has come first of those with a stamp after this one [ns].

        None while a result is worked on: the one after it follows a prediction that is not in the
        history yet.
        """
        with self._lock:
            if self._answering:
                return None
            return next((image for image in self._images.values() if image.stamp > after), None)


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

    def all(self) -> list[Predicted]:
        """All of them, the newest last."""
        return list(self._entries)

    def with_coming(self, coming: Taken) -> list[Taken]:
        """All that there will be once another one is predicted."""
        return [*list(self._entries)[1 - KEPT :], coming]

    def earlier(self) -> list[Predicted]:
        """All but the newest, the latest first."""
        return list(self._entries)[-2::-1]

    def carried(
        self, estimate: ScaleEstimate | NoScale, entry: Predicted
    ) -> ScaleEstimate | NoScale:
        """An estimate for an older prediction as one for the newest.

        Returns:
            The estimate; or why there is none, maybe 'picture changed since the reference'.
        """
        if isinstance(estimate, NoScale):
            return estimate
        entries = list(self._entries)
        way = UNCHANGED
        for later in entries[entries.index(entry) + 1 :]:
            if isinstance(later.transition, NoTransition):
                return NoScale('picture changed since the reference')
            way = way.then(later.transition)
        return estimate if way is UNCHANGED else way.carried(estimate)
