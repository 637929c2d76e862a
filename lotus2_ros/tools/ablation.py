"""`lotus2 train ablation`: what each choice of the core predictor is worth, table and picture.

Every variant trains a fresh transformer of nano's shape with the autoencoder of a model folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from lotus2_ros.errors import Lotus2Error, SettingsError
from lotus2_ros.geometry.colormap import colorize_disparity
from lotus2_ros.training.settings import TrainingSettings
from lotus2_ros.types import AnyArray, UInt8Array

if TYPE_CHECKING:
    from lotus2_ros.training.ablation import Judged
    from lotus2_ros.training.held_out import HeldOutScene

_SHOWN = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    defaults = TrainingSettings()
    parser.add_argument('--out', type=Path, required=True, help='folder for table and picture')
    parser.add_argument(
        '--start', type=Path, required=True, help='model folder whose autoencoder is used'
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--steps', type=int, default=2000, help='of each variant')
    parser.add_argument('--batch', type=int, default=defaults.batch, help='scenes a step')
    parser.add_argument('--scenes', type=int, default=200, help='held-out scenes to judge on')
    parser.add_argument('--size', default='240x320', help='height x width of the scenes')
    parser.add_argument('--photographs', type=Path, default=None, help='folder with photographs')
    parser.add_argument('--no-compile', action='store_true', help='neither compile nor record')


def run(args: argparse.Namespace) -> int:
    """Train and judge all variants; writes `ablation.md`, `.json` and `.jpg`; 0 when done."""
    from lotus2_ros.training.ablation import VARIANTS, judge, table, train_variant
    from lotus2_ros.training.held_out import held_out_scenes
    from lotus2_ros.training.nano import NanoTraining

    plan = _plan(args)
    training = NanoTraining(
        plan, args.out / 'state', args.device, start=args.start, photographs=args.photographs
    )
    height, width = plan.sizes[0]
    scenes = list(
        held_out_scenes(args.scenes, height=height, width=width, photographs=args.photographs)
    )
    rows: list[Judged] = []
    for variant in VARIANTS:
        network = train_variant(training.bench, variant, plan.core)
        own = dataclasses.replace(training.bench, network=network)
        rows += judge(own, variant, [s for s in scenes if s.valid.any()], shown=_SHOWN)
        print(table(rows[-len(variant.steps) :]), flush=True)
    (args.out / 'ablation.md').write_text(table(rows) + '\n', encoding='utf-8')
    figures = [{**dataclasses.asdict(row), 'pictures': None, 'steps': args.steps} for row in rows]
    (args.out / 'ablation.json').write_text(json.dumps(figures, indent=2) + '\n')
    _write_picture(args.out / 'ablation.jpg', [s for s in scenes if s.valid.any()], rows)
    return 0


def _plan(args: argparse.Namespace) -> TrainingSettings:
    plan = TrainingSettings()
    compiled = not args.no_compile and torch.device(args.device).type == 'cuda'
    return dataclasses.replace(
        plan,
        sizes=(_size(args.size),),
        size_weights=(1.0,),
        batch=args.batch,
        compiled=compiled,
        recorded=compiled,
        precision=plan.precision if torch.device(args.device).type == 'cuda' else 'float32',
        # By steps and not by time, so that all variants see the same scenes.
        core=dataclasses.replace(plan.core, seconds=float('inf'), steps=args.steps),
    )


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition('x')
    if not (height.isdigit() and width.isdigit()) or int(height) % 16 or int(width) % 16:
        raise SettingsError(f'--size is {text!r}; write height x width, both multiples of 16')
    return int(height), int(width)


def _write_picture(path: Path, scenes: list[HeldOutScene], rows: list[Judged]) -> None:
    """Columns: picture, true disparity, each variant's in the order of the table."""
    shown = scenes[:_SHOWN]
    truth: list[AnyArray] = [np.where(s.surface, 1 / s.depth, 0).astype(np.float32) for s in shown]
    columns: list[list[UInt8Array]] = [[s.rgb for s in shown]]
    columns += [[_coloured(m) for m in maps] for maps in (truth, *(row.pictures for row in rows))]
    picture = np.concatenate([np.concatenate(column, axis=0) for column in columns], axis=1)
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise Lotus2Error(f'{path}: cannot be written')


def _coloured(disparity: AnyArray) -> UInt8Array:
    low, high = np.quantile(disparity, [0.02, 0.98])
    return colorize_disparity(disparity, low=float(low), high=float(max(high, low + 1e-6)))
