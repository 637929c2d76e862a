"""How long each stage took, without making the device wait for the host at every stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Times of one image, on one device or on several."""

    def of(self, part: Any) -> StageClock:
        """The clock of the stages on one device."""


class StageClock:
    """Adds up time by stage: host time on a CPU, time on the stream on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._spans: list[tuple[str, Callable[[], float]]] = []

    def of(self, part: Any) -> StageClock:  # noqa: ARG002 (there is only one)
        """See `Clock`: itself."""
        return self

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a with block; blocks of one name add up. A block that fails is not counted."""
        if self._device.type == 'cuda':
            stream = torch.cuda.current_stream(self._device)
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record(stream)
            yield
            end.record(stream)

            def seconds() -> float:
                end.synchronize()
                return float(start.elapsed_time(end)) / 1e3

            self._spans.append((name, seconds))
        else:
            began = time.perf_counter()
            yield
            took = time.perf_counter() - began
            self._spans.append((name, lambda: took))

    def add(self, name: str, seconds: float) -> None:
        """Count time that was measured elsewhere."""
        self._spans.append((name, lambda: seconds))

    def seconds(self) -> dict[str, float]:
        """Stage name to seconds; waits for the device to reach the end of the last stage."""
        totals: dict[str, float] = {}
        for name, seconds in self._spans:
            totals[name] = totals.get(name, 0.0) + seconds()
        return totals
