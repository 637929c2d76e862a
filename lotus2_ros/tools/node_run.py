"""One run of camera, node and receiver: waits for what the node does, and times phases of it."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from lotus2_ros.errors import WorkerError
from lotus2_ros.ros import plan
from lotus2_ros.tools.node_figures import phase_figures
from lotus2_ros.tools.processes import Process

if TYPE_CHECKING:
    from lotus2_ros.ros.latency_listener import LatencyListener

_DISCOVERY_S = 30.0
"""How long outputs may take to be heard of after the first depth."""

_LATE_S = 3.0
"""How long after a phase its last results may come."""

_SHARP_S = 120.0
"""How long the first sharpened result may take."""

_POLL_S = 0.05


class Stop:
    """Ctrl-C and SIGTERM unwind once, so that the processes are ended, undisturbed by a second.

    Attributes:
        asked: whether one has come. Where Python drops what a handler raises (while it forks),
            this is what is left of it.
    """

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if not self.asked:
            self.asked = True
            raise KeyboardInterrupt


class NodeRun:
    """Waits for what the node does, with progress, while its processes live."""

    def __init__(
        self,
        listener: LatencyListener,
        processes: tuple[Process, ...],
        load_timeout_s: float,
        stop: Stop,
    ) -> None:
        self.listener = listener
        self._processes = processes
        self._load_timeout_s = load_timeout_s
        self._stop = stop

    def first_depth(self, started: int, said: str) -> float:
        """Seconds from `started` [ns] to the first depth received."""
        self._wait(
            lambda: bool(self.listener.recording().arrivals[plan.DEPTH_IMAGE]),
            self._load_timeout_s, said, 'no depth',
        )  # fmt: skip
        return (self.listener.recording().arrivals[plan.DEPTH_IMAGE][0].received - started) / 1e9

    def heard(self, topics: Sequence[str]) -> None:
        """Until every output has come once; some seconds without those that do not."""
        awaited = {topic for topic in topics if topic not in plan.MAY_BE_SILENT}
        end = time.monotonic() + _DISCOVERY_S

        def all_came() -> bool:
            arrivals = self.listener.recording().arrivals
            return all(arrivals[topic] for topic in awaited) or time.monotonic() > end

        self._wait(all_came, 2 * _DISCOVERY_S, 'waiting for all outputs', 'not all outputs')

    def sharpened(self) -> None:
        """Until a sharpened result has come."""
        self._wait(
            lambda: bool(self.listener.recording().sharp),
            _SHARP_S, 'waiting for the first sharpened result', 'no sharpened result',
        )  # fmt: skip

    def phase(self, name: str, warmup: float, duration: float) -> dict[str, Any]:
        """Figures of the images of the next `duration` seconds after the warm-up."""
        self._pass(warmup, f'{name}: warming up')
        self.listener.restart()
        begin = time.time_ns()
        self._pass(duration, name)
        end = time.time_ns()
        self._pass(_LATE_S, f'{name}: waiting for what is late')
        figures = phase_figures(self.listener.recording(), begin=begin, end=end)
        if not figures['images']:
            raise WorkerError(f'{name}: no image came from the camera; see {self._logs()}')
        if figures['core'] is None:
            raise WorkerError(
                f'{name}: the node worked on none of {figures["images"]} images (it said:'
                f' {self.listener.state}); give a longer --duration or a lower --max-side'
            )
        return {'name': name, **figures}

    def _pass(self, seconds: float, said: str) -> None:
        end = time.monotonic() + seconds
        self._wait(lambda: time.monotonic() >= end, 2 * seconds + 60, said, said)

    def _wait(self, done: Callable[[], bool], limit: float, said: str, lacking: str) -> None:
        """Poll, with a line of progress now and then.

        Raises:
            WorkerError: a process has ended, the node has given up, or the limit is over.
        """
        start = time.monotonic()
        shown, shown_at = '', start
        print(f'{said} ...', file=sys.stderr, flush=True)
        while not done():
            self._check()
            now = time.monotonic()
            if now - start > limit:
                raise WorkerError(
                    f'{lacking} within {limit:g} s; the node said last: {self.listener.state}\n'
                    + self._logs()
                )
            state = self.listener.state
            if (state and state != shown) or now - shown_at > 5:
                shown, shown_at = state, now
                depth = len(self.listener.recording().core)
                print(
                    f'  {now - start:5.1f} s, {depth} results; {state or "nothing heard yet"}',
                    file=sys.stderr, flush=True,
                )  # fmt: skip
            time.sleep(_POLL_S)

    def _check(self) -> None:
        if self._stop.asked:
            raise KeyboardInterrupt
        for process in self._processes:
            process.check()
        if self.listener.fault:
            raise WorkerError(f'depth_node has given up: {self.listener.fault}\n{self._logs()}')
        if self.listener.failure:
            raise WorkerError(f'receiving failed: {self.listener.failure}')

    def _logs(self) -> str:
        return '\n'.join(f'--- end of {p.log} ---\n{p.tail()}' for p in self._processes)
