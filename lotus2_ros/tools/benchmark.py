r"""How long each stage of a model takes on this machine, one image at a time.

Prints the median and the 95th percentile of every stage, frames per second and memory, for any set
of models, precisions, sizes, tasks and steps. Total is what a caller waits for, from the image to
the arrays.

  lotus2 benchmark --model exact --also fp8 nano@bfloat16 --sizes 640x480 1024x576 --steps 0 10
  lotus2 benchmark --model fp8 --tasks depth --baseline flux-dev --plot speed.png
  lotus2 benchmark --model random-merged --also random-merged@fp8 random-merged@int8
  lotus2 benchmark --model random-merged --also random-shared@fp8 --baseline flux-dev

The last two need no weights: random-merged and random-shared are of FLUX.1-dev's shape, drawn on
the device, in the two layouts of prepared folders.

Where there are several models, the results of all are compared with those of the first.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from lotus2_ros.errors import ModelFileError, SettingsError
from lotus2_ros.photographs import SAMPLES, photographs_in
from lotus2_ros.settings import ModelSettings, NodeSettings
from lotus2_ros.tools.benchmark_report import plot_report, print_report
from lotus2_ros.tools.benchmark_runs import (
    Case,
    as_json,
    deviation,
    memory,
    predict_photographs,
    predictor_runs,
    reset_memory,
    time_case,
)
from lotus2_ros.tools.json_files import write_json
from lotus2_ros.tools.model_arguments import add_model_arguments, load_predictor, model_settings
from lotus2_ros.tools.random_layouts import RANDOM_LAYOUTS
from lotus2_ros.tools.sizes import parse_size
from lotus2_ros.types import Prediction

BASELINES = ('flux-dev', 'model')
SUBCOMMANDS = {
    'geometry': 'geometry_benchmark',
    'node': 'node_benchmark',
    'pace': 'pace_benchmark',
}
"""Word after `benchmark`, to the module that does it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model_arguments(parser)
    group = parser.add_argument_group('measurement')
    group.add_argument(
        '--also',
        nargs='+',
        default=[],
        metavar='MODEL[@PRECISION[@MERGING]]',
        help='more models; MERGING is --text-merging',
    )
    group.add_argument('--width', type=int, default=640, help='of the image (default: %(default)s)')
    group.add_argument(
        '--height', type=int, default=480, help='of the image (default: %(default)s)'
    )
    group.add_argument('--sizes', nargs='+', metavar='WxH', help='several sizes instead')
    group.add_argument(
        '--task-sets', nargs='+', metavar='TASK[+TASK]',
        help='which of the loaded tasks are timed together (default: all)',
    )  # fmt: skip
    group.add_argument(
        '--steps',
        type=int,
        nargs='+',
        default=[0],
        metavar='N',
        help='of the sharpener (default: 0)',
    )
    group.add_argument(
        '--repeats', type=int, default=20, metavar='N', help='timed runs (default: %(default)s)'
    )
    group.add_argument(
        '--warmup', type=int, default=3, metavar='N', help='runs before (default: %(default)s)'
    )
    group.add_argument(
        '--photographs', type=int, default=2, metavar='N',
        help='on which several models are compared (default: %(default)s)',
    )  # fmt: skip
    group.add_argument(
        '--baseline', choices=BASELINES,
        help='time depth with the cost structure of the released code too, on random weights:'
        " FLUX.1-dev's shape, or the model's own",
    )  # fmt: skip
    group.add_argument('--json', type=Path, metavar='FILE', help='write the figures there too')
    group.add_argument('--plot', type=Path, metavar='FILE', help='write a picture of them (PNG)')


def run(args: argparse.Namespace) -> int:
    """Load, measure, print.

    Returns:
        0.

    Raises:
        Lotus2Error: the options or a model cannot be used, or a file cannot be written.
    """
    import torch

    settings = model_settings(args)
    cases = _cases(args, settings)
    report: dict[str, Any] = {
        'machine': machine(),
        'torch': torch.__version__,
        'repeats': args.repeats,
        'modes': [],
    }
    exact: dict[int, list[Prediction]] = {}
    for name, chosen in _modes(args, settings):
        report['modes'].append(_measure(name, chosen, cases, args, exact))
    report['device'] = report['modes'][0]['device']
    if args.baseline is not None:
        report['modes'].append(_measure_baseline(args, settings, cases))
    print_report(report)
    if args.json is not None:
        write_json(args.json, report)
    if args.plot is not None:
        plot_report(args.plot, report)
    return 0


def _cases(args: argparse.Namespace, settings: ModelSettings) -> list[Case]:
    """Every size with every set of tasks and every number of steps."""
    limit = int(NodeSettings.parameters()['sharpen_steps'].maximum or 0)
    if args.repeats < 1 or args.warmup < 0 or not all(0 <= n <= limit for n in args.steps):
        raise SettingsError(f'--repeats from 1, --warmup from 0, --steps from 0 to {limit}')
    most = len(photographs_in(SAMPLES))
    if not 0 <= args.photographs <= most:
        raise SettingsError(f'--photographs is {args.photographs}; allowed: 0 to {most}')
    sizes = [parse_size(text, '--sizes') for text in args.sizes or []]
    sizes = sizes or [(args.height, args.width)]
    if min(min(size) for size in sizes) < 16:
        raise SettingsError('--width and --height from 16')
    sets = [tuple(text.split('+')) for text in args.task_sets or []] or [settings.tasks]
    for tasks in sets:
        if not set(tasks) <= set(settings.tasks):
            loaded = ' '.join(settings.tasks)
            raise SettingsError(f'--task-sets: {"+".join(tasks)} is not loaded; --tasks {loaded}')
    return [Case(size, tasks, steps) for size in sizes for tasks in sets for steps in args.steps]


def _modes(args: argparse.Namespace, settings: ModelSettings) -> list[tuple[str, ModelSettings]]:
    """Every model to be measured, by the name that it is shown under."""
    modes = [(settings.model, settings)]
    for text in args.also:
        model, precision, merging = ([*text.split('@', 2), '', ''])[:3]
        try:
            share = float(merging or settings.text_merging)
        except ValueError as err:
            raise SettingsError(f'--also {text}: {merging!r} is no number') from err
        chosen = replace(settings, model=model, precision=precision or 'auto', text_merging=share)
        chosen.validate()
        modes.append((text, chosen))
    return modes


def _measure(
    name: str,
    settings: ModelSettings,
    cases: list[Case],
    args: argparse.Namespace,
    exact: dict[int, list[Prediction]],
) -> dict[str, Any]:
    """Figures of one model; the first one's results are put into `exact`."""
    from lotus2_ros.runtime.device import choose_device

    sharpener = any(case.steps for case in cases)
    reset_memory(choose_device(settings.device, None))
    started = time.perf_counter()
    predictor = open_predictor(settings, sharpener=sharpener)
    load_s = time.perf_counter() - started
    runs = predictor_runs(predictor)
    figures = [time_case(c, runs, repeats=args.repeats, warmup=args.warmup) for c in cases]
    mode = {
        'name': name,
        **predictor.info(),
        'load_s': load_s,
        'memory': memory(predictor.device),
        'cases': [as_json(figure) for figure in figures],
    }
    if args.also and args.photographs:
        for steps in args.steps:
            found = predict_photographs(predictor, cases[0].size, steps, args.photographs)
            if steps in exact:
                mode.setdefault('deviation', {})[str(steps)] = deviation(found, exact[steps])
            exact.setdefault(steps, found)
    predictor.free_memory()
    del predictor, runs
    gc.collect()
    return mode


def open_predictor(settings: ModelSettings, *, sharpener: bool) -> Any:
    """Load a model, or draw one of the random ones."""
    if settings.model in RANDOM_LAYOUTS:
        from lotus2_ros.tools.random_predictor import random_predictor

        return random_predictor(settings, sharpener=sharpener)
    return load_predictor(settings, sharpener=sharpener, progress=None)


def _measure_baseline(
    args: argparse.Namespace, settings: ModelSettings, cases: list[Case]
) -> dict[str, Any]:
    from lotus2_ros.runtime.device import choose_device, choose_precision, device_name
    from lotus2_ros.tools.released_baseline import BaselineShape, ReleasedBaseline
    from lotus2_ros.training.recipe.random_base import flux_parameters

    full = args.baseline == 'flux-dev'
    shape = BaselineShape() if full else baseline_shape(settings)
    device = choose_device(settings.device, flux_parameters() if full else None)
    precision = 'bfloat16' if full else settings.precision  # the released code's
    dtype = choose_precision(precision, device)
    reset_memory(device)
    baseline = ReleasedBaseline(shape, device, dtype)
    timed = dict.fromkeys((case.size, case.steps) for case in cases)
    figures = [
        time_case(
            Case(size, ('depth',), steps),
            lambda image, case: baseline.predict(image, steps=case.steps)[1],
            repeats=args.repeats,
            warmup=args.warmup,
        )
        for size, steps in timed
    ]
    return {
        'name': f"released code's costs ({args.baseline})",
        'device': device_name(device),
        'precision': str(dtype).removeprefix('torch.'),
        'parameters': baseline.parameters,
        'memory': memory(device),
        'cases': [as_json(figure) for figure in figures],
    }


def baseline_shape(settings: ModelSettings) -> Any:
    """The baseline at the size of a model that lies in a folder.

    Raises:
        ModelFileError: its files are not there.
    """
    from lotus2_ros.model.files import WeightFiles, read_json
    from lotus2_ros.model.loading import locate
    from lotus2_ros.model.prompt import PROMPT_FILE, PROMPT_KEY, find_stored
    from lotus2_ros.model.tasks import TASKS
    from lotus2_ros.tools.released_baseline import BaselineShape

    task = TASKS[settings.tasks[0]]
    folders = locate(settings.model, settings.base or None, settings.tasks, sharpener=False)
    stored = find_stored([folders.model, folders.base])
    if stored is None:
        raise ModelFileError(f'{folders.base} has no {PROMPT_FILE}, which says how long it is')
    with WeightFiles.single(stored) as files:
        tokens = files.shape(PROMPT_KEY)[1]
    with WeightFiles.single(folders.model / task.core_file) as files:
        rank = next(files.shape(key)[0] for key in files.keys() if '.lora_A.' in key)  # noqa: SIM118
    transformer, vae = (
        read_json(folders.base / part / 'config.json') for part in ('transformer', 'vae')
    )
    return BaselineShape.like(transformer, vae, tokens, rank, folders.max_side)


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
