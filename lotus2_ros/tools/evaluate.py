"""`lotus2 evaluate`: how accurate a model is, by the published protocols.

Benchmarks that need no download: held-out (scenes of training's own renderer), mujoco (another
renderer's scenes), motorcycle (a real photograph), flicker (a still camera).
From downloaded folders, with --data: nyuv2, kitti, eth3d, scannet, diode (depth, Marigold's
evaluation folders), nyuv2-normals, scannet-normals, ibims, sintel (normals, DSINE's).
Your own pictures with ground truth: --pairs.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lotus2_ros.errors import SettingsError
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.tools.evaluation_files import plain, write_json, write_results
from lotus2_ros.training.evaluation.benchmark import Benchmark
from lotus2_ros.training.evaluation.built_in import SCENES, HeldOut, Motorcycle
from lotus2_ros.training.evaluation.depth_alignment import DepthRange
from lotus2_ros.training.evaluation.depth_sets import DEPTH_SETS, DepthBenchmark
from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.training.evaluation.normal_sets import NORMAL_SETS, NormalBenchmark
from lotus2_ros.training.evaluation.pairs import LAYOUT as PAIRS_LAYOUT
from lotus2_ros.training.evaluation.pairs import PairFolder, PairRules
from lotus2_ros.training.evaluation.running import Result, evaluate
from lotus2_ros.training.evaluation.tables import counts, markdown, recovered, summaries
from lotus2_ros.types import DEPTH, NORMALS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument('model', nargs='?', default='nano', help='nano, a folder or a hub id')
    parser.add_argument('--base', default=None, help='FLUX base, if the model folder has none')
    parser.add_argument('--device', default=None, help='cuda, cuda:N, cpu or auto')
    parser.add_argument('--precision', default=None, help='float32, bfloat16 or auto')
    parser.add_argument('--threads', type=int, default=0, metavar='N', help='CPU threads; 0: all')
    parser.add_argument(
        '--max-side',
        type=int,
        default=None,
        metavar='PX',
        help="longest side the network sees (default: the protocol's, or a small model's own)",
    )
    parser.add_argument('--on', default=None, metavar='NAME,NAME', help='benchmarks, see above')
    parser.add_argument('--sharpen-steps', type=int, default=10, help='0 skips the sharpener')
    parser.add_argument('--limit', type=int, default=None, metavar='N', help='first N samples only')
    parser.add_argument('--scenes', type=int, default=SCENES, help='number of held-out scenes')
    parser.add_argument('--size', default='320x240', help='width x height of held-out scenes')
    parser.add_argument('--out', type=Path, default=None, help='folder for tables and pictures')
    group = parser.add_argument_group('ground truth on disk')
    group.add_argument(
        '--data',
        type=Path,
        default=None,
        metavar='PATH',
        help="Marigold's evaluation folder or DSINE's, a folder in it, or a tar archive",
    )
    group.add_argument(
        '--split-lists',
        type=Path,
        default=None,
        metavar='DIR',
        help="folder with the protocols' lists of samples (default: every pair in the data)",
    )
    group.add_argument(
        '--pairs', type=Path, default=None, metavar='DIR', help='any folder: ' + PAIRS_LAYOUT
    )
    group.add_argument(
        '--depth-units', type=float, default=1000.0, help='units a metre of --pairs depth in PNG'
    )
    group.add_argument(
        '--depth-range', default='0.001,1000', metavar='NEAR,FAR', help='metres judged of --pairs'
    )
    group.add_argument(
        '--normals-face-camera',
        action='store_true',
        help='normals of --pairs point towards the camera; default: away from it, as in DSINE',
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the tables, write files.

    Returns:
        0 when every sample got a prediction, 1 when the model failed on some.
    """
    if args.out is not None and importlib.util.find_spec('matplotlib') is None:
        raise EvaluationError('--out needs matplotlib for its plots: pip install matplotlib')
    benchmarks = chosen_benchmarks(args)
    predictor = Lotus2Predictor.from_pretrained(
        args.model,
        tasks=_tasks(benchmarks),
        base=args.base,
        device=args.device,
        precision=args.precision,
        cpu_threads=args.threads,
        sharpener=args.sharpen_steps > 0,
    )
    settings = [0] + ([args.sharpen_steps] if args.sharpen_steps > 0 else [])
    report: dict[str, Any] = {'model': predictor.info(), 'benchmarks': {}}
    pages, failed = [], False
    for benchmark in benchmarks:
        result = _evaluate(predictor, benchmark, settings, args)
        page = _page(benchmark, result)
        print(f'\n{page}')
        pages.append(page)
        failed = failed or bool(result.failed)
        report['benchmarks'][benchmark.name] = plain(benchmark, result)
        if args.out is not None:
            write_results(args.out, benchmark, result)
            # After every benchmark: a run of hours keeps what it has.
            write_json(args.out / 'evaluation.json', report)
            (args.out / 'results.md').write_text('\n\n'.join(pages) + '\n', encoding='utf-8')
    return 1 if failed else 0


def chosen_benchmarks(args: argparse.Namespace) -> list[Benchmark]:
    """The benchmarks that the command line names, opened.

    Raises:
        SettingsError: a name is unknown.
        EvaluationError: one cannot be opened.
    """
    own = [] if args.pairs is None else [_pairs(args)]
    default = '' if own else 'held-out,motorcycle'
    names = [name.strip() for name in (args.on or default).split(',') if name.strip()]
    return [_open(name, args) for name in names] + own


def _open(name: str, args: argparse.Namespace) -> Benchmark:
    if name == 'held-out':
        width, height = _size(args.size)
        return HeldOut(args.scenes, height, width)
    if name == 'motorcycle':
        return Motorcycle()
    if name in DEPTH_SETS or name in NORMAL_SETS:
        if args.data is None:
            raise SettingsError(f'{name} is read from disk: say where with --data')
        kind = DepthBenchmark if name in DEPTH_SETS else NormalBenchmark
        return kind(name, args.data, args.split_lists)
    raise SettingsError(f'benchmark {name!r} is unknown; see lotus2 evaluate --help')


def _pairs(args: argparse.Namespace) -> PairFolder:
    try:
        near, far = (float(depth) for depth in args.depth_range.split(','))
    except ValueError as error:
        msg = f'--depth-range must be like 0.5,80, not {args.depth_range!r}'
        raise SettingsError(msg) from error
    if not 0 <= near < far or not args.depth_units > 0 or math.isinf(args.depth_units):
        msg = f'--depth-range {near},{far} or --depth-units {args.depth_units} makes no sense'
        raise SettingsError(msg)
    rules = PairRules(args.depth_units, DepthRange(near, far), not args.normals_face_camera)
    return PairFolder(args.pairs, rules)


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(side) for side in text.split('x'))
    except ValueError as error:
        raise SettingsError(f'--size must be like 320x240, not {text!r}') from error
    return width, height


def _tasks(benchmarks: Sequence[Benchmark]) -> list[str]:
    """Only what is judged is loaded: each task of the full model takes gigabytes."""
    wanted = {
        DEPTH: any(b.rules.depth_range is not None for b in benchmarks),
        NORMALS: any(b.rules.normals for b in benchmarks),
    }
    return [task for task, needed in wanted.items() if needed]


def _evaluate(
    predictor: Lotus2Predictor,
    benchmark: Benchmark,
    settings: Sequence[int],
    args: argparse.Namespace,
) -> Result:
    total = len(benchmark) if args.limit is None else min(args.limit, len(benchmark))
    with tqdm(total=total, desc=benchmark.name, unit='image', dynamic_ncols=True) as bar:
        result = evaluate(
            predictor,
            benchmark,
            settings,
            limit=args.limit,
            max_side=args.max_side,
            progress=lambda _: bar.update(),
        )
    if not result.judged:
        raise EvaluationError(f'{benchmark.name}: no sample could be judged\n{counts(result)}')
    return result


def _page(benchmark: Benchmark, result: Result) -> str:
    lines = [f'### {benchmark.title}', '', markdown(summaries(benchmark.name, result)), '']
    lines += [
        f'{name}: brings back {share:.1%} of the fine log power that the core misses'
        for name, share in recovered(result).items()
    ]
    return '\n'.join([*lines, counts(result)])
