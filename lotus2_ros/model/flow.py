"""The detail sharpener's schedule: where on the rectified flow each Euler step stands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lotus2_ros.errors import ModelFileError
from lotus2_ros.types import Float32Array

TRAIN_TIMESTEPS = 10
"""The sharpener was trained on ten timesteps, not on FLUX's thousand: timestep = 10 sigma."""

MAX_STEPS = 10
MODEL_TIMESTEPS = 1000.0
"""What the transformer divides timesteps by, whatever the scheduler counts in."""

SCHEDULER_CLASS = 'FlowMatchEulerDiscreteScheduler'
_DEFAULTS: dict[str, Any] = {
    'shift': 1.0,
    'use_dynamic_shifting': False,
    'base_shift': 0.5,
    'max_shift': 1.15,
    'base_image_seq_len': 256,
    'max_image_seq_len': 4096,
    'time_shift_type': 'exponential',
}
"""What diffusers' scheduler takes for an entry that is not there."""

_OTHER_SCHEDULES = (
    'stochastic_sampling',
    'invert_sigmas',
    'shift_terminal',
    'use_karras_sigmas',
    'use_exponential_sigmas',
    'use_beta_sigmas',
)


def dynamic_shift(config: Mapping[str, Any], tokens: int) -> float:
    """FLUX's mu: a line through (base_image_seq_len, base_shift) and the maximum's pair.

    Args:
        config: of a `FlowMatchEulerDiscreteScheduler`.
        tokens: image tokens.
    """
    slope = (config['max_shift'] - config['base_shift']) / (
        config['max_image_seq_len'] - config['base_image_seq_len']
    )
    return float(config['base_shift'] + (tokens - config['base_image_seq_len']) * slope)


class FlowStep(NamedTuple):
    """One Euler step.

    Attributes:
        timestep: in the scheduler's count, 0 to 10.
        delta: change of sigma, negative; the latent moves by delta times the velocity.
    """

    timestep: float
    delta: float


class FlowSchedule:
    """Euler steps for a number of steps and of image tokens, from a base model's scheduler."""

    def __init__(self, config: dict[str, Any], source: Path) -> None:
        """Take a `FlowMatchEulerDiscreteScheduler` configuration.

        Args:
            config: the base's scheduler_config.json.
            source: its file, for messages.

        Raises:
            ModelFileError: another class of scheduler, or options that are not plain Euler steps.
        """
        if config.get('_class_name') != SCHEDULER_CLASS:
            msg = (
                f'{source}: _class_name is {config.get("_class_name")!r};'
                f' expected {SCHEDULER_CLASS}'
            )
            raise ModelFileError(msg)
        for option in _OTHER_SCHEDULES:
            if config.get(option):
                raise ModelFileError(f'{source}: {option} is set; the sharpener takes Euler steps')
        self._config = _DEFAULTS | config
        for name, default in _DEFAULTS.items():
            number, value = not isinstance(default, bool | str), self._config[name]
            if number and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ModelFileError(f'{source} makes no scheduler: {name} is {value!r}, no number')
        kind = self._config['time_shift_type']
        if kind not in {'exponential', 'linear'}:
            msg = f'{source} makes no scheduler: time_shift_type is {kind!r}'
            raise ModelFileError(f'{msg}; allowed: exponential, linear')
        self._tables: dict[tuple[int, int], tuple[FlowStep, ...]] = {}

    def steps(self, count: int, tokens: int) -> tuple[FlowStep, ...]:
        """Steps from sigma 1 to 0.

        Args:
            count: n, 1 to 10; sigmas are n values from 1 to 1/n, then shifted.
            tokens: image tokens, which set the shift.

        Raises:
            ValueError: count is out of range.
        """
        if not 1 <= count <= MAX_STEPS:
            raise ValueError(f'sharpen steps is {count}; allowed: 1 to {MAX_STEPS}')
        key = (count, tokens)
        if key not in self._tables:
            sigmas = self._shifted(np.linspace(1.0, 1.0 / count, count).astype(np.float32), tokens)
            times = sigmas * np.float32(TRAIN_TIMESTEPS)
            # float32 throughout, as the scheduler computes them
            deltas = np.append(sigmas[1:], np.float32(0)) - sigmas
            self._tables[key] = tuple(
                FlowStep(float(t), float(d)) for t, d in zip(times, deltas, strict=True)
            )
        return self._tables[key]

    def _shifted(self, sigmas: Float32Array, tokens: int) -> Float32Array:
        """Sigmas (n,) moved towards noise, the more so the larger the image."""
        if not self._config['use_dynamic_shifting']:
            shift = self._config['shift']
            return np.asarray(shift * sigmas / (1 + (shift - 1) * sigmas), np.float32)
        weight = dynamic_shift(self._config, tokens)
        if self._config['time_shift_type'] == 'exponential':
            weight = math.exp(weight)
        return np.asarray(weight / (weight + (1 / sigmas - 1)), np.float32)
