"""`lotus2 train ablation`: what each choice of the core predictor is worth, table and picture.

Every variant trains a fresh transformer of nano's shape with the autoencoder of a model folder.
Results are written after each; the same command in the same folder goes on with the next.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from lotus2_ros.errors import Lotus2Error, SettingsError
from lotus2_ros.geometry.colormap import colorize_disparity
from lotus2_ros.tools.json_files import write_json
from lotus2_ros.tools.sizes import parse_training_size
from lotus2_ros.training.settings import TrainingSettings
from lotus2_ros.types import AnyArray, UInt8Array

if TYPE_CHECKING:
    from lotus2_ros.training.ablation import Judged, Variant
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
    parser.add_argument(
        '--held-out',
        type=Path,
        default=None,
        metavar='FILE',
        help='keep held-out scenes here (.npz): read if it is there, else rendered and written',
    )
    parser.add_argument('--size', default='240x320', help='height x width of the scenes')
    parser.add_argument('--photographs', type=Path, default=None, help='folder with photographs')
    parser.add_argument('--no-compile', action='store_true', help='neither compile nor record')
    parser.add_argument(
        '--variants', type=int, default=None, metavar='N', help='the first N only (default: all)'
    )


def run(args: argparse.Namespace) -> int:
    """Train and judge all variants; writes `ablation.md`, `.json` and `.jpg`; 0 when done."""
    from lotus2_ros.training.ablation import VARIANTS, judge, train_variant
    from lotus2_ros.training.held_out_file import kept_scenes
    from lotus2_ros.training.nano import NanoTraining

    plan = _plan(args)
    chosen = VARIANTS[: args.variants]
    results = _Results(args.out, _about(args), chosen)
    if results.missing:
        height, width = plan.sizes[0]
        scenes = kept_scenes(
            args.held_out, args.scenes, height=height, width=width, photographs=args.photographs
        )
        usable = [scene for scene in scenes if scene.valid.any()]
        training = NanoTraining(
            plan, args.out / 'state', args.device, start=args.start, photographs=args.photographs
        )
        for variant in results.missing:
            network = train_variant(training.bench, variant, plan.core)
            own = dataclasses.replace(training.bench, network=network)
            results.add(variant, judge(own, variant, usable, shown=_SHOWN))
            results.write(usable[:_SHOWN])
    else:
        print(results.table())
    return 0


def _about(args: argparse.Namespace) -> dict[str, Any]:
    """What results depend on; others must not be mixed with them in one table."""
    return {
        'start': str(args.start.resolve()),
        'steps': args.steps,
        'batch': args.batch,
        'scenes': args.scenes,
        'size': args.size,
        'held_out': None if args.held_out is None else str(args.held_out),
    }


class _Results:
    """Rows of the finished variants in a folder."""

    def __init__(self, folder: Path, about: dict[str, Any], variants: Sequence[Variant]) -> None:
        """Read what an earlier run has left.

        Raises:
            SettingsError: its settings were others.
        """
        self._folder, self._about, self._variants = folder, about, variants
        self._rows: dict[str, list[Judged]] = {}
        if not self._figures.exists():
            return
        content = json.loads(self._figures.read_text(encoding='utf-8'))
        if content['about'] != about:
            raise SettingsError(
                f'{self._figures} is of {content["about"]} and not of {about}: give the same '
                'settings to go on, or another --out'
            )
        for variant in variants:
            if variant.name in content['variants']:
                self._rows[variant.name] = self._read(variant, content['variants'][variant.name])

    @property
    def _figures(self) -> Path:
        return self._folder / 'ablation.json'

    @property
    def missing(self) -> list[Variant]:
        """Variants without results."""
        return [variant for variant in self._variants if variant.name not in self._rows]

    def add(self, variant: Variant, rows: list[Judged]) -> None:
        """Take in a variant's results."""
        self._rows[variant.name] = rows

    def table(self) -> str:
        """A Markdown table of all results."""
        from lotus2_ros.training.ablation import table

        return table([row for rows in self._rows.values() for row in rows])

    def write(self, shown: list[HeldOutScene]) -> None:
        """Write table, picture and predicted maps, and last the figures that say they are there."""
        rows = [row for part in self._rows.values() for row in part]
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / 'ablation.md').write_text(self.table() + '\n', encoding='utf-8')
        _write_picture(self._folder / 'ablation.jpg', shown, rows)
        for variant in self._variants:
            if variant.name in self._rows:
                maps = [row.pictures for row in self._rows[variant.name]]
                np.save(self._maps(variant), np.array(maps, dtype=np.float16))
        variants = {
            name: [{**dataclasses.asdict(row), 'pictures': None} for row in part]
            for name, part in self._rows.items()
        }
        content = {'about': self._about, 'variants': variants}
        partial = self._figures.with_suffix('.partial')
        write_json(partial, content)
        partial.replace(self._figures)
        print(self.table(), flush=True)

    def _read(self, variant: Variant, rows: list[dict[str, Any]]) -> list[Judged]:
        from lotus2_ros.training.ablation import Judged

        maps = np.load(self._maps(variant)).astype(np.float32)
        return [
            Judged(**{**row, 'pictures': list(pictures)})
            for row, pictures in zip(rows, maps, strict=True)
        ]

    def _maps(self, variant: Variant) -> Path:
        from lotus2_ros.training.ablation import VARIANTS

        return self._folder / f'maps_{VARIANTS.index(variant)}.npy'


def _plan(args: argparse.Namespace) -> TrainingSettings:
    plan = TrainingSettings()
    compiled = not args.no_compile and torch.device(args.device).type == 'cuda'
    return dataclasses.replace(
        plan,
        sizes=(parse_training_size(args.size),),
        size_weights=(1.0,),
        batch=args.batch,
        compiled=compiled,
        recorded=compiled,
        precision=plan.precision if torch.device(args.device).type == 'cuda' else 'float32',
        # By steps and not by time, so that all variants see the same scenes.
        core=dataclasses.replace(plan.core, seconds=float('inf'), steps=args.steps),
    )


def _write_picture(path: Path, scenes: list[HeldOutScene], rows: list[Judged]) -> None:
    """Columns: picture, true disparity, each variant's in the order of the table."""
    truth: list[AnyArray] = [np.where(s.surface, 1 / s.depth, 0).astype(np.float32) for s in scenes]
    columns: list[list[UInt8Array]] = [[s.rgb for s in scenes]]
    columns += [[_coloured(m) for m in maps] for maps in (truth, *(row.pictures for row in rows))]
    picture = np.concatenate([np.concatenate(column, axis=0) for column in columns], axis=1)
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise Lotus2Error(f'{path}: cannot be written')


def _coloured(disparity: AnyArray) -> UInt8Array:
    low, high = np.quantile(disparity, [0.02, 0.98])
    return colorize_disparity(disparity, low=float(low), high=float(max(high, low + 1e-6)))
