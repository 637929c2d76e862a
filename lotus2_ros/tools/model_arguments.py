"""Options that say which model runs where: the same for every subcommand, defaults in settings."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from lotus2_ros.settings import ModelSettings

if TYPE_CHECKING:
    from lotus2_ros.runtime import Lotus2Predictor


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --model, --base, --tasks and the options that say where and how it runs."""
    about = ModelSettings.parameters()
    default = ModelSettings()

    def text(name: str) -> str:
        return f'{about[name].description} (default: {_shown(getattr(default, name))})'

    group = parser.add_argument_group('model')
    group.add_argument('--model', default=default.model, help=text('model'))
    group.add_argument('--base', default=default.base, help=text('base'))
    group.add_argument(
        '--tasks',
        nargs='+',
        default=list(default.tasks),
        choices=about['tasks'].choices,
        metavar='TASK',
        help=text('tasks'),
    )
    group.add_argument('--device', default=default.device, help=text('device'))
    group.add_argument(
        '--precision',
        default=default.precision,
        choices=about['precision'].choices,
        help=text('precision'),
    )
    group.add_argument(
        '--acceleration',
        default=default.acceleration,
        choices=about['acceleration'].choices,
        help=text('acceleration'),
    )
    group.add_argument(
        '--text-merging',
        type=float,
        default=default.text_merging,
        metavar='SHARE',
        help=text('text_merging'),
    )
    group.add_argument(
        '--max-side', type=int, default=default.max_side, metavar='PX', help=text('max_side')
    )
    group.add_argument(
        '--threads',
        dest='cpu_threads',
        type=int,
        default=default.cpu_threads,
        metavar='N',
        help=text('cpu_threads'),
    )


def model_settings(args: argparse.Namespace) -> ModelSettings:
    """The settings that the options give.

    Raises:
        SettingsError: one of them is out of range.
    """
    return ModelSettings.from_mapping(
        {
            'model': args.model,
            'base': args.base,
            'tasks': tuple(args.tasks),
            'device': args.device,
            'precision': args.precision,
            'acceleration': args.acceleration,
            'text_merging': args.text_merging,
            'max_side': args.max_side,
            'cpu_threads': args.cpu_threads,
        }
    )


def load_predictor(
    settings: ModelSettings, *, sharpener: bool, progress: Callable[[str, float], None] | None
) -> Lotus2Predictor:
    """Load the model in this process.

    Raises:
        Lotus2Error: see `Lotus2Predictor.from_pretrained`.
    """
    from lotus2_ros.runtime import Lotus2Predictor  # torch: seconds, and not for --help

    return Lotus2Predictor.from_pretrained(
        settings.model,
        tasks=settings.tasks,
        base=settings.base,
        device=settings.device,
        precision=settings.precision,
        acceleration=settings.acceleration,
        text_merging=settings.text_merging,
        sharpener=sharpener,
        max_side=settings.max_side,
        cpu_threads=settings.cpu_threads,
        progress=progress,
    )


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ' '.join(value)
    return str(value) if value != '' else 'none'
