"""Counts, rates, latencies and the latest input problem; written by two threads, read by one."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

_RATE_WINDOW_S = 5.0
_DURATIONS_KEPT = 200


@dataclass(frozen=True)
class Measurements:
    """What a `Monitor` has seen, at one moment.

    Attributes:
        rates: event name to Hz over the last seconds.
        ages: event name to seconds since it last happened; absent if it never did.
        latencies: stage name to (median, 95th percentile) in seconds.
        counts: cause to how often, of drops and other incidents.
        pixels: cause to how many pixels were left out so far, and their share of the last image.
        problem: what is wrong with the images right now, empty if nothing.
        remedy: what to do about it, where that is known.
        problem_age: seconds since `problem` began.
    """

    rates: dict[str, float] = field(default_factory=dict)
    ages: dict[str, float] = field(default_factory=dict)
    latencies: dict[str, tuple[float, float]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    pixels: dict[str, tuple[int, float]] = field(default_factory=dict)
    problem: str = ''
    remedy: str = ''
    problem_age: float = 0.0


class Monitor:
    """Thread-safe bookkeeping of one run of the node, on the steady clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._events: dict[str, deque[float]] = {}
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._durations: dict[str, deque[float]] = {}
        self._counts: Counter[str] = Counter()
        self._pixels: dict[str, tuple[int, float]] = {}
        self._problems: dict[str, tuple[str, str, float]] = {}

    def event(self, name: str) -> None:
        """Something that has a rate happened: an image came, a result went out."""
        now = self._clock()
        with self._lock:
            times = self._events.setdefault(name, deque())
            times.append(now)
            _forget(times, now)
            self._first.setdefault(name, now)
            self._last[name] = now

    def count(self, cause: str) -> None:
        """A frame was dropped, or another incident worth counting happened."""
        with self._lock:
            self._counts[cause] += 1

    def pixels(self, left_out: Mapping[str, tuple[int, float]]) -> None:
        """Add the pixels of one image that were left out, by cause: number and share."""
        with self._lock:
            for cause, (number, share) in left_out.items():
                self._pixels[cause] = (self._pixels.get(cause, (0, 0.0))[0] + number, share)

    def durations(self, stages: Iterable[tuple[str, float]]) -> None:
        """Add the seconds that stages took."""
        with self._lock:
            for stage, seconds in stages:
                self._durations.setdefault(stage, deque(maxlen=_DURATIONS_KEPT)).append(seconds)

    def input_problem(self, text: str, remedy: str = '') -> None:
        """The latest image could not be used, or (empty text) it could."""
        self._set_problem('input', text, remedy)

    def model_problem(self, text: str) -> None:
        """The model could not work on the latest image, or (empty text) it could."""
        self._set_problem('model', text)

    def _set_problem(self, source: str, text: str, remedy: str = '') -> None:
        now = self._clock()
        with self._lock:
            if text:
                since = self._problems.get(source, (text, remedy, now))[2]
                self._problems[source] = (text, remedy, since)
            else:
                self._problems.pop(source, None)

    def snapshot(self) -> Measurements:
        """Everything, as of now."""
        now = self._clock()
        with self._lock:
            problem, remedy, since = min(
                self._problems.values(), key=lambda p: p[2], default=('', '', now)
            )
            for times in self._events.values():
                _forget(times, now)
            return Measurements(
                rates={name: self._rate(name, now) for name in self._events},
                ages={name: now - at for name, at in self._last.items()},
                latencies={name: _percentiles(d) for name, d in self._durations.items()},
                counts=dict(self._counts),
                pixels=dict(self._pixels),
                problem=problem,
                remedy=remedy,
                problem_age=now - since,
            )

    def _rate(self, name: str, now: float) -> float:
        # Young events have not had the whole window to happen in.
        window = min(_RATE_WINDOW_S, max(now - self._first[name], 0.5))
        return len(self._events[name]) / window


def _forget(times: deque[float], now: float) -> None:
    while times and now - times[0] > _RATE_WINDOW_S:
        times.popleft()


def _percentiles(durations: deque[float]) -> tuple[float, float]:
    median, high = np.percentile(np.fromiter(durations, float), [50, 95])
    return float(median), float(high)
