"""`lotus2 evaluate`: how accurate a model is, by the published protocols.

  lotus2 evaluate nano --on held-out,motorcycle,mujoco,flicker --out DIR
  lotus2 evaluate MODEL --on nyuv2,kitti --data MARIGOLD_FOLDER --split-lists LISTS
  lotus2 evaluate MODEL --pairs FOLDER
  lotus2 evaluate --live --out DIR
  lotus2 evaluate nano --occupancy
  lotus2 evaluate nano --scale

held-out: scenes of training's own renderer. mujoco: another renderer's scenes. motorcycle: a real
photograph with measured depth. flicker: a still camera. The others are read from disk, --data:
depth from Marigold's evaluation folders, normals from DSINE's.

--live needs no model: it listens to a running depth_node and sim_robot (docs/simulation.md).
--occupancy checks the navigation cloud in the same world, --scale the metres, without ROS.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.tools.evaluate_live import add_live_arguments, run_live
from lotus2_ros.tools.evaluate_occupancy import add_occupancy_arguments, run_occupancy
from lotus2_ros.tools.evaluate_scale import add_scale_arguments, run_scale
from lotus2_ros.tools.evaluation_choice import (
    FlickerSequence,
    add_benchmark_arguments,
    chosen_benchmarks,
)
from lotus2_ros.tools.evaluation_files import (
    plain,
    plain_steadiness,
    write_results,
    write_steadiness,
)
from lotus2_ros.tools.json_files import write_json
from lotus2_ros.tools.model_arguments import add_judged_model_arguments, load_judged
from lotus2_ros.training.evaluation.benchmark import Benchmark
from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.training.evaluation.running import evaluate
from lotus2_ros.training.evaluation.steadiness import measure_steadiness
from lotus2_ros.training.evaluation.tables import page, steadiness_page
from lotus2_ros.types import DEPTH, NORMALS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    add_judged_model_arguments(parser)
    parser.add_argument(
        '--max-side',
        type=int,
        default=None,
        metavar='PX',
        help="longest side the network sees (default: the protocol's, or a small model's own)",
    )
    parser.add_argument('--sharpen-steps', type=int, default=10, help='0 skips the sharpener')
    parser.add_argument(
        '--sharpness-bounds',
        action='store_true',
        help='judge, too, what sharper edges could be worth where depth is known everywhere',
    )
    parser.add_argument('--out', type=Path, default=None, help='folder for tables and pictures')
    add_benchmark_arguments(parser)
    add_live_arguments(parser)
    add_occupancy_arguments(parser)
    add_scale_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the tables, write files.

    Returns:
        0 when every benchmark was evaluated and every usable sample got a prediction, else 1.
    """
    if args.out is not None and importlib.util.find_spec('matplotlib') is None:
        raise EvaluationError('--out needs matplotlib for its plots: pip install matplotlib')
    if args.live:
        return run_live(args)
    if args.occupancy:
        return run_occupancy(args)
    if args.scale:
        return run_scale(args)
    benchmarks = chosen_benchmarks(args)
    predictor = load_judged(args, tasks=_tasks(benchmarks), sharpener=args.sharpen_steps > 0)
    settings = [0] + ([args.sharpen_steps] if args.sharpen_steps > 0 else [])
    report: dict[str, Any] = {'model': predictor.info(), 'benchmarks': {}}
    pages, failed = [], False
    for benchmark in benchmarks:
        try:
            if isinstance(benchmark, FlickerSequence):
                text, content, complete = _run_sequence(predictor, benchmark, settings, args)
            else:
                text, content, complete = _run_benchmark(predictor, benchmark, settings, args)
        except EvaluationError as error:
            # Such as a renderer that is not installed: the other benchmarks' hours are not lost.
            text = f'### {benchmark.title}\n\nNOT EVALUATED: {error}'
            content, complete = {'title': benchmark.title, 'not_evaluated': str(error)}, False
        print(f'\n{text}')
        pages.append(text)
        failed = failed or not complete
        report['benchmarks'][benchmark.name] = content
        if args.out is not None:
            # After every benchmark: a run of hours keeps what it has.
            args.out.mkdir(parents=True, exist_ok=True)
            write_json(args.out / 'evaluation.json', report)
            (args.out / 'results.md').write_text('\n\n'.join(pages) + '\n', encoding='utf-8')
    return 1 if failed else 0


def _tasks(benchmarks: Sequence[Benchmark | FlickerSequence]) -> list[str]:
    """Only what is judged is loaded: each task of the full model takes gigabytes."""
    wanted = set()
    for benchmark in benchmarks:
        if isinstance(benchmark, FlickerSequence) or benchmark.rules.depth_range is not None:
            wanted.add(DEPTH)
        if isinstance(benchmark, FlickerSequence) or benchmark.rules.normals:
            wanted.add(NORMALS)
    return [task for task in (DEPTH, NORMALS) if task in wanted]


def _run_benchmark(
    predictor: Lotus2Predictor,
    benchmark: Benchmark,
    settings: Sequence[int],
    args: argparse.Namespace,
) -> tuple[str, dict[str, Any], bool]:
    """Its tables, its plain data, and whether every sample got a prediction."""
    with _progress(benchmark, args.limit) as progress:
        result = evaluate(
            predictor,
            benchmark,
            settings,
            limit=args.limit,
            max_side=args.max_side,
            bounds=args.sharpness_bounds,
            progress=progress,
        )
    text = page(benchmark, result)
    if not result.judged:
        raise EvaluationError(f'no sample could be judged\n{text}')
    if args.out is not None:
        write_results(args.out, benchmark, result)
    return text, plain(benchmark, result), not result.failed


def _run_sequence(
    predictor: Lotus2Predictor,
    sequence: FlickerSequence,
    settings: Sequence[int],
    args: argparse.Namespace,
) -> tuple[str, dict[str, Any], bool]:
    with _progress(sequence, args.limit) as progress:
        result = measure_steadiness(
            predictor,
            sequence,
            settings,
            limit=args.limit,
            max_side=args.max_side,
            progress=progress,
        )
    text = steadiness_page(sequence, result)
    if not result.judged:
        raise EvaluationError(f'no pair of frames could be compared\n{text}')
    if args.out is not None:
        write_steadiness(args.out, sequence, result)
    return text, plain_steadiness(sequence, result), True


@contextmanager
def _progress(
    benchmark: Benchmark | FlickerSequence, limit: int | None
) -> Iterator[Callable[[str], None]]:
    total = len(benchmark) if limit is None else min(limit, len(benchmark))
    with tqdm(total=total, desc=benchmark.name, unit='image', dynamic_ncols=True) as bar:
        yield lambda _: bar.update()
