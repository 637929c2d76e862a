"""Settings as launch arguments, passed on only when the user gave them.

A launch file that repeats a default goes stale; one that passes nothing for what was not asked
leaves the say to the parameter file and then to lotus2_ros.settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from launch import LaunchContext
from launch.actions import DeclareLaunchArgument

from lotus2_ros.errors import SettingsError
from lotus2_ros.ros.transports import TRANSPORTS, chosen_transports, transport_environment
from lotus2_ros.settings import NodeSettings, PlayerSettings, SimulationSettings

NOT_GIVEN = ''
"""Default of every argument here: the parameter keeps what the file or lotus2_ros.settings says."""

_CAMERA = '{camera}'
"""What stands for the name of each camera in a topic."""

_Settings = type[NodeSettings] | type[PlayerSettings] | type[SimulationSettings]


def parameter_names(settings: _Settings, taken: Mapping[str, str]) -> list[str]:
    """Parameters that become launch arguments: all whose name is not a topic's.

    Args:
        settings: the settings class of the node.
        taken: arguments that the launch file has for other ends, for example topic names.
    """
    return [name for name in settings.parameters() if name not in taken]


def declare(settings: _Settings, taken: Mapping[str, str]) -> list[DeclareLaunchArgument]:
    """One launch argument for each of `taken` and for each parameter of `settings`.

    Args:
        settings: the settings class of the node.
        taken: name to description of the launch file's own arguments.
    """
    about = settings.parameters()
    described = dict(taken)
    for name in parameter_names(settings, taken):
        unit = f' [{about[name].unit}]' if about[name].unit else ''
        choices = f' ({", ".join(about[name].choices)})' if about[name].choices else ''
        described[name] = f'parameter: {about[name].description}{unit}{choices}'
    return [
        DeclareLaunchArgument(name, default_value=NOT_GIVEN, description=text)
        for name, text in described.items()
    ]


def given(context: LaunchContext, name: str) -> str:
    """What the user gave for a launch argument; `NOT_GIVEN` if nothing."""
    return str(context.launch_configurations.get(name, NOT_GIVEN)).strip()


def given_flag(context: LaunchContext, name: str, default: bool) -> bool:
    """A launch argument that is true or false.

    Raises:
        SettingsError: it is neither.
    """
    text = given(context, name)
    return default if text == NOT_GIVEN else bool(_typed(name, text, default))


def given_parameters(
    context: LaunchContext, settings: _Settings, taken: Mapping[str, str]
) -> dict[str, Any]:
    """Parameters the user gave as launch arguments, in the type the node declares.

    Ranges and contradictions are the node's to judge: it also knows the parameter file.

    Raises:
        SettingsError: a value cannot be read as that type.
    """
    defaults = settings.defaults()
    values = {}
    for name in parameter_names(settings, taken):
        text = given(context, name)
        if text != NOT_GIVEN:
            values[name] = _typed(name, text, defaults[name])
    return values


def _typed(name: str, text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    value = yaml.safe_load(text)
    if isinstance(default, tuple):
        # tasks:=depth and tasks:=depth,normals as well as tasks:=[depth, normals]
        return value if isinstance(value, list) else [part.strip() for part in text.split(',')]
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise SettingsError(f'{name}:={text} is not {type(default).__name__}')
    return value


def topic_remappings(context: LaunchContext) -> list[tuple[str, str]]:
    """Remappings for the arguments `image` and `camera_info`, compressed transport included.

    `image:=/camera/image_raw` and `image:=/camera/image_raw/compressed` name the same camera. With
    `cameras`, {camera} in either argument stands for each camera's name.

    Raises:
        SettingsError: there are several cameras but one topic for all.
    """
    names = _typed('cameras', given(context, 'cameras'), ()) if given(context, 'cameras') else ['']
    rules = []
    for name in names:
        prefix = f'{name}/' if name else ''
        image = _topic_of(context, 'image', name, len(names)).removesuffix('/compressed')
        if image:
            # A rule for `image` does not reach `image/compressed`: remapping matches whole names.
            rules += [
                (f'{prefix}image', image),
                (f'{prefix}image/compressed', f'{image}/compressed'),
            ]
        camera_info = _topic_of(context, 'camera_info', name, len(names))
        if camera_info:
            rules.append((f'{prefix}camera_info', camera_info))
    return rules


def _topic_of(context: LaunchContext, argument: str, camera: str, count: int) -> str:
    pattern = given(context, argument)
    if pattern and count > 1 and _CAMERA not in pattern:
        raise SettingsError(
            f'{argument}:={pattern} is one topic for {count} cameras: put {_CAMERA} where their'
            ' names go'
        )
    return pattern.replace(_CAMERA, camera)


def parameter_file(context: LaunchContext) -> list[str]:
    """The argument `params_file` as a list of none or one absolute path.

    Raises:
        SettingsError: there is no such file.
    """
    if not given(context, 'params_file'):
        return []
    path = Path(given(context, 'params_file')).expanduser().absolute()
    if not path.is_file():
        raise SettingsError(f'params_file {path} does not exist')
    return [str(path)]


def large_data_environment(environment: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Fast DDS with shared memory for large messages, unless the user has chosen transports.

    With the default a good part of messages of some megabytes comes late or not at all.

    Args:
        environment: environment variables of the launch.

    Returns:
        What to add to a node's environment, and one line that says what was done and why.
    """
    chosen = chosen_transports(environment)
    if chosen:
        return {}, f'{chosen} is kept: transports are as you chose them'
    added = transport_environment(environment)
    return added, (
        f'{" ".join(f"{name}={value}" for name, value in added.items())} is set for the nodes'
        ' started here, because large messages get lost without; set it for cameras and subscribers'
        f' too, or set {TRANSPORTS}=DEFAULT to decline'
    )
