"""What a setting is, and how settings are checked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from lotus2_ros.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a user needs to know about one setting.

    Attributes:
        description: one line, no full stop.
        unit: SI symbol or 'px'; empty for none.
        minimum: smallest allowed value of a number, inclusive.
        maximum: largest allowed value of a number, inclusive.
        choices: allowed values of a string, or of each item of a list of strings.
        live: True if it may change while the node is configured; False needs a cleanup first.
    """

    description: str
    unit: str = ''
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = True


def setting(default: Any, description: str, **about: Any) -> Any:
    """A dataclass field with its default and what `Parameter` says about it."""
    return field(default=default, metadata={'parameter': Parameter(description, **about)})


class Settings:
    """Validation and conversion shared by the settings dataclasses."""

    @classmethod
    def parameters(cls) -> dict[str, Parameter]:
        """Name to description of every setting, in order of declaration."""
        return {f.name: f.metadata['parameter'] for f in dataclasses.fields(cls)}  # type: ignore[arg-type]

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Name to default value of every setting."""
        return {f.name: f.default for f in dataclasses.fields(cls)}  # type: ignore[arg-type]

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build validated settings from names and values; names left out take their default.

        Raises:
            SettingsError: a name is unknown, a value has the wrong type or is out of range, or two
                values contradict each other.
        """
        unknown = sorted(set(values) - set(cls.parameters()))
        if unknown:
            msg = f'unknown parameter {", ".join(unknown)}; known: {", ".join(cls.parameters())}'
            raise SettingsError(msg)
        about = cls.parameters()
        settings = cls(**{k: _normal(v, about[k]) for k, v in values.items()})
        settings.validate()
        return settings

    def replaced(self, **changes: Any) -> Self:
        """A validated copy with some values changed; nothing is half-applied.

        Raises:
            SettingsError: see `from_mapping`.
        """
        return self.from_mapping({**dataclasses.asdict(self), **changes})  # type: ignore[call-overload]

    def validate(self) -> None:
        """Check every value alone, then together.

        Raises:
            SettingsError: naming the parameter, its value and what is allowed.
        """
        for name, about in self.parameters().items():
            _check(name, getattr(self, name), self.defaults()[name], about)
        self._validate_together()

    def _validate_together(self) -> None:
        pass


def _normal(value: Any, about: Parameter) -> Any:
    """A value as settings hold it: lists are tuples, and YAML's on and off are words again."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, bool) and {'on', 'off'} <= set(about.choices):
        return 'on' if value else 'off'
    return value


def _check(name: str, value: Any, default: Any, about: Parameter) -> None:
    if isinstance(default, tuple):
        if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
            raise SettingsError(f'{name} must be a list of strings, not {value!r}')
        items = value
    else:
        # An integer is a fine float; a bool is an int to Python but not to a user.
        wanted = (int, float) if isinstance(default, float) else (type(default),)
        if not isinstance(value, wanted) or (isinstance(value, bool) != isinstance(default, bool)):
            raise SettingsError(f'{name} must be {type(default).__name__}, not {value!r}')
        items = (value,)
    for item in items:
        if about.choices and item not in about.choices:
            raise SettingsError(f'{name} is {item!r}; allowed: {", ".join(about.choices)}')
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise SettingsError(f'{name} is {value}; it must be finite')
        low, high = about.minimum, about.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            raise SettingsError(
                f'{name} is {value}; allowed: {low} to {high} {about.unit}'.rstrip()
            )
