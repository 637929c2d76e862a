"""From a worker's result to published messages, on the worker client's receiver thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from lotus2_ros.geometry.scale.estimate import NoScale
from lotus2_ros.ros import frame_timings, plan
from lotus2_ros.ros.monitor import Monitor
from lotus2_ros.ros.outputs import OutputSet
from lotus2_ros.ros.problems import ProblemLog
from lotus2_ros.ros.products import Frame, Products
from lotus2_ros.ros.scale import ScaleKeeper
from lotus2_ros.worker.client import WorkerResult


class Delivery:
    """Takes what a worker client says about the images of one camera.

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
        self.output_size: tuple[int, int] | None = None

    def on_result(self, result: WorkerResult) -> None:
        """Publish what was planned for this frame, under the stamp of its image."""
        start = time.monotonic()
        frame: Frame = result.context
        if frame.epoch != self._epoch():
            self._monitor.count('overtaken by a restart')
            return
        for values in (result.disparity, result.normals):
            if values is not None and not np.isfinite(values).all():
                self._monitor.count('model output not finite')
                self._report('the model gave values that are not finite')
                return
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
        products = Products(frame, scaled.disparity, result.normals, scaled.scale, mounted)
        sent, publishing = outputs.publish(products.messages(topics))
        self._monitor.pixels(products.pixels())
        for topic in products.empty:
            self._monitor.count(f'nothing valid in {topic}')
        if not sent and topics:
            return
        end = time.monotonic()
        kind = 'sharp ' if result.sharp else ''
        self._monitor.event(f'{kind}result')
        self._monitor.durations(
            [
                *((f'{kind}model {stage}', seconds) for stage, seconds in result.timings.items()),
                (f'{kind}messages', end - start - publishing),
                (f'{kind}publish', publishing),
                (f'{kind}total', end - frame.received),
            ]
        )
        stages = {
            frame_timings.INTAKE: start - frame.received - result.timings[frame_timings.TOTAL],
            **result.timings,
            frame_timings.MESSAGES: end - start - publishing,
            frame_timings.PUBLISH: publishing,
        }
        self._timed(frame, stages, result.sharp)

    def on_dropped(self, context: Any, cause: str) -> None:  # noqa: ARG002 (the listener's shape)
        """Count it: a newer image replaced this one, or the worker was lost."""
        self._monitor.count(cause)

    def on_frame_error(self, context: Any, message: str) -> None:  # noqa: ARG002
        """Count and log it; the worker lives on."""
        self._monitor.count('frame failed')
        self._report(f'the model cannot work on this image: {message}')

    def _report(self, text: str) -> None:
        self._monitor.model_problem(text)
        self._problems.report(text)
