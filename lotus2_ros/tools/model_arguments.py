"""Options that say which model runs where: the same for every subcommand, defaults in settings."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lotus2_ros.settings import ModelSettings
from lotus2_ros.types import TASKS

if TYPE_CHECKING:
    from lotus2_ros.runtime import Lotus2Predictor

_ABOUT, _DEFAULT = ModelSettings.parameters(), ModelSettings()
_RUNNING = (
    *('model', 'base', 'device', 'normals_device', 'sharpener_device'),
    *('precision', 'acceleration'),
    *('text_merging', 'cpu_threads'),
)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --model, --tasks, --max-side and the options that say where and how it runs."""
    group = parser.add_argument_group('model')
    group.add_argument('--model', default=_DEFAULT.model, help=_text('model'))
    group.add_argument(
        '--tasks',
        nargs='+',
        default=list(_DEFAULT.tasks),
        choices=_ABOUT['tasks'].choices,
        metavar='TASK',
        help=_text('tasks'),
    )
    group.add_argument(
        '--max-side', type=int, default=_DEFAULT.max_side, metavar='PX', help=_text('max_side')
    )
    _add_running(group)


def add_judged_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add MODEL and the options that say where and how it runs; what is judged says the rest."""
    group = parser.add_argument_group('model')
    group.add_argument('model', nargs='?', default=_DEFAULT.model, help=_text('model'))
    _add_running(group)


def model_settings(args: argparse.Namespace) -> ModelSettings:
    """The settings that the options of `add_model_arguments` give.

    Raises:
        SettingsError: one of them is out of range.
    """
    return ModelSettings.from_mapping(
        {**_running(args), 'tasks': tuple(args.tasks), 'max_side': args.max_side}
    )


def load_judged(
    args: argparse.Namespace, *, sharpener: bool, tasks: Sequence[str] = TASKS
) -> Lotus2Predictor:
    """Load the model that the options of `add_judged_model_arguments` name.

    Raises:
        Lotus2Error: an option is out of range; see `Lotus2Predictor.from_pretrained`.
    """
    settings = ModelSettings.from_mapping({**_running(args), 'tasks': tuple(tasks)})
    return load_predictor(settings, sharpener=sharpener, progress=None)


def load_predictor(
    settings: ModelSettings, *, sharpener: bool, progress: Callable[[str, float], None] | None
) -> Lotus2Predictor:
    """Load the model in this process.

    Raises:
        Lotus2Error: see `Lotus2Predictor.from_pretrained`.
    """
    from lotus2_ros.runtime import Lotus2Predictor  # torch: seconds, and not for --help

    return Lotus2Predictor.from_settings(settings, sharpener=sharpener, progress=progress)


def _add_running(group: argparse._ArgumentGroup) -> None:
    group.add_argument('--base', default=_DEFAULT.base, help=_text('base'))
    for name in ('device', 'normals_device', 'sharpener_device'):
        option = f'--{name.replace("_", "-")}'
        group.add_argument(option, default=getattr(_DEFAULT, name), help=_text(name))
    for name in ('precision', 'acceleration'):
        group.add_argument(
            f'--{name}',
            default=getattr(_DEFAULT, name),
            choices=_ABOUT[name].choices,
            help=_text(name),
        )
    group.add_argument(
        '--text-merging',
        type=float,
        default=_DEFAULT.text_merging,
        metavar='SHARE',
        help=_text('text_merging'),
    )
    group.add_argument(
        '--threads',
        dest='cpu_threads',
        type=int,
        default=_DEFAULT.cpu_threads,
        metavar='N',
        help=_text('cpu_threads'),
    )


def _running(args: argparse.Namespace) -> dict[str, Any]:
    """The model and where and how it runs, by the names of settings."""
    return {name: getattr(args, name) for name in _RUNNING}


def _text(name: str) -> str:
    return f'{_ABOUT[name].description} (default: {_shown(getattr(_DEFAULT, name))})'


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ' '.join(value)
    return str(value) if value != '' else 'none'
