"""The scale of each frame of one camera, from its references or its parameters."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from std_msgs.msg import Header

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.mounting import Mounting
from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.geometry.scale.filter import FilterNoise
from lotus2_ros.geometry.scale.frame_alignment import Carried, FrameAligner, relation
from lotus2_ros.geometry.scale.fusion import fuse
from lotus2_ros.geometry.scale.steady import Steadier, SteadyMap
from lotus2_ros.geometry.scale.tracker import ScaleReport, ScaleTracker
from lotus2_ros.geometry.scale.transition import NoTransition
from lotus2_ros.ros.products import Frame, FrameScale
from lotus2_ros.ros.scale_history import FramesUnderWay, Predicted, PredictionHistory
from lotus2_ros.ros.scale_readings import stamp_ns
from lotus2_ros.ros.scale_sources import ScaleSources
from lotus2_ros.settings import NodeSettings
from lotus2_ros.types import Float32Array

_SECOND = 1e9


class Scaled(NamedTuple):
    """What is published of one result.

    Attributes:
        disparity: (H, W) float32, as predicted or steady; None if there is none.
        scale: of that disparity.
        shift: b / a of the disparity as predicted; NaN without a scale, or of a sharpened one.
    """

    disparity: Float32Array | None
    scale: FrameScale
    shift: float = math.nan


class ScaleKeeper:
    """Works on the receiver's thread; reset and asked from the executor's.

    Args:
        sources: what the scale is estimated from.
        history: that `sources` looks at, too.
        publish: takes the report of each frame and the header of its image.
        count: takes the cause of a reference that gave nothing.
    """

    def __init__(
        self,
        sources: ScaleSources,
        history: PredictionHistory,
        *,
        publish: Callable[[ScaleReport, Header], Any],
        count: Callable[[str], Any],
    ) -> None:
        self._sources = sources
        self._history = history
        self._publish = publish
        self._count = count
        self._lock = threading.Lock()
        self._aligner = FrameAligner()
        self._carried: Carried | None = None
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
        self._coming.add(frame)

    def answered(self, frame: Frame) -> None:
        """It has a result now, or will have none."""
        self._coming.remove(frame)

    def prepare(self, *, wait: bool) -> None:
        """Do while the model works what needs no prediction for the frame that it works on.

        Args:
            wait: for a result that is being worked on; else nothing is done beside one.
        """
        if self._lock.acquire(blocking=wait):
            try:
                self._prepare()
            finally:
                self._lock.release()

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
                'lidar motion': self._sources.lidar_motion,
                'lidar memory': self._sources.lidar_memory,
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
                return _sharpened(core, disparity)
            entry = self._next(frame, stamp, disparity)
            scale = FrameScale.of(settings)
            if settings.references():
                scale = self._measure(entry, normals)
            else:
                self._report = None
            scaled = _steadied(entry.disparity, scale, entry.steady)
            self._shift = scaled.shift
            return scaled

    def _prepare(self) -> None:
        # Of several, all but the first will follow a prediction that is not there yet.
        frame, newest = self._coming.only, self._history.newest
        if frame is None or newest is None or stamp_ns(frame) <= newest.stamp:
            return
        self._carried = self._aligner.carry(frame.picture, _known(newest))
        self._sources.prepare(frame)

    def _next(self, frame: Frame, stamp: int, disparity: Float32Array) -> Predicted:
        settings = frame.settings
        self._follow(frame, settings, stamp)
        carried, self._carried = self._carried, None
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
        self._carried = None
        self._detail = ''


def _known(newest: Predicted | None) -> tuple[float, float] | None:
    """Scale and shift of a prediction, as far as there are any."""
    return (newest.a, newest.b) if newest and math.isfinite(newest.a) else None


def _sharpened(core: Predicted, disparity: Float32Array) -> Scaled:
    """A sharpened disparity has the scale of the core's, by the map between the two."""
    settings = core.frame.settings
    way = relation(core.disparity, disparity)
    if isinstance(way, NoTransition):
        if settings.references():
            return Scaled(disparity, FrameScale(math.nan, math.nan, 'lost'))
        return Scaled(disparity, FrameScale.of(settings))
    steady = SteadyMap(
        core.steady.gain / way.scale, core.steady.offset - core.steady.gain / way.scale * way.shift
    )
    if not settings.references():
        return _steadied(disparity, FrameScale.of(settings), steady)
    if math.isnan(core.a):
        return Scaled(disparity, FrameScale(math.nan, math.nan, 'unscaled'))
    a = core.a / way.scale
    scale = FrameScale(a, core.b - a * way.shift, 'locked')
    return _steadied(disparity, scale, steady if settings.steady else SteadyMap())


def _steadied(disparity: Float32Array, scale: FrameScale, steady: SteadyMap) -> Scaled:
    """The steady disparity. What was measured is of the predicted one; parameters are not."""
    if scale.is_measured:
        scale = FrameScale(*steady.scale(scale.a, scale.b), scale.state)
    # a (gain d + offset) + b is proportional to d plus this.
    shift = (steady.offset + scale.b / scale.a) / steady.gain
    return Scaled(steady.apply(disparity), scale, shift)
