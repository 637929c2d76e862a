"""Which benchmarks `lotus2 evaluate` runs: its options, and the benchmarks they open."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from lotus2_ros.errors import SettingsError
from lotus2_ros.tools.sizes import parse_size
from lotus2_ros.training.evaluation.benchmark import Benchmark
from lotus2_ros.training.evaluation.built_in import SCENES, HeldOut, Motorcycle
from lotus2_ros.training.evaluation.depth_alignment import DepthRange
from lotus2_ros.training.evaluation.depth_sets import DEPTH_SETS, DepthBenchmark
from lotus2_ros.training.evaluation.mujoco_scenes import MujocoScenes
from lotus2_ros.training.evaluation.normal_sets import NORMAL_SETS, NormalBenchmark
from lotus2_ros.training.evaluation.pairs import LAYOUT, PairFolder, PairRules
from lotus2_ros.training.evaluation.sequences import FrameFolder, StillCamera

BUILT_IN = ('held-out', 'motorcycle', 'mujoco', 'flicker')
"""Benchmarks that need no download."""

DEFAULT = 'held-out,motorcycle'
"""What is evaluated on where nothing is named: mujoco needs a package that not everyone has."""

FlickerSequence = StillCamera | FrameFolder


def add_benchmark_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that choose benchmarks and say where their files are."""
    group = parser.add_argument_group('what to evaluate on')
    group.add_argument(
        '--on',
        default=None,
        metavar='NAME,NAME',
        help=f'{", ".join((*BUILT_IN, *DEPTH_SETS, *NORMAL_SETS))} (default: {DEFAULT})',
    )
    group.add_argument('--limit', type=int, default=None, metavar='N', help='first N samples only')
    group.add_argument('--scenes', type=int, default=SCENES, help='number of held-out scenes')
    group.add_argument(
        '--held-out',
        type=Path,
        default=None,
        metavar='FILE',
        help='keep held-out scenes here (.npz): read if it is there, else rendered and written',
    )
    group.add_argument('--size', default='320x240', help='width x height of held-out scenes')
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
    group.add_argument('--pairs', type=Path, default=None, metavar='DIR', help=LAYOUT)
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
    group.add_argument(
        '--sequence',
        type=Path,
        default=None,
        metavar='DIR',
        help='frames to measure flicker on; NAME_depth.* beside each says what stands still',
    )


def chosen_benchmarks(args: argparse.Namespace) -> list[Benchmark | FlickerSequence]:
    """The benchmarks that the command line names, opened.

    Raises:
        SettingsError: a name is unknown, or a number makes no sense.
        EvaluationError: one cannot be opened.
        ImageError: the folder of a sequence has no pictures.
    """
    if args.limit is not None and args.limit < 1:
        raise SettingsError(f'--limit must be at least 1, not {args.limit}')
    own: list[Benchmark | FlickerSequence] = []
    if args.pairs is not None:
        own.append(PairFolder(args.pairs, _pair_rules(args)))
    if args.sequence is not None:
        own.append(FrameFolder(args.sequence))
    listed = args.on or ('' if own else DEFAULT)
    names = dict.fromkeys(name.strip() for name in listed.split(',') if name.strip())
    return [_open(name, args) for name in names] + own


def _open(name: str, args: argparse.Namespace) -> Benchmark | FlickerSequence:
    if name == 'held-out':
        height, width = parse_size(args.size, '--size')
        return HeldOut(args.scenes, height, width, args.held_out)
    if name == 'motorcycle':
        return Motorcycle()
    if name == 'mujoco':
        return MujocoScenes()
    if name == 'flicker':
        return StillCamera()
    if name not in DEPTH_SETS and name not in NORMAL_SETS:
        known = ', '.join((*BUILT_IN, *DEPTH_SETS, *NORMAL_SETS))
        raise SettingsError(f'benchmark {name!r} is unknown; known: {known}')
    if args.data is None:
        raise SettingsError(f'{name} is read from disk: say where with --data')
    if name in DEPTH_SETS:
        return DepthBenchmark(name, args.data, args.split_lists)
    return NormalBenchmark(name, args.data, args.split_lists)


def _pair_rules(args: argparse.Namespace) -> PairRules:
    try:
        near, far = (float(depth) for depth in args.depth_range.split(','))
    except ValueError as error:
        msg = f'--depth-range must be like 0.5,80, not {args.depth_range!r}'
        raise SettingsError(msg) from error
    if not 0 <= near < far:
        raise SettingsError(f'--depth-range {args.depth_range}: 0 <= NEAR < FAR is needed')
    if not (args.depth_units > 0 and math.isfinite(args.depth_units)):
        raise SettingsError(f'--depth-units must be a positive number, not {args.depth_units}')
    return PairRules(args.depth_units, DepthRange(near, far), not args.normals_face_camera)
