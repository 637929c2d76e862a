"""The node's state in one word, how bad it is, why, and what to do about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from lotus2_ros.geometry.scale.tracker import ScaleReport, ScaleState
from lotus2_ros.ros.monitor import Measurements
from lotus2_ros.settings import NodeSettings

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class State(Enum):
    """What a consumer can expect of the output right now."""

    WAIT = 'WAIT'
    """Nothing to work on yet: not activated, or no image has come."""
    LOADING = 'LOADING'
    """The model is being loaded."""
    OK = 'OK'
    """Everything that is subscribed goes out."""
    SLOW = 'SLOW'
    """Results go out, but late."""
    RELATIVE = 'RELATIVE'
    """Disparity, colours and normals go out; metric topics are withheld."""
    SUSPECT = 'SUSPECT'
    """Images come but cannot be used, or nobody can tell whose images or results they are."""
    STALE = 'STALE'
    """Images came before, but not now: silent."""
    RECOVERING = 'RECOVERING'
    """The worker was lost and is being replaced: silent."""
    FAULT = 'FAULT'
    """Given up; somebody has to act."""


@dataclass(frozen=True)
class Health:
    """Everything that the state depends on and the diagnostics show.

    Attributes:
        lifecycle: unconfigured, inactive, active or finalized.
        settings: the node's settings, or the camera's.
        name: of the camera; empty for one without a name.
        measured: rates, ages, latencies, counts, input problem.
        fault: why the node has given up; empty if it has not.
        worker_state: see `WorkerState`.
        worker_reason: why the worker is recovering or has failed.
        progress: stage and fraction of loading.
        restarts: of the worker.
        info: the predictor's description of itself.
        image_topic: resolved name.
        image_publishers: full name of the node behind each publisher on it.
        info_topic: resolved name of the camera's CameraInfo.
        info_publishers: full name of the node behind each publisher on it.
        namesakes: other nodes with this node's full name.
        host_problem: what is wrong with this machine, and its remedy; empty if nothing is.
        camera: where the intrinsics come from; empty if there are none.
        camera_problem: why CameraInfo is not usable; empty if it is.
        wanted: subscribed topics, `~/` left out.
        withheld: subscribed topic to the reason why it is not published.
        incompatible: topic to what is incompatible about a peer's quality of service.
        image_size: (width, height) of the last image, or None.
        output_size: (width, height) of the last result, or None.
        scale: that of the last frame, if references give it.
        scale_detail: what each reference said that gave nothing.
        notes: more about the scale and its poses, shown as they are.
    """

    lifecycle: str
    settings: NodeSettings
    name: str = ''
    measured: Measurements = field(default_factory=Measurements)
    fault: str = ''
    worker_state: str = 'stopped'
    worker_reason: str = ''
    progress: tuple[str, float] = ('', 0.0)
    restarts: int = 0
    info: dict[str, Any] = field(default_factory=dict)
    image_topic: str = ''
    image_publishers: tuple[str, ...] = ()
    info_topic: str = ''
    info_publishers: tuple[str, ...] = ()
    namesakes: int = 0
    host_problem: tuple[str, str] = ('', '')
    camera: str = ''
    camera_problem: str = ''
    wanted: frozenset[str] = frozenset()
    withheld: dict[str, str] = field(default_factory=dict)
    incompatible: dict[str, str] = field(default_factory=dict)
    image_size: tuple[int, int] | None = None
    output_size: tuple[int, int] | None = None
    scale: ScaleReport | None = None
    scale_detail: str = ''
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """The state, how bad it is, why, and what to do about it."""

    state: State
    level: bytes
    reason: str
    remedy: str = ''


def assess(health: Health) -> Verdict:
    """The first thing that stands between the camera and the consumer decides."""
    verdict = _node_and_worker(health) or _input(health) or _output(health)
    problem, remedy = health.host_problem
    if problem and verdict.level == OK:
        return Verdict(verdict.state, WARN, f'{verdict.reason}; {problem}', remedy)
    return verdict


def _node_and_worker(health: Health) -> Verdict | None:
    if health.fault:
        remedy = 'correct the cause, then configure again'
        return Verdict(State.FAULT, ERROR, health.fault, remedy)
    if health.namesakes:
        count = health.namesakes + 1
        reason = f'{count} nodes have the name of this one: none can be told from the others'
        remedy = 'give each a name or namespace of its own (-r __node:=..., -r __ns:=...)'
        return Verdict(State.SUSPECT, ERROR, reason, remedy)
    if health.lifecycle != 'active':
        remedy = {
            'unconfigured': 'configure and activate it, or set autostart: true',
            'inactive': 'activate it',
        }.get(health.lifecycle, 'start it again')
        loading = health.worker_state == 'loading'
        reason = f'the node is {health.lifecycle}' + (', the model is loading' if loading else '')
        return Verdict(State.WAIT, WARN, reason, remedy)
    if health.worker_state == 'loading':
        stage, fraction = health.progress
        text = f'loading the model: {stage or "starting"} {100 * fraction:.0f}%'
        return Verdict(State.LOADING, WARN, text)
    if health.worker_state != 'ready':
        return Verdict(
            State.RECOVERING,
            ERROR,
            health.worker_reason or f'the worker is {health.worker_state}',
            'it comes back by itself; look at the log if this repeats',
        )
    return None


def _input(health: Health) -> Verdict | None:
    measured, settings = health.measured, health.settings
    topic = health.image_topic
    publishers = len(health.image_publishers)
    age = measured.ages.get('input')
    if age is None:
        if topic in health.incompatible:
            text = f'{topic}: {health.incompatible[topic]}'
            return Verdict(State.WAIT, ERROR, text, f'set qos_overrides.{topic}.subscription.*')
        reason = f'no image has come on {topic} ({publishers} publishers)'
        remedy = (
            'start the camera, or remap image to its topic (and see image_transport)'
            if not publishers
            else 'check that the publisher is alive and its messages arrive'
        )
        return Verdict(State.WAIT, ERROR, reason, remedy)
    if age > settings.stale_timeout_s:
        reason = f'no image for {age:.1f} s on {topic} ({publishers} publishers)'
        return Verdict(State.STALE, ERROR, reason, 'check the camera; nothing is published')
    if measured.problem:
        lasting = measured.problem_age > settings.stale_timeout_s
        level = ERROR if lasting else WARN
        return Verdict(State.SUSPECT, level, measured.problem, measured.remedy)
    for shared, names in (
        (topic, health.image_publishers),
        (health.info_topic, health.info_publishers),
    ):
        if len(names) > 1:
            reason = f'{len(names)} publishers share {shared}: {", ".join(names)}'
            return Verdict(State.SUSPECT, ERROR, reason, 'leave one of them, or remap the other')
    return None


def _output(health: Health) -> Verdict:
    limit = health.settings.stale_timeout_s
    latency = health.measured.latencies.get('total', (0.0, 0.0))[1]
    result_age = health.measured.ages.get('result')
    waiting = bool(health.wanted - health.withheld.keys())
    if latency > limit or (waiting and result_age is not None and result_age > 2 * limit):
        reason = f'results are late: p95 {latency:.2f} s, the last one {result_age or 0:.1f} s ago'
        return Verdict(State.SLOW, WARN, reason, 'lower max_side, or use a faster device')
    withheld = '; '.join(f'~/{topic}: {why}' for topic, why in health.withheld.items())
    if health.settings.scale_mode == 'relative':
        text = 'disparity has no scale; metric topics are withheld'
        if withheld:
            return Verdict(State.RELATIVE, WARN, f'{text} ({withheld})', 'set scale_mode: fixed')
        return Verdict(State.RELATIVE, OK, text)
    if health.settings.references():
        verdict = _measured_scale(health, withheld)
        if verdict is not None:
            return verdict
    if withheld:
        return Verdict(State.OK, WARN, f'withheld: {withheld}')
    if health.incompatible:
        text = '; '.join(f'{topic}: {why}' for topic, why in health.incompatible.items())
        return Verdict(State.OK, WARN, text, 'change one of the two profiles')
    if not health.wanted:
        return Verdict(State.OK, OK, 'ready; nobody subscribes to a result')
    return Verdict(State.OK, OK, 'running')


def _measured_scale(health: Health, withheld: str) -> Verdict | None:
    """None while the scale is locked."""
    report = health.scale
    if report is None:
        text = 'no scale yet: no image with depth has been worked on'
        return Verdict(State.RELATIVE, WARN, text, 'subscribe to a topic that needs depth')
    text = f'scale is {report.state.value}: {health.scale_detail or report.reason}'
    if report.state is ScaleState.LOCKED:
        return None
    if report.is_metric:
        return Verdict(State.OK, WARN, text, 'check the reference sensor')
    if withheld:
        text += f' ({withheld})'
    lost = report.state is ScaleState.LOST
    remedy = 'check the reference sensor: topic, stamps, frame (docs/scale.md)'
    return Verdict(State.RELATIVE, ERROR if lost else WARN, text, remedy)
