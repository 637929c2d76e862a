"""A listener that keeps everything it is told, and waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lotus2_ros.settings import ModelSettings
from lotus2_ros.types import BoolArray, Float32Array
from lotus2_ros.worker.client import WorkerClient, WorkerResult, WorkerState


def ignore(_: WorkerResult) -> None:
    pass


@dataclass
class Kept:
    """A copy of a result."""

    disparity: Float32Array | None
    normals: Float32Array | None
    flying: BoolArray | None
    sharp: bool
    sharpen_steps: int
    timings: dict[str, float]
    context: Any


@dataclass
class Recorder:
    """Copies results, notes the rest."""

    results: list[Kept] = field(default_factory=list)
    states: list[tuple[WorkerState, str]] = field(default_factory=list)
    dropped: list[tuple[Any, str]] = field(default_factory=list)
    errors: list[tuple[Any, str]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)
    during_result: Callable[[WorkerResult], None] = ignore

    def on_result(self, result: WorkerResult) -> None:
        self.during_result(result)
        kept = Kept(
            None if result.disparity is None else result.disparity.copy(),
            None if result.normals is None else result.normals.copy(),
            None if result.flying is None else result.flying.copy(),
            result.sharp,
            result.sharpen_steps,
            result.timings,
            result.context,
        )
        self._note(self.results, kept)

    def on_state(self, state: WorkerState, reason: str) -> None:
        self._note(self.states, (state, reason))

    def on_dropped(self, context: Any, cause: str) -> None:
        self._note(self.dropped, (context, cause))

    def on_frame_error(self, context: Any, message: str) -> None:
        self._note(self.errors, (context, message))

    def _note(self, where: list[Any], what: Any) -> None:
        with self.changed:
            where.append(what)
            self.threads.add(threading.get_ident())
            self.changed.notify_all()

    def wait(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, timeout_s), self

    def wait_state(self, wanted: WorkerState, timeout_s: float = 90.0) -> None:
        self.wait(lambda: bool(self.states) and self.states[-1][0] == wanted, timeout_s)

    def core(self) -> list[Kept]:
        return [r for r in self.results if not r.sharp]

    def sharp(self) -> list[Kept]:
        return [r for r in self.results if r.sharp]

    def outcomes(self) -> list[Any]:
        """Contexts of all frames that came to an end."""
        ends = [*(r.context for r in self.core()), *(c for c, _ in self.dropped + self.errors)]
        return sorted(ends)

    def forget(self) -> None:
        with self.changed:
            for kept in (self.results, self.states, self.dropped, self.errors):
                kept.clear()
        self.during_result = ignore


def make_client(settings: ModelSettings, recorder: Recorder, **limits: Any) -> WorkerClient:
    defaults = {'load_timeout_s': 60.0, 'frame_timeout_s': 20.0, 'max_restarts': 5}
    return WorkerClient(settings, listener=recorder, **{**defaults, **limits})


def wait_gone(pid: int, timeout_s: float = 2.0) -> bool:
    """True if no process of that id is left within the time; a zombie counts as gone."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            with open(f'/proc/{pid}/stat') as stat:  # noqa: PTH123
                if stat.read().rpartition(')')[2].split()[0] == 'Z':
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def settle(client: WorkerClient, quiet_s: float = 0.3) -> None:
    """Wait until nothing has come from the worker for a while."""
    last, since = client.counters, time.monotonic()
    while time.monotonic() - since < quiet_s:
        time.sleep(0.02)
        if client.counters != last:
            last, since = client.counters, time.monotonic()
