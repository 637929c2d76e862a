"""What a training run needs to go on after an interruption, in one file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lotus2_ros.errors import SettingsError
from lotus2_ros.training.optimiser import Optimiser


@dataclass
class StageState:
    """One stage's progress.

    Attributes:
        seconds: spent so far.
        steps: made so far.
        average: averaged weights by parameter name, or None if left out to keep the file small:
            averaging starts again from the weights.
        moments: what the optimiser remembers, or None likewise: the stage resumes with a warm-up.
        origin: weights that the present cycle began with; None likewise, or without cycles.
    """

    seconds: float
    steps: int
    average: dict[str, Any] | None = None
    moments: dict[str, Any] | None = None
    origin: torch.Tensor | None = None


@dataclass
class RunState:
    """The whole run's progress.

    Attributes:
        vae: weights, or None before the first stage.
        scaling: the latents' (scaling_factor, shift_factor), or None until the VAE is finished.
        network: weights, or None before the core stage.
        stages: by name: 'vae', 'decoder', 'core', 'sharpener'.
        runs: how often the run was started; seeds the scenes, so that no run repeats another's.
    """

    vae: dict[str, Any] | None = None
    scaling: tuple[float, float] | None = None
    network: dict[str, Any] | None = None
    stages: dict[str, StageState] = field(default_factory=dict)
    runs: int = 0

    def record(self, name: str, optimiser: Optimiser, *, whole: bool) -> None:
        """Note a stage's progress.

        Args:
            name: of the stage.
            optimiser: of the stage.
            whole: keep the average and the optimiser's moments too.
        """
        clock = optimiser.clock
        self.stages[name] = StageState(
            clock.seconds,
            clock.steps,
            optimiser.average if whole else None,
            optimiser.moments() if whole else None,
            optimiser.origin if whole else None,
        )

    def restore(self, name: str, optimiser: Optimiser) -> None:
        """Set an optimiser to a stage's recorded progress; nothing happens if there is none.

        Raises:
            SettingsError: the stage trained other parameters.
        """
        if name not in self.stages:
            return
        stage = self.stages[name]
        optimiser.clock.resume(stage.seconds, stage.steps)
        if stage.average is not None:
            if stage.average.keys() != optimiser.average.keys():
                raise SettingsError(
                    f'the {name} stage was begun with other parameters to train: go on with the '
                    'settings it was begun with, or begin in another folder'
                )
            for key, value in optimiser.average.items():
                value.copy_(stage.average[key])
        if stage.moments is not None:
            optimiser.load_moments(stage.moments)
        if stage.origin is not None:
            optimiser.load_origin(stage.origin)

    def save(self, path: Path) -> None:
        """Write the state; an interrupted write leaves the former file whole."""
        content = {
            'vae': self.vae,
            'scaling': self.scaling,
            'network': self.network,
            'runs': self.runs,
            'stages': {
                name: {
                    'seconds': stage.seconds,
                    'steps': stage.steps,
                    'average': stage.average,
                    'moments': stage.moments,
                    'origin': stage.origin,
                }
                for name, stage in self.stages.items()
            },
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix('.partial')
        torch.save(content, partial)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path, device: torch.device | str) -> RunState:
        """Read a state, or begin with an empty one where there is no file."""
        if not path.exists():
            return cls()
        content = torch.load(path, map_location=device, weights_only=True)
        stages = {name: StageState(**stage) for name, stage in content.pop('stages').items()}
        return cls(**content, stages=stages)
