"""From a worker's result to published messages: depth at once, the rest beside each other."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

from lotus2_ros.closing import Closing
from lotus2_ros.geometry.scale.estimate import NoScale
from lotus2_ros.ros import frame_timings, plan
from lotus2_ros.ros.edge_search import EdgeSearches
from lotus2_ros.ros.lanes import Lane
from lotus2_ros.ros.monitor import Monitor
from lotus2_ros.ros.outputs import OutputSet
from lotus2_ros.ros.problems import ProblemLog
from lotus2_ros.ros.products import Frame, Products
from lotus2_ros.ros.scale import ScaleKeeper
from lotus2_ros.worker.client import WorkerResult


class Delivery(Closing):
    """Takes what a worker client says about the images of one camera.

    Depth goes out on the receiver's thread at once; the other topics are made on lanes of their
    own, see `plan.LANES`, of the newest frame each.

    Args:
        core: publishers of core results.
        sharp: publishers of sharpened results.
        monitor: counts and times.
        scale: of the frames.
        epoch: gives the current epoch; results of frames of another one are dropped.
        timed: takes a frame, its stages in seconds and whether they are of a sharpened result,
            once all its messages are out.
        log: takes one line about a frame that failed.
    """

    def __init__(
        self,
        *,
        core: OutputSet,
        sharp: OutputSet,
        monitor: Monitor,
        scale: ScaleKeeper,
        epoch: Callable[[], int],
        timed: Callable[[Frame, dict[str, float], bool], None],
        log: Callable[[str], Any],
    ) -> None:
        self._core = core
        self._sharp = sharp
        self._monitor = monitor
        self._scale = scale
        self._epoch = epoch
        self._timed = timed
        self._problems = ProblemLog(log)
        self._lanes = {name: Lane(f'lotus2-{name}', self._lane_failed) for name in plan.LANES}
        self.output_size: tuple[int, int] | None = None
        self.searches = EdgeSearches()

    def on_result(self, result: WorkerResult) -> None:
        """Publish what was planned for this frame, under the stamp of its image."""
        with self._scale.answering(result.context):
            self._deliver(result)

    def _deliver(self, result: WorkerResult) -> None:
        start = time.monotonic()
        frame: Frame = result.context
        if frame.epoch != self._epoch():
            self._monitor.count('overtaken by a restart')
            return
        for values in (result.disparity, result.normals):
            if values is not None:
                self.output_size = (values.shape[1], values.shape[0])
        outputs, topics = (
            (self._sharp, frame.sharp.deliver) if result.sharp else (self._core, frame.core.deliver)
        )
        self._monitor.model_problem('')
        scaled = self._scale.of(frame, result.disparity, result.normals, sharp=result.sharp)
        if scaled.scale.is_missing:
            topics = topics.difference(plan.NEEDS_SCALE)
        mounted = None
        posed = topics & plan.needs_pose(frame.settings)
        if posed:
            found = self._scale.mounting(frame)
            if isinstance(found, NoScale):
                topics = topics.difference(posed)
            else:
                mounted = found
        flying = None
        if not result.sharp and plan.GEOMETRIC.intersection(topics):
            flying = self.searches.usable(result.flying, frame.search, scaled.shift)
        products = Products(frame, scaled.disparity, result.normals, scaled.scale, mounted, flying)
        work = plan.by_lane(topics)
        done = _Outcome(products, topics, result, start, parts=1 + len(work), ended=self._account)
        done.add(0, 0.0, time.monotonic() - start)
        self._publish(outputs, products.messages(topics.intersection(plan.FIRST)), done)
        if work:
            products.keep(topics)
        for lane, share in work.items():
            self._lanes[lane].put(
                done.kind,
                partial(self._publish_late, outputs, share, done),
                partial(self._leave_out, lane, done),
            )
        done.release()

    def close(self) -> None:
        """Make no more messages; returns when none is under way."""
        for lane in self._lanes.values():
            lane.close()

    def _publish(
        self, outputs: OutputSet, messages: Iterator[tuple[str, Any]], done: _Outcome
    ) -> None:
        start = time.monotonic()
        sent, publishing = outputs.publish(messages)
        done.add(sent, publishing, time.monotonic() - start - publishing)

    def _publish_late(self, outputs: OutputSet, topics: Collection[str], done: _Outcome) -> None:
        """Make and publish a lane's share of a frame, on its thread."""
        try:
            if done.products.frame.epoch == self._epoch():
                self._publish(outputs, done.products.messages(topics), done)
        finally:
            done.release()

    def _leave_out(self, lane: str, done: _Outcome) -> None:
        self._monitor.count(f'{lane} topics behind')
        done.release()

    def _lane_failed(self, error: Exception) -> None:
        self._monitor.count('frame failed')
        trace = ''.join(traceback.format_exception(error))
        self._report(f'messages of a frame could not be made: {trace}')

    def _account(self, done: _Outcome) -> None:
        """Tell of a frame all of whose messages are out, or given up; on the last one's thread."""
        products, kind = done.products, done.kind
        self._monitor.pixels(products.pixels())
        for topic in products.empty:
            self._monitor.count(f'nothing valid in {topic}')
        if not done.sent and done.topics:
            return
        frame = products.frame
        self._monitor.event(f'{kind}result')
        self._monitor.durations(
            [
                *((f'{kind}model {stage}', seconds) for stage, seconds in done.timings.items()),
                (f'{kind}messages', done.making_s),
                (f'{kind}publish', done.publishing_s),
                (f'{kind}total', time.monotonic() - frame.received),
            ]
        )
        stages = {
            frame_timings.INTAKE: done.start - frame.received - done.timings[frame_timings.TOTAL],
            **done.timings,
            frame_timings.MESSAGES: done.making_s,
            frame_timings.PUBLISH: done.publishing_s,
        }
        self._timed(frame, stages, bool(kind))

    def on_dropped(self, context: Any, cause: str) -> None:
        """Count it: a newer image replaced this one, or the worker was lost."""
        self._scale.answered(context)
        self._monitor.count(cause)

    def on_frame_error(self, context: Any, message: str) -> None:
        """Count and log it; the worker lives on."""
        self._scale.answered(context)
        self._monitor.count('frame failed')
        self._report(f'the model cannot work on this image: {message}')

    def _report(self, text: str) -> None:
        self._monitor.model_problem(text)
        self._problems.report(text)


class _Outcome:
    """One frame's result, and what several threads together have done with it.

    Args:
        products: its messages.
        topics: all that are to be published of it.
        result: where timings come from; it is not kept.
        start: when it came back, on the steady clock [s].
        parts: how often `release` is called.
        ended: called with this when the last has.

    Attributes:
        kind: before the names of what is counted: 'sharp ' or nothing.
        sent: messages.
        publishing_s: seconds spent publishing, by all threads together.
        making_s: seconds spent making them, likewise.
    """

    def __init__(
        self,
        products: Products,
        topics: Collection[str],
        result: WorkerResult,
        start: float,
        *,
        parts: int,
        ended: Callable[[_Outcome], Any],
    ) -> None:
        self.products, self.topics, self.start = products, topics, start
        self.timings = result.timings
        self.kind = 'sharp ' if result.sharp else ''
        self._lock = threading.Lock()
        self._parts = parts
        self._ended = ended
        self.sent, self.publishing_s, self.making_s = 0, 0.0, 0.0

    def add(self, sent: int, publishing_s: float, making_s: float) -> None:
        """Count some more."""
        with self._lock:
            self.sent += sent
            self.publishing_s += publishing_s
            self.making_s += making_s

    def release(self) -> None:
        """A part has ended, or was given up."""
        with self._lock:
            self._parts -= 1
            over = not self._parts
        if over:
            self._ended(self)
