"""The detail sharpener's schedule: where on the rectified flow each Euler step stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler

from lotus2_ros.errors import ModelFileError

TRAIN_TIMESTEPS = 10
"""The sharpener was trained on ten timesteps, not on FLUX's thousand: timestep = 10 sigma."""

MAX_STEPS = 10
MODEL_TIMESTEPS = 1000.0
"""What the transformer divides timesteps by, whatever the scheduler counts in."""


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
        if config.get('_class_name') != FlowMatchEulerDiscreteScheduler.__name__:
            msg = (
                f'{source}: _class_name is {config.get("_class_name")!r};'
                f' expected {FlowMatchEulerDiscreteScheduler.__name__}'
            )
            raise ModelFileError(msg)
        for option in ('stochastic_sampling', 'invert_sigmas'):
            if config.get(option):
                raise ModelFileError(f'{source}: {option} is set; the sharpener takes Euler steps')
        try:
            kind: Any = FlowMatchEulerDiscreteScheduler
            self._scheduler = kind.from_config(config, num_train_timesteps=TRAIN_TIMESTEPS)
        except (TypeError, ValueError, ImportError) as err:
            raise ModelFileError(f'{source} makes no scheduler: {err}') from err
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
            self._scheduler.set_timesteps(
                sigmas=np.linspace(1.0, 1.0 / count, count),
                mu=dynamic_shift(self._scheduler.config, tokens),
            )
            sigmas = self._scheduler.sigmas.numpy()
            deltas = sigmas[1:] - sigmas[:-1]  # float32, as the scheduler subtracts them
            times = self._scheduler.timesteps.numpy()
            self._tables[key] = tuple(
                FlowStep(float(t), float(d)) for t, d in zip(times, deltas, strict=True)
            )
        return self._tables[key]
