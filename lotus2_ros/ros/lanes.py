"""Threads on which a frame's messages are made beside each other, newest frame first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lotus2_ros.closing import Closing


@dataclass(frozen=True)
class _Work:
    """What a lane does for one frame, and what is to be done where a newer frame replaces it."""

    run: Callable[[], Any]
    replaced: Callable[[], Any]


class Lane(Closing):
    """One thread, and room for one piece of work of each kind that waits for it.

    Work that has not begun when newer work of its kind comes is given up: what is late is only
    made later by what is later still. Kinds take turns.

    Args:
        name: of the thread.
        failed: takes what work has raised; the lane goes on.
    """

    def __init__(self, name: str, failed: Callable[[Exception], Any]) -> None:
        self._failed = failed
        self._changed = threading.Condition()
        self._waiting: dict[str, _Work] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, kind: str, run: Callable[[], Any], replaced: Callable[[], Any]) -> None:
        """Do this as soon as what is under way is done.

        Args:
            kind: newer work replaces waiting work of its own kind only.
            run: what to do, on the lane's thread.
            replaced: called instead, on the thread that puts the newer work or that closes.
        """
        with self._changed:
            # Put at the end: a kind that comes often does not get before one that comes seldom.
            former = self._waiting.pop(kind, None)
            if not self._closed:
                self._waiting[kind] = _Work(run, replaced)
                self._changed.notify()
            refused = self._closed
        if former is not None:
            former.replaced()
        if refused:
            replaced()

    def close(self) -> None:
        """Give up what waits, and return when what is under way has ended; idempotent."""
        with self._changed:
            self._closed = True
            waiting, self._waiting = list(self._waiting.values()), {}
            self._changed.notify()
        for work in waiting:
            work.replaced()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                work = self._waiting.pop(next(iter(self._waiting)))
            try:
                work.run()
            except Exception as error:
                self._failed(error)
