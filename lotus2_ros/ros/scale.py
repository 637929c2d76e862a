"""The scale of each frame of one camera, from its references or its parameters."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from std_msgs.msg import Header

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.mounting import Mounting
from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.geometry.scale.filter import FilterNoise
from lotus2_ros.geometry.scale.frame_alignment import Carried, FrameAligner
from lotus2_ros.geometry.scale.fusion import fuse
from lotus2_ros.geometry.scale.steady import Steadier, SteadyMap
from lotus2_ros.geometry.scale.tracker import ScaleReport, ScaleTracker
from lotus2_ros.geometry.scale.transition import NoTransition
from lotus2_ros.ros.products import Frame, FrameScale
from lotus2_ros.ros.scale_history import FramesUnderWay, Predicted, PredictionHistory, Taken
from lotus2_ros.ros.scale_readings import stamp_ns
from lotus2_ros.ros.scale_sources import ScaleSources
from lotus2_ros.ros.scaled import Scaled, sharpened, steadied
from lotus2_ros.settings import NodeSettings
from lotus2_ros.settings.scale import SCALE_SOURCES
from lotus2_ros.types import Float32Array

_SECOND = 1e9


class ScaleKeeper:
    """Works on the receiver's thread, and ahead on another; reset and asked from the executor's.

    Args:
        sources: what the scale is estimated from.
        history: that `sources` looks at, too.
        publish: takes the report of each frame and the header of its image.
        count: takes the cause of a reference that gave nothing.
        wake: called when `prepare` may have something to do.
    """

    def __init__(
        self,
        sources: ScaleSources,
        history: PredictionHistory,
        *,
        publish: Callable[[ScaleReport, Header], Any],
        count: Callable[[str], Any],
        wake: Callable[[], Any] = lambda: None,
    ) -> None:
        self._sources = sources
        self._history = history
        self._publish = publish
        self._count = count
        self._wake = wake
        self._lock = threading.Lock()
        self._aligner = FrameAligner()
        self._carried: Carried | None = None
        self._carried_to: Taken | None = None
        self._coming = FramesUnderWay()
        self._steadier = Steadier()
        self._tracker = ScaleTracker()
        self._kept: tuple[object, ...] = ()
        self._shift = math.nan
        self._intrinsics: Intrinsics | None = None
        self._report: ScaleReport | None = None
        self._detail = ''
        self._pose_source = self._pose_problem = ''

    def coming(self, frame: Frame) -> None:
        """A frame goes to the model.

        Args:
            frame: the image's context.
        """
        if frame.settings.references() or frame.settings.steady:
            self._coming.add(Taken(stamp_ns(frame), frame))

    def sent(self) -> None:
        """The model has it: there is time to prepare for it."""
        if len(self._coming):
            self._wake()

    def answered(self, frame: Frame) -> None:
        """It will have no result."""
        self._coming.remove(frame)

    @contextmanager
    def answering(self, frame: Frame) -> Iterator[None]:
        """It has a result, which is being worked on: nothing is prepared beside it.

        Args:
            frame: the image's context.
        """
        try:
            with self._coming.answering(frame):
                yield
        finally:
            self.sent()  # another one may be under way

    def prepare(self) -> bool:
        """Do while the model works what needs no prediction, for the frame that comes next.

        In steps, so that a result waits for one at most, and for one that is done for it.

        Returns:
            False if something is lacking that may still come.
        """
        done = True
        for step in ('frame to frame', *SCALE_SOURCES):
            with self._lock:
                newest = self._history.newest
                coming = self._coming.first(newest.stamp if newest else -1)
                if coming is None:
                    return True
                done &= self._prepare(step, coming)
        return done

    def expected_shift(self, settings: NodeSettings) -> float:
        """The b / a that the next frame's predicted disparity may have; NaN if nothing tells.

        Waits for no frame that is being worked on.
        """
        if settings.references() or settings.steady:
            return self._shift
        return settings.disparity_shift / settings.disparity_scale

    @property
    def report(self) -> ScaleReport | None:
        """Of the last frame; None unless the scale comes from references."""
        with self._lock:
            return self._report

    @property
    def detail(self) -> str:
        """What each source said that gave nothing or contradicts the others; empty if none."""
        with self._lock:
            return self._detail

    @property
    def notes(self) -> dict[str, str]:
        """What people may want to know beyond the report, by what it is about."""
        with self._lock:
            notes = {
                'lidar motion': self._sources.lidar.motion,
                'lidar memory': self._sources.lidar.memory,
                'camera pose': self._pose_source,
            }
            return {name: note for name, note in notes.items() if note}

    @property
    def pose_problem(self) -> str:
        """Why the camera's pose was not known for the last image that needed it; or empty."""
        with self._lock:
            return self._pose_problem

    def mounting(self, frame: Frame) -> Mounting | NoScale:
        """Where the camera was over the ground when the image was taken.

        Args:
            frame: the image's context.
        """
        settings = frame.settings
        found = self._sources.mounting(frame, stamp_ns(frame))
        problem = found.reason if isinstance(found, NoScale) else ''
        if problem:
            self._count(f'camera pose: {problem}')
        source = 'parameters'
        if settings.scale_extrinsics == 'tf':
            source = f'TF, {settings.base_frame} <- {frame.header.frame_id}'
        with self._lock:
            self._pose_problem = problem
            self._pose_source = f'none: {problem}' if problem else source
        return found

    def reset(self, reason: str) -> None:
        """Forget everything that came before."""
        with self._lock:
            self._forget(reason)
            self._sources.clear()

    def of(
        self,
        frame: Frame,
        disparity: Float32Array | None,
        normals: Float32Array | None,
        *,
        sharp: bool,
    ) -> Scaled:
        """The scale of one result, and the disparity that it is for.

        Args:
            frame: the image's context.
            disparity: (H, W) as predicted, or None.
            normals: (H, W, 3) of the same image, or None.
            sharp: a sharpened result; it has the scale of the core result of the same image.
        """
        settings = frame.settings
        known = bool(settings.references()) or settings.steady
        with self._lock:
            if disparity is None or not known:
                self._report = None
                scale = FrameScale.of(settings)
                return Scaled(disparity, scale, scale.b / scale.a)
            stamp = stamp_ns(frame)
            core = self._history.at(stamp) if sharp else None
            if core is not None:
                return sharpened(core, disparity)
            entry = self._next(frame, stamp, disparity)
            scale = FrameScale.of(settings)
            if settings.references():
                scale = self._measure(entry, normals)
            else:
                self._report = None
            scaled = steadied(entry.disparity, scale, entry.steady)
            self._shift = scaled.shift
            return scaled

    def _prepare(self, step: str, coming: Taken) -> bool:
        if step == 'frame to frame':
            if self._carried_to is not coming:
                scale = _known(self._history.newest)
                self._carried = self._aligner.carry(coming.frame.picture, scale)
                self._carried_to = coming
            return True
        wanted = coming.size is not None and step in coming.frame.settings.references()
        return not wanted or self._sources.prepare(step, coming)

    def _next(self, frame: Frame, stamp: int, disparity: Float32Array) -> Predicted:
        settings = frame.settings
        self._follow(frame, settings, stamp)
        carried, self._carried, self._carried_to = self._carried, None, None
        transition = self._aligner.update(
            disparity, frame.picture, _known(self._history.newest), carried
        )
        steady = self._steadier.update(transition) if settings.steady else SteadyMap()
        # The result's memory is used again.
        entry = Predicted(stamp, frame, disparity.copy(), frame.picture, transition, steady)
        self._history.add(entry)
        return entry

    def _follow(self, frame: Frame, settings: NodeSettings, stamp: int) -> None:
        """Begin anew where what came before is of another camera, time or setting."""
        kept = (
            *(settings.references(), settings.scale_hold_s, settings.scale_process_noise),
            settings.scale_extrinsics,
        )
        intrinsics = frame.camera.intrinsics if frame.camera else None
        newest = self._history.newest
        if kept != self._kept:
            self._tracker = ScaleTracker(
                settings.scale_hold_s, FilterNoise(process=settings.scale_process_noise)
            )
            self._kept = kept
        elif newest is not None and intrinsics != self._intrinsics:
            self._forget('the camera changed')
        elif newest is not None and stamp < newest.stamp:
            self._forget('time went backwards')
        self._intrinsics = intrinsics

    def _measure(self, entry: Predicted, normals: Float32Array | None) -> FrameScale:
        result = self._reference(entry, normals)
        transition = entry.transition
        # Of the first frame nothing was before; that is no change of the picture.
        first = isinstance(transition, NoTransition) and transition.reason == 'first frame'
        report = self._tracker.update(entry.stamp / _SECOND, result, None if first else transition)
        self._report = report
        if report.is_metric:
            entry.a, entry.b = report.a, report.b
        self._publish(report, entry.frame.header)
        return FrameScale(report.a, report.b, report.state.value)

    def _reference(
        self, entry: Predicted, normals: Float32Array | None
    ) -> ScaleEstimate | NoScale | None:
        """What all sources say together about the newest prediction."""
        said = {
            source: self._sources.estimate(source, entry, normals)
            for source in entry.frame.settings.references()
        }
        reasons = {s: r.reason for s, r in said.items() if isinstance(r, NoScale)}
        for source, reason in reasons.items():
            self._count(f'{source} reference: {reason}')
        estimates = [r for r in said.values() if isinstance(r, ScaleEstimate)]
        details = [f'{source}: {reason}' for source, reason in reasons.items()]
        result: ScaleEstimate | NoScale | None = None
        if estimates:
            fused = fuse(estimates)
            result = fused.result
            if fused.disagreeing:
                details.append(f'{" and ".join(fused.disagreeing)} disagree ({fused.detail})')
                self._count(f'{" and ".join(fused.disagreeing)} reference: disagrees')
        elif reasons:
            result = NoScale(
                '; '.join(details) if len(reasons) > 1 else next(iter(reasons.values()))
            )
        self._detail = '; '.join(details)
        return result

    def _forget(self, reason: str) -> None:
        self._history.clear()
        self._sources.forget_images()
        self._aligner.reset()
        self._steadier.reset()
        self._tracker.reset(reason)
        self._shift = math.nan
        self._carried = self._carried_to = None
        self._detail = ''


def _known(newest: Predicted | None) -> tuple[float, float] | None:
    """Scale and shift of a prediction, as far as there are any."""
    return (newest.a, newest.b) if newest and math.isfinite(newest.a) else None
