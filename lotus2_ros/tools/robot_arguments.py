"""The option that sets the simulated robot: the same for every subcommand that drives one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from lotus2_ros.errors import SettingsError
from lotus2_ros.settings import SimulationSettings


def add_robot_argument(parser: argparse._ActionsContainer, only: str = '') -> None:
    """Declare --robot, whose values are for `robot_settings`.

    Args:
        parser: or a group of one.
        only: with which other option it counts.
    """
    condition = f', with {only}' if only else ''
    parser.add_argument(
        '--robot',
        action='append',
        default=[],
        metavar='NAME=VALUE',
        help=f'parameter of sim_robot{condition}, as distortion=-0.2; may be given again',
    )


def robot_settings(pairs: Sequence[str], **others: Any) -> SimulationSettings:
    """Settings of sim_robot.

    Args:
        pairs: NAME=VALUE, as a user writes them; they count before the others.
        others: by name.

    Raises:
        SettingsError: naming what cannot be used.
    """
    defaults = SimulationSettings.defaults()
    values = dict(others)
    for pair in pairs:
        name, equals, text = pair.partition('=')
        if not equals:
            raise SettingsError(f'--robot is {pair!r}; write NAME=VALUE')
        if name not in defaults:
            raise SettingsError(f'--robot: sim_robot has no parameter {name!r}')
        values[name] = _value(name, text, defaults[name])
    return SimulationSettings.from_mapping(values)


def _value(name: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text not in ('true', 'false'):
            raise SettingsError(f'--robot: {name} is {text!r}; allowed: true, false')
        return text == 'true'
    try:
        return type(default)(text)
    except ValueError as error:
        kind = type(default).__name__
        raise SettingsError(f'--robot: {name} must be {kind}, not {text!r}') from error
