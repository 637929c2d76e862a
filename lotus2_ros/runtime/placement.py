"""Which device gets which stages of which tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lotus2_ros.model.portion import Portion
from lotus2_ros.runtime.device import choose_device
from lotus2_ros.settings.model import check_places
from lotus2_ros.types import NORMALS


def place(
    tasks: Sequence[str],
    *,
    sharpener: bool,
    device: str | None,
    normals_device: str | None = None,
    sharpener_device: str | None = None,
) -> list[tuple[str | None, Portion]]:
    """Share a model out among devices.

    Args:
        tasks: that are wanted, in the table's order.
        sharpener: whether their sharpeners are, too.
        device: see `choose_device`.
        normals_device: for normals, both stages; None or '' is `device`.
        sharpener_device: for the sharpeners of all tasks; None or '' is where each task's core is.

    Returns:
        Settings of different devices, as they were given, and what goes there; the first has a
        core.

    Raises:
        DeviceError: a device is not there.
        SettingsError: a device was given for what is not wanted.
    """
    check_places(
        tasks,
        sharpener=sharpener,
        normals_device=normals_device,
        sharpener_device=sharpener_device,
    )
    # Different words may mean the same device; the first word is kept: 'auto' is one.
    words: dict[torch.device, str | None] = {}

    def found(word: str | None) -> torch.device:
        where = choose_device(word, None)
        words.setdefault(where, word)
        return where

    cores = {name: found((normals_device if name == NORMALS else None) or device) for name in tasks}
    sharpeners = dict(cores) if sharpener else {}
    if sharpener_device:
        sharpeners = dict.fromkeys(tasks, found(sharpener_device))
    return [
        (word, Portion(_on(where, cores), _on(where, sharpeners))) for where, word in words.items()
    ]


def _on(device: torch.device, places: dict[str, torch.device]) -> tuple[str, ...]:
    return tuple(name for name, where in places.items() if where == device)
