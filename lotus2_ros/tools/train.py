r"""Train: a stage of the paper's recipe on a FLUX base or on nano, or the bundled nano itself.

  lotus2 train core --preset flux-dev --config data.yaml --out runs/core
  lotus2 train sharpener --preset flux-dev --config data.yaml --out runs/sharpener \
      --set core=runs/core/model
  lotus2 train measure --preset flux-dev --stage core --batch 1,2,4 --size 576x768

Several GPUs: accelerate launch --num_processes 8 -m lotus2_ros.tools.cli train core ...
and for nano: torchrun --nproc_per_node 8 -m lotus2_ros.tools.cli train nano ...
The same command in the same folder goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import torch

from lotus2_ros.errors import SettingsError
from lotus2_ros.tools import ablation
from lotus2_ros.tools.json_files import write_json
from lotus2_ros.tools.sizes import parse_training_size
from lotus2_ros.training.nano import STAGES, NanoTraining
from lotus2_ros.training.settings import TrainingSettings

RECIPE_STAGES = ('core', 'sharpener')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    kinds = parser.add_subparsers(dest='recipe', required=True, metavar='WHAT')
    for stage, about in (
        ('core', 'stage one: the core predictor and the local continuity module'),
        ('sharpener', 'stage two: the detail sharpener of a trained core'),
    ):
        part = kinds.add_parser(stage, help=about, description=about)
        _add_settings(part)
        part.add_argument('--out', type=Path, required=True, help='folder of the run')
        part.add_argument('--quiet', action='store_true', help='no progress bar')
    part = kinds.add_parser('measure', help='memory and time of training steps on random pictures')
    _add_measuring(part)
    _add_nano(kinds.add_parser('nano', help='the bundled checkpoint anew, base and all'))
    about = 'what each choice of the core predictor is worth, on nano'
    ablation.add_arguments(kinds.add_parser('ablation', help=about, description=about))


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--config', type=Path, default=None, help='YAML file of settings')
    parser.add_argument(
        '--preset', default=None, help='settings to start from: flux-dev, flux-schnell or nano'
    )
    parser.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='KEY=VALUE',
        dest='changes',
        help='change one setting, for example optimiser.lr=1e-4; may be given again',
    )


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser)
    parser.add_argument('--stage', choices=RECIPE_STAGES, default='core')
    parser.add_argument('--batch', default='1,2,4', help='samples at once, to try')
    parser.add_argument('--accumulate', default='1', help='micro-batches a step, to try with each')
    parser.add_argument('--size', default='576x768', help='height x width of the pictures')
    parser.add_argument('--steps', type=int, default=3, help='timed steps, after one that is not')
    parser.add_argument(
        '--uncached', action='store_true', help='sharpener: run the core for each sample, too'
    )
    parser.add_argument('--out', type=Path, default=None, help='JSON file for the figures')


def _add_nano(parser: argparse.ArgumentParser) -> None:
    defaults = TrainingSettings()
    parser.add_argument('--out', type=Path, required=True, help='folder for state, log and model')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--seed', type=int, default=defaults.seed)
    parser.add_argument('--batch', type=int, default=defaults.batch, help='scenes a step')
    parser.add_argument('--budget', type=float, default=float('inf'), help='stop after seconds')
    parser.add_argument('--last-stage', choices=STAGES, default=STAGES[-1])
    for stage in STAGES:
        seconds = getattr(defaults, stage).seconds
        parser.add_argument(f'--{stage}-seconds', type=float, default=seconds)
        parser.add_argument(f'--{stage}-steps', type=int, default=getattr(defaults, stage).steps)
    parser.add_argument(
        '--core-cycles',
        type=int,
        default=defaults.core.cycles,
        metavar='N',
        help='with --start: go through the schedule N times within --core-seconds, and after each'
        ' take a mean of the weights before and after it; 0: once, no mean (%(default)s)',
    )
    parser.add_argument(
        '--core-share',
        type=float,
        default=defaults.core.share,
        help='share of the weights after a cycle in that mean (%(default)s)',
    )
    parser.add_argument(
        '--core-rate',
        type=float,
        default=defaults.core.rate,
        help='peak learning rate (%(default)s)',
    )
    parser.add_argument('--precision', choices=['bfloat16', 'float32'], default=defaults.precision)
    parser.add_argument('--no-compile', action='store_true', help='neither compile nor record')
    parser.add_argument(
        '--edge-weight',
        type=float,
        default=defaults.edge_weight,
        help="weight of depth edges in the decoder's stage (%(default)s)",
    )
    parser.add_argument(
        '--edge-radius',
        type=int,
        default=defaults.edge_radius,
        help="pixels that the sharpener's truth may be moved by; 0: the paper's (%(default)s)",
    )
    parser.add_argument(
        '--overlap-weight',
        type=float,
        default=defaults.overlap_weight,
        help="weight of the sharpener's loss of edges; 0: the paper's recipe (%(default)s)",
    )
    parser.add_argument(
        '--own-state-share',
        type=float,
        default=defaults.own_state_share,
        help="share of the sharpener's states that its own first step leads to; 0: the paper's"
        ' recipe (%(default)s)',
    )
    parser.add_argument(
        '--far-off-weight',
        type=float,
        default=defaults.far_off_weight,
        help='weight of the share of depth that delta1 does not count (%(default)s)',
    )
    parser.add_argument(
        '--reuse',
        type=float,
        default=defaults.reuse,
        help='training steps that a rendered scene serves (%(default)s)',
    )
    parser.add_argument(
        '--normals-every',
        type=int,
        default=defaults.normals_every,
        metavar='N',
        help='normals are learnt in every N-th step only (%(default)s)',
    )
    parser.add_argument(
        '--wide-share',
        type=float,
        default=defaults.size_weights[1],
        help='share of steps whose pictures are 400x192, not 320x240 (%(default)s)',
    )
    parser.add_argument(
        '--truth-share',
        type=float,
        default=defaults.truth_share,
        help='with --decoder-with-core: share of a batch whose truth is decoded (%(default)s)',
    )
    parser.add_argument(
        '--decoder-with-core', action='store_true', help="train the decoder in the core's stage too"
    )
    parser.add_argument('--start', type=Path, default=None, help='model folder to begin from')
    parser.add_argument('--photographs', type=Path, default=None, help='folder with photographs')


def run(args: argparse.Namespace) -> int:
    """Train, or go on with an interrupted training in the same folder; 0 when done or paused."""
    if args.recipe in RECIPE_STAGES:
        return _run_stage(args)
    if args.recipe == 'measure':
        return _run_measuring(args)
    if args.recipe == 'ablation':
        return ablation.run(args)
    return _run_nano(args)


def _run_stage(args: argparse.Namespace) -> int:
    from lotus2_ros.training.recipe.settings_files import load_settings
    from lotus2_ros.training.recipe.trainer import Trainer

    settings = load_settings(args.config, preset=args.preset, changes=args.changes)
    trainer = Trainer(args.recipe, settings, args.out, shown=not args.quiet)
    if trainer.step and trainer.is_main:
        print(f'going on from step {trainer.step}')
    finished = trainer.run()
    if trainer.is_main:
        if finished:
            print(f'finished; model in {trainer.model_folder}')
        else:
            print(f'stopped after step {trainer.step}; the same command goes on from there')
    return 0 if finished else 130


def _run_measuring(args: argparse.Namespace) -> int:
    from lotus2_ros.training.recipe import measure
    from lotus2_ros.training.recipe.settings_files import load_settings

    settings = load_settings(args.config, preset=args.preset, changes=args.changes)
    batches, accumulations = _numbers(args.batch, '--batch'), _numbers(args.accumulate, '--acc')
    size = parse_training_size(args.size)
    single = dataclasses.replace(settings.batch, total=1, per_device=1)
    settings = dataclasses.replace(settings, batch=single)
    base = measure.base_to_measure(settings)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        stage = measure.stage_to_measure(
            args.stage, base, settings, Path(folder), cached=not args.uncached
        )
        print(measure.markdown())
        for row in measure.measure(stage, settings, size, batches, accumulations, args.steps):
            print(measure.markdown(row), flush=True)
            rows.append(row)
    if args.out is not None:
        about = measure.report(stage, settings, size, rows)
        about['coarse_latents_cached'] = args.stage == 'sharpener' and not args.uncached
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.out, about)
    return 0


def _numbers(text: str, option: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(',')]
    except ValueError as err:
        raise SettingsError(f'{option} is {text!r}; write numbers, for example 1,2,4') from err
    if min(numbers) < 1:
        raise SettingsError(f'{option} is {text!r}; every number must be positive')
    return numbers


def settings_from(args: argparse.Namespace) -> TrainingSettings:
    """The recipe of nano with what the command line changes."""
    settings = TrainingSettings(
        seed=args.seed,
        batch=args.batch,
        precision=args.precision,
        compiled=not args.no_compile,
        recorded=not args.no_compile,
        edge_weight=args.edge_weight,
        edge_radius=args.edge_radius,
        overlap_weight=args.overlap_weight,
        own_state_share=args.own_state_share,
        far_off_weight=args.far_off_weight,
        reuse=args.reuse,
        normals_every=args.normals_every,
        truth_share=args.truth_share,
        size_weights=(1 - args.wide_share, args.wide_share),
        decoder_with_core=args.decoder_with_core,
    )
    stages = {
        stage: dataclasses.replace(
            getattr(settings, stage),
            seconds=getattr(args, f'{stage}_seconds'),
            steps=getattr(args, f'{stage}_steps'),
        )
        for stage in STAGES
    }
    stages['core'] = dataclasses.replace(
        stages['core'], cycles=args.core_cycles, share=args.core_share, rate=args.core_rate
    )
    return dataclasses.replace(settings, **stages)


def _run_nano(args: argparse.Namespace) -> int:
    if args.core_cycles and args.start is None:
        raise SettingsError(
            '--core-cycles takes means with the weights it began with: give --start'
        )
    for option in ('core_share', 'wide_share'):
        share = getattr(args, option)
        if not 0 <= share <= 1:
            raise SettingsError(f'--{option.replace("_", "-")} is {share}; allowed: 0 to 1')
    training = NanoTraining(
        settings_from(args),
        args.out,
        args.device,
        start=args.start,
        photographs=args.photographs,
    )
    finished = training.run(args.budget, last_stage=args.last_stage)
    if training.processes.first:
        training.export(args.out / 'model')
        print(f'{"finished" if finished else "paused"}; model in {args.out / "model"}')
    return 0
