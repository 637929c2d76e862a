"""How long a camera's images wait for the core while now and then one of them is sharpened.

A camera of steady rate is simulated; what is due goes through the scheduler of the model's process,
without ROS. First nothing is sharpened, then images are, in each of the ways that this device can:
steps between frames, and beside them; or on the sharpeners' own device, where they have one. Told
is the time from the moment an image is due until its arrays are there.

  lotus2 benchmark pace --model nano --camera-rate 3 --sharpen-rate 0.5
  lotus2 benchmark pace --model random-merged --precision fp8 --tasks depth
  lotus2 benchmark pace --model random-merged --tasks depth --sharpener-device cuda:1
"""

from __future__ import annotations

import argparse
import gc
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lotus2_ros.errors import SettingsError
from lotus2_ros.settings.model import BESIDE, BETWEEN
from lotus2_ros.settings.node import NodeSettings
from lotus2_ros.tools.benchmark import machine, open_predictor
from lotus2_ros.tools.benchmark_runs import benchmark_image
from lotus2_ros.tools.json_files import write_json
from lotus2_ros.tools.model_arguments import add_model_arguments, model_settings
from lotus2_ros.tools.sizes import parse_size

if TYPE_CHECKING:
    from lotus2_ros.runtime import Lotus2Predictor
    from lotus2_ros.runtime.scheduler import FrameJob
    from lotus2_ros.types import Prediction, UInt8Array

ALONE, APART = 'alone', 'apart'
_POLL_S = 0.0005
_QUANTILES = (0.5, 0.9, 0.99)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model_arguments(parser)
    group = parser.add_argument_group('measurement')
    group.add_argument('--size', default='640x480', metavar='WxH', help='default: %(default)s')
    group.add_argument(
        '--camera-rate', type=float, default=15.0, metavar='HZ', help='default: %(default)s'
    )
    group.add_argument(
        '--sharpen-rate', type=float, default=1.0, metavar='HZ', help='default: %(default)s'
    )
    group.add_argument(
        '--sharpen-steps', type=int, default=NodeSettings().sharpen_steps, metavar='N',
        help='default: %(default)s',
    )  # fmt: skip
    group.add_argument(
        '--seconds', type=float, default=20.0, help='of each way (default: %(default)s)'
    )
    group.add_argument('--json', type=Path, metavar='FILE', help='write the figures there too')


def run(args: argparse.Namespace) -> int:
    """Measure and print.

    Returns:
        0.

    Raises:
        Lotus2Error: the options or the model cannot be used, or the file cannot be written.
    """
    settings = model_settings(args)
    rates = args.camera_rate, args.sharpen_rate, args.seconds
    if not all(math.isfinite(rate) and rate > 0 for rate in rates):
        raise SettingsError('--camera-rate, --sharpen-rate and --seconds above 0')
    image = benchmark_image(parse_size(args.size, '--size'))
    predictor = open_predictor(settings, sharpener=True)
    # Sizes are recorded and caches filled before anything counts.
    predictor.predict(image, sharpen_steps=args.sharpen_steps)
    on_one = [BETWEEN, *([BESIDE] if predictor.runs_beside else [])]
    ways = [ALONE, *([APART] if predictor.sharpens_apart else on_one)]
    # As in the model's process: a full collection in the middle would hold up a frame.
    gc.collect()
    gc.freeze()
    try:
        phases = [_phase(way, predictor, image, args) for way in ways]
    finally:
        gc.unfreeze()
    report = {
        'machine': machine(),
        **predictor.info(),
        'image': list(image.shape[1::-1]),
        'camera_rate_hz': args.camera_rate,
        'sharpen_rate_hz': args.sharpen_rate,
        'sharpen_steps': args.sharpen_steps,
        'phases': phases,
    }
    print(page(report))
    if args.json is not None:
        write_json(args.json, report)
    return 0


@dataclass
class Pace:
    """A camera whose images are due at a steady rate, and what became of them.

    Attributes:
        rate_hz: of the camera.
        image: (H, W, 3), always the same.
        tasks: wanted of each, also sharpened.
        clock: seconds.
        start_s: when the first is due.
        latencies_s: from due to done, of the core's results.
        sharp: timings of the sharpened results.
        last: number of the last image that was taken.
    """

    rate_hz: float
    image: UInt8Array
    tasks: tuple[str, ...]
    clock: Callable[[], float] = time.perf_counter
    start_s: float = field(init=False)
    latencies_s: list[float] = field(default_factory=list)
    sharp: list[dict[str, float]] = field(default_factory=list)
    last: int = -1

    def __post_init__(self) -> None:
        self.start_s = self.clock()

    def take(self) -> FrameJob | None:
        """The newest image that is due and was not taken yet."""
        from lotus2_ros.runtime.scheduler import FrameJob

        due = math.floor((self.clock() - self.start_s) * self.rate_hz)
        if due <= self.last:
            return None
        self.last = due
        return FrameJob(due, self.image, self.tasks, self.tasks)

    def emit(self, job: FrameJob, prediction: Prediction, sharp: bool) -> None:
        """Count a result."""
        if sharp:
            self.sharp.append(prediction.timings)
        else:
            due_s = self.start_s + job.sequence / self.rate_hz
            self.latencies_s.append(self.clock() - due_s)

    def until_next_s(self) -> float:
        """Seconds until another image is due."""
        next_s = self.start_s + (self.last + 1) / self.rate_hz
        return max(0.0, next_s - self.clock())


def _phase(
    way: str, predictor: Lotus2Predictor, image: UInt8Array, args: argparse.Namespace
) -> dict[str, Any]:
    """Run the scheduler for a while and say what images waited."""
    from lotus2_ros.runtime.scheduler import TwoRateScheduler

    print(f'{way} ...', file=sys.stderr, flush=True)
    pace = Pace(args.camera_rate, image, predictor.tasks)
    scheduler = TwoRateScheduler(
        predictor, take_frame=pace.take, emit=pace.emit, beside=way == BESIDE
    )
    scheduler.configure(0.0 if way == ALONE else args.sharpen_rate, args.sharpen_steps)
    while pace.clock() - pace.start_s < args.seconds:
        if not scheduler.run_once():
            time.sleep(_POLL_S if scheduler.is_waiting else pace.until_next_s())
    scheduler.cancel_sharpen()
    predictor.finish(predictor.run_core(image))  # what was begun beside has an end
    if not pace.latencies_s:
        raise SettingsError(f'--seconds is {args.seconds}, in which no image was ready')
    waited = 1e3 * np.array(pace.latencies_s)
    steps = args.sharpen_steps * len(predictor.tasks)
    return {
        'sharpening': way,
        'images_due': pace.last + 1,
        'images_done': len(waited),
        'core_ms': {f'p{100 * q:.0f}': float(np.quantile(waited, q)) for q in _QUANTILES}
        | {'max': float(waited.max())},
        'sharpened': len(pace.sharp),
        'step_ms': 1e3 * float(np.median([_sharpening_s(t) for t in pace.sharp])) / steps
        if pace.sharp
        else None,
    }


def _sharpening_s(timings: dict[str, float]) -> float:
    """Of all steps, on whichever device."""
    return sum(seconds for stage, seconds in timings.items() if stage.startswith('sharpen'))


def page(report: dict[str, Any]) -> str:
    """The figures as a table for people."""
    width, height = report['image']
    lines = [
        f'{report["model"]}, {report["precision"]}, {", ".join(report["tasks"])}, '
        f'{width}x{height} at {report["camera_rate_hz"]:g} Hz; {report["sharpen_steps"]} steps at '
        f'{report["sharpen_rate_hz"]:g} Hz; {report["device"]}; {report["machine"]}',
        '',
        '| sharpening | images done | core p50 [ms] | p90 | p99 | max | sharpened | a step [ms] |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for phase in report['phases']:
        core = phase['core_ms']
        step = '' if phase['step_ms'] is None else f'{phase["step_ms"]:.1f}'
        lines.append(
            f'| {phase["sharpening"]} | {phase["images_done"]} of {phase["images_due"]} '
            f'| {core["p50"]:.1f} | {core["p90"]:.1f} | {core["p99"]:.1f} | {core["max"]:.1f} '
            f'| {phase["sharpened"]} | {step} |'
        )
    return '\n'.join(lines)
