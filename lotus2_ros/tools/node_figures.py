"""What a recording of a running depth node comes to: plain numbers in, plain numbers out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from lotus2_ros.ros import plan
from lotus2_ros.ros.recording import Arrival, Recording

QUANTILES = {'p50': 0.5, 'p95': 0.95, 'p99': 0.99}
_SHARP = 'sharp/'

STEPS = {
    'camera to node': 'from the stamp to the callback in the node',
    'intake': "decoded into the worker's memory",
    'waiting': 'for the model to be free, and the ways to the worker and back',
    'model': "the frame's own time",
    'copying': 'checked and copied in the worker',
    'depth message': 'scale, depth, message, hand-over to the middleware',
    'node to receiver': 'until unpacked in the receiving process',
}
"""What the latency of depth is made of, to what it is; they add up to it."""


def quantiles(seconds: Sequence[float]) -> dict[str, float] | None:
    """Quantiles [ms] and how many values they are of; None of nothing."""
    if not seconds:
        return None
    found = {name: float(np.quantile(seconds, q)) * 1e3 for name, q in QUANTILES.items()}
    return {**found, 'number': len(seconds)}


def phase_figures(
    recording: Recording, *, begin: int, end: int, silent: Collection[str] = plan.MAY_BE_SILENT
) -> dict[str, Any]:
    """Figures of the images that the camera stamped in a span of time.

    Args:
        recording: at least of that span, and some time longer: what comes late counts.
        begin: of the span [ns].
        end: of the span [ns].
        silent: topics that may rightly have no message for an image.

    Returns:
        Plain JSON data; times in milliseconds, rates in Hz, shares from 0 to 1. An output's
        `received` is its share of the frames that the node has worked on.
    """
    sent = [stamp for stamp in recording.sent if begin <= stamp < end]
    core, sharp = (
        {stamp: stages for stamp, stages in timings.items() if begin <= stamp < end}
        for timings in (recording.core, recording.sharp)
    )
    worked: Collection[int]
    outputs = {}
    for topic, messages in recording.arrivals.items():
        found = [message for message in messages if begin <= message.stamp < end]
        worked = sharp.keys() if topic.startswith(_SHARP) else core.keys()
        if topic.startswith('/'):  # diagnostics have stamps of their own
            worked = set()
        outputs[topic] = _output(found, worked, (end - begin) / 1e9)
        outputs[topic]['may_be_silent'] = topic.removeprefix(_SHARP) in silent
    depth = {
        message.stamp: message
        for message in recording.arrivals.get(plan.DEPTH_IMAGE, ())
        if message.stamp in core
    }
    latencies = {stamp: (message.received - stamp) / 1e9 for stamp, message in depth.items()}
    beyond = [latencies[stamp] - core[stamp]['model'] for stamp in depth]
    steps = [_steps(message, core[stamp]) for stamp, message in depth.items()]
    return {
        'seconds': (end - begin) / 1e9,
        'images': len(sent),
        'image_rate': len(sent) / ((end - begin) / 1e9),
        'worked_on': len(core.keys() & set(sent)) / len(sent) if sent else None,
        'sharpened': len(sharp),
        'model': quantiles([stages['model'] for stages in core.values()]),
        'core': quantiles([stages['total'] for stages in core.values()]),
        'depth_beyond_own_time': quantiles(beyond),
        'depth_latency_made_of': {
            name: quantiles([step[name] for step in steps]) for name in STEPS
        },
        'model_stages': _stages(list(core.values())),
        'outputs': outputs,
    }


def _output(found: Sequence[Arrival], worked: Collection[int], seconds: float) -> dict[str, Any]:
    stamps = {message.stamp for message in found}
    return {
        'messages': len(found),
        'received': len(stamps.intersection(worked)) / len(worked) if worked else None,
        'rate': len(found) / seconds,
        'latency': quantiles([(m.received - m.stamp) / 1e9 for m in found]),
        'after_publishing': quantiles([(m.received - m.published) / 1e9 for m in found]),
    }


def _steps(depth: Arrival, stages: dict[str, float]) -> dict[str, float]:
    """The latency of one depth image in the parts of `STEPS` [s]."""
    before = stages['arrival'] + stages['intake'] + stages['total']
    return {
        'camera to node': stages['arrival'],
        'intake': stages['intake'],
        'waiting': stages['total'] - stages['worker'],
        'model': stages['model'],
        'copying': stages['worker'] - stages['model'],
        'depth message': (depth.published - depth.stamp) / 1e9 - before,
        'node to receiver': (depth.received - depth.published) / 1e9,
    }


def _stages(frames: Sequence[dict[str, float]]) -> dict[str, dict[str, float] | None]:
    """Every stage that the node names, of all frames."""
    names = list(dict.fromkeys(name for stages in frames for name in stages))
    return {name: quantiles([s[name] for s in frames if name in s]) for name in names}
