"""How long each stage of the model takes on this machine, one image at a time.

Prints the median and the 95th percentile of every stage, and writes them as JSON if asked to.
Total is what a caller waits for, from the image to the arrays.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from lotus2_ros.errors import Lotus2Error, SettingsError
from lotus2_ros.photographs import SAMPLES, photographs_in, read_photograph
from lotus2_ros.settings import NodeSettings
from lotus2_ros.tools.model_arguments import add_model_arguments, load_predictor, model_settings
from lotus2_ros.types import UInt8Array

if TYPE_CHECKING:
    from lotus2_ros.runtime import Lotus2Predictor

TOTAL = 'total'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model_arguments(parser)
    group = parser.add_argument_group('measurement')
    group.add_argument('--width', type=int, default=640, help='of the image (default: %(default)s)')
    group.add_argument(
        '--height', type=int, default=480, help='of the image (default: %(default)s)'
    )
    group.add_argument(
        '--steps', type=int, default=0, metavar='N', help='of the sharpener (default: %(default)s)'
    )
    group.add_argument(
        '--repeats', type=int, default=20, metavar='N', help='timed runs (default: %(default)s)'
    )
    group.add_argument(
        '--warmup', type=int, default=3, metavar='N', help='runs before (default: %(default)s)'
    )
    group.add_argument('--json', type=Path, metavar='FILE', help='write the figures there too')


def run(args: argparse.Namespace) -> int:
    """Load, measure, print.

    Returns:
        0.

    Raises:
        Lotus2Error: the options or the model cannot be used, or the file cannot be written.
    """
    settings = model_settings(args)
    limit = int(NodeSettings.parameters()['sharpen_steps'].maximum or 0)
    if args.repeats < 1 or args.warmup < 0 or not 0 <= args.steps <= limit:
        raise SettingsError(f'--repeats from 1, --warmup from 0, --steps from 0 to {limit}')
    if args.width < 16 or args.height < 16:
        raise SettingsError('--width and --height from 16')
    started = time.perf_counter()
    predictor = load_predictor(settings, sharpener=args.steps > 0, progress=None)
    load_s = time.perf_counter() - started
    image = benchmark_image(args.width, args.height)
    runs = measure(predictor, image, steps=args.steps, repeats=args.repeats, warmup=args.warmup)
    report = {
        **predictor.info(),
        'machine': machine(),
        'image': [args.width, args.height],
        'sharpen_steps': args.steps,
        'repeats': args.repeats,
        'load_s': load_s,
        'stages_ms': summarize(runs),
    }
    print_report(report)
    if args.json is not None:
        try:
            args.json.write_text(json.dumps(report, indent=2) + '\n')
        except OSError as error:
            raise Lotus2Error(f'{args.json}: cannot be written: {error.strerror}') from error
    return 0


def benchmark_image(width: int, height: int) -> UInt8Array:
    """A bundled photograph at the size asked for, (height, width, 3) uint8."""
    rgb = read_photograph(photographs_in(SAMPLES)[0])
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def measure(
    predictor: Lotus2Predictor, image: UInt8Array, *, steps: int, repeats: int, warmup: int
) -> list[dict[str, float]]:
    """Seconds of each stage, and in total, of every timed run."""
    from tqdm import trange

    runs = []
    for index in trange(warmup + repeats, unit='run', file=sys.stderr, leave=False):
        start = time.perf_counter()
        prediction = predictor.predict(image, sharpen_steps=steps)
        total = time.perf_counter() - start
        if index >= warmup:
            runs.append({**prediction.timings, TOTAL: total})
    return runs


def summarize(runs: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Stage to its p50 and p95 in milliseconds."""
    return {
        stage: {
            name: float(np.quantile([1e3 * run[stage] for run in runs], q))
            for name, q in (('p50', 0.5), ('p95', 0.95))
        }
        for stage in runs[0]
    }


def machine() -> str:
    """The CPU: its name, the cores that this process may use, the operating system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    name = platform.processor() or platform.machine()
    description = Path('/proc/cpuinfo')  # Linux: platform knows the architecture only
    if description.is_file():
        lines = description.read_text(encoding='utf-8', errors='replace').splitlines()
        name = next(
            (n.partition(':')[2].strip() for n in lines if n.startswith('model name')), name
        )
    return f'{name}, {cores} cores, {platform.system()}'


def print_report(report: dict[str, Any]) -> None:
    """Print what was measured and a line for each stage."""
    from rich.console import Console
    from rich.table import Table

    width, height = report['image']
    table = Table(
        title=f'{report["model"]}, {width}x{height}, tasks {" ".join(report["tasks"])}, '
        f'{report["sharpen_steps"]} sharpener steps'
    )
    table.add_column('stage')
    table.add_column('p50, ms', justify='right')
    table.add_column('p95, ms', justify='right')
    for stage, figures in report['stages_ms'].items():
        if stage == TOTAL:
            table.add_section()
        table.add_row(stage, f'{figures["p50"]:.1f}', f'{figures["p95"]:.1f}')
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(table)
    console.print(
        f'{report["device"]} ({report["machine"]}), {report["precision"]}, '
        f'{report["parameters"] / 1e6:.1f} M parameters, network sees at most '
        f'{report["max_side"]} px; loaded in {report["load_s"]:.1f} s; {report["repeats"]} runs',
        highlight=False,
        soft_wrap=True,
    )
