"""Which stages of which tasks one device holds."""

from __future__ import annotations

from typing import NamedTuple

from lotus2_ros.model.tasks import TASKS


class Portion(NamedTuple):
    """The part of a model that is loaded in one place.

    Attributes:
        cores: tasks whose core predictor it holds.
        sharpeners: tasks whose detail sharpener it holds.
    """

    cores: tuple[str, ...]
    sharpeners: tuple[str, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks it holds anything of, in the table's order."""
        return tuple(name for name in TASKS if name in {*self.cores, *self.sharpeners})
