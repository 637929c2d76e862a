"""`lotus2 train nano`: train the bundled checkpoint anew."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch

from lotus2_ros.training.nano import STAGES, NanoTraining
from lotus2_ros.training.settings import TrainingSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    defaults = TrainingSettings()
    parser.add_argument('recipe', choices=['nano'], help='what to train')
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
    parser.add_argument('--precision', choices=['bfloat16', 'float32'], default=defaults.precision)
    parser.add_argument('--no-compile', action='store_true', help='neither compile nor record')
    parser.add_argument('--photographs', type=Path, default=None, help='folder with photographs')


def settings_from(args: argparse.Namespace) -> TrainingSettings:
    """The recipe with what the command line changes."""
    settings = TrainingSettings(
        seed=args.seed,
        batch=args.batch,
        precision=args.precision,
        compiled=not args.no_compile,
        recorded=not args.no_compile,
    )
    stages = {
        stage: dataclasses.replace(
            getattr(settings, stage),
            seconds=getattr(args, f'{stage}_seconds'),
            steps=getattr(args, f'{stage}_steps'),
        )
        for stage in STAGES
    }
    return dataclasses.replace(settings, **stages)


def run(args: argparse.Namespace) -> int:
    """Train, or go on with an interrupted training in the same folder; 0 when finished."""
    training = NanoTraining(
        settings_from(args), args.out, args.device, photographs=args.photographs
    )
    finished = training.run(args.budget, last_stage=args.last_stage)
    training.export(args.out / 'model')
    print(f'{"finished" if finished else "paused"}; model in {args.out / "model"}')
    return 0
