"""Settings from YAML: presets, files and `--set key=value`, each checked strictly.

Every value remembers where it came from, so that a message can name key and file.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lotus2_ros.errors import SettingsError
from lotus2_ros.training.recipe.config import RecipeSettings

PRESET_KEY = 'preset'


class Sourced(NamedTuple):
    """A value and where it was read."""

    value: Any
    source: str


Flat = dict[str, Sourced]
"""Dotted key to value."""


def preset_names() -> list[str]:
    """The presets that come with the package."""
    folder = files('lotus2_ros') / 'training' / 'presets'
    return sorted(
        p.name.removesuffix('.yaml') for p in folder.iterdir() if p.name.endswith('.yaml')
    )


def load_settings(
    config: Path | None = None, *, preset: str | None = None, changes: Sequence[str] = ()
) -> RecipeSettings:
    """Read settings.

    Args:
        config: YAML file; its key `preset` names a preset that it changes.
        preset: a preset below the file's.
        changes: `key=value`, the value as YAML, applied last.

    Raises:
        SettingsError: a file cannot be read, a key is unknown, a value is of the wrong type or
            not allowed; names key and file.
    """
    flat: Flat = {}
    content: dict[str, Any] = {} if config is None else read_mapping(config)
    named = content.pop(PRESET_KEY, preset)
    if named is not None:
        flat |= _read_preset(named, str(config) if named is not preset else '--preset')
    flat |= dict(_flatten(RecipeSettings, content, str(config)))
    for change in changes:
        flat |= _read_change(change)
    return typing.cast('RecipeSettings', _build(RecipeSettings, flat, ''))


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        SettingsError: the file cannot be read, is no YAML, or holds anything else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as err:
        raise SettingsError(f'{path} cannot be read: {err.strerror or err}') from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise SettingsError(f'{path} is no YAML: {err}') from err
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f'{path} must hold settings by name, not {type(content).__name__}')
    return content


def as_mapping(settings: Any) -> dict[str, Any]:
    """Settings as plain data, as they are written to YAML and JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    return typing.cast('dict[str, Any]', plain(dataclasses.asdict(settings)))


def flat_values(settings: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Settings by dotted key, from what `as_mapping` made.

    Raises:
        SettingsError: an unknown key; names it and the source.
    """
    return {key: sourced.value for key, sourced in _flatten(RecipeSettings, settings, source)}


def _read_preset(name: Any, source: str) -> Flat:
    if name not in preset_names():
        raise SettingsError(f'{source}: preset is {name!r}; there are {", ".join(preset_names())}')
    path = Path(str(files('lotus2_ros') / 'training' / 'presets' / f'{name}.yaml'))
    return dict(_flatten(RecipeSettings, read_mapping(path), f'preset {name}'))


def _read_change(change: str) -> Flat:
    key, sign, text = change.partition('=')
    source = f'--set {change}'
    if not sign or not key:
        raise SettingsError(f'{source}: write it as key=value, for example optimiser.lr=1e-4')
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as err:
        raise SettingsError(f'{source}: the value is no YAML: {err}') from err
    content: Any = value
    for part in reversed(key.split('.')):
        content = {part: content}
    return dict(_flatten(RecipeSettings, content, source))


def _flatten(
    kind: Any, content: Mapping[str, Any], source: str, prefix: str = ''
) -> Iterator[tuple[str, Sourced]]:
    """Dotted keys of nested settings, unknown ones refused."""
    hints = typing.get_type_hints(kind)
    for name, value in content.items():
        key = f'{prefix}{name}'
        if name not in hints:
            known = ', '.join(hints)
            where = f' in {prefix.rstrip(".")}' if prefix else ''
            raise SettingsError(f'{source}: unknown key {key}; known{where}: {known}')
        if not dataclasses.is_dataclass(hints[name]):
            yield key, Sourced(value, source)
        elif isinstance(value, Mapping):
            yield from _flatten(hints[name], value, source, f'{key}.')
        else:
            raise SettingsError(f'{source}: {key} must hold settings by name, not {value!r}')


def _build(kind: Any, flat: Flat, prefix: str) -> Any:
    values = {}
    sources = []
    for name, hint in typing.get_type_hints(kind).items():
        key = f'{prefix}{name}'
        if dataclasses.is_dataclass(hint):
            values[name] = _build(hint, flat, f'{key}.')
        elif key in flat:
            values[name] = _convert(hint, flat[key], key)
            sources.append(flat[key].source)
    try:
        return kind(**values)
    except ValueError as err:
        where = ', '.join(dict.fromkeys(sources))
        raise SettingsError(f'{where}: {prefix}{err}') from err


def _convert(hint: Any, given: Sourced, key: str) -> Any:
    """A value of the type that a setting wants; only a whole number may become a float."""
    value, source = given
    origin = typing.get_origin(hint)
    if origin is tuple:
        return _convert_list(hint, given, key)
    if origin is types.UnionType:
        raise TypeError(f'{key}: settings have one type each')
    if origin is dict or hint is dict:
        fits = isinstance(value, dict) and all(isinstance(name, str) for name in value)
        return value if fits else _refuse(given, key, 'settings by name')
    if hint is float and isinstance(value, str):
        # YAML 1.1 takes 1e-4 for text; it wants 1.0e-4.
        try:
            return float(value)
        except ValueError:
            return _refuse(given, key, 'a number')
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, bool):
        return _refuse(given, key, 'a whole number')
    if not isinstance(value, hint):
        words = {int: 'a whole number', float: 'a number', bool: 'true or false', str: 'text'}
        return _refuse(Sourced(value, source), key, words[hint])
    return value


def _convert_list(hint: Any, given: Sourced, key: str) -> tuple[Any, ...]:
    kinds = typing.get_args(hint)
    if not isinstance(given.value, list | tuple):
        _refuse(given, key, 'a list')
    items = list(given.value)
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(items)
    if len(items) != len(kinds):
        _refuse(given, key, f'a list of {len(kinds)}')
    return tuple(
        _convert(kind, Sourced(item, given.source), f'{key}[{i}]')
        for i, (kind, item) in enumerate(zip(kinds, items, strict=True))
    )


def _refuse(given: Sourced, key: str, wanted: str) -> typing.NoReturn:
    raise SettingsError(f'{given.source}: {key} is {given.value!r}; expected {wanted}')
