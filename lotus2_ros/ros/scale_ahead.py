"""A thread that prepares a frame's scale while the model works."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lotus2_ros.closing import Closing
from lotus2_ros.ros.lanes import Lane

_AGAIN_S = 0.005
"""References, odometry and transforms come within tens of milliseconds of their image; nothing else
tells of a transform that has come [s]."""


class Ahead(Closing):
    """Prepares, when woken, until nothing is left to be prepared.

    A thread of its own: it takes milliseconds, in which the executor's thread is to take the next
    image, and the receiver's the result.

    Args:
        prepare: does what can be done now; False if it is worth asking again soon.
        failed: takes what it has raised; the thread goes on.
    """

    def __init__(self, prepare: Callable[[], bool], failed: Callable[[Exception], None]) -> None:
        self._prepare = prepare
        self._closed = threading.Event()
        self._lane = Lane('lotus2-ahead', failed)

    def wake(self) -> None:
        """There may be something to prepare."""
        self._lane.put('frame', self._work, lambda: None)

    def close(self) -> None:
        """End the thread; what is prepared is prepared to its end."""
        self._closed.set()
        self._lane.close()

    def _work(self) -> None:
        while not self._prepare() and not self._closed.wait(_AGAIN_S):
            pass
