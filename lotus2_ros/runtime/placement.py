"""Which device gets which stages of which tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lotus2_ros.errors import SettingsError
from lotus2_ros.model.portion import Portion
from lotus2_ros.runtime.device import choose_device
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
    if normals_device and NORMALS not in tasks:
        msg = f'normals_device is {normals_device!r}, but tasks has no {NORMALS}'
        raise SettingsError(f'{msg}; leave it empty, or add the task')
    if sharpener_device and not sharpener:
        msg = f'sharpener_device is {sharpener_device!r}, but the sharpener is not loaded'
        raise SettingsError(f'{msg}; leave it empty, or set load_sharpener')
    cores = {name: (normals_device if name == NORMALS else None) or device for name in tasks}
    sharpeners = {name: sharpener_device or cores[name] for name in tasks} if sharpener else {}
    # Different words may mean the same device; the first word is kept: 'auto' is one.
    words: dict[torch.device, str | None] = {}
    for word in (*cores.values(), *sharpeners.values()):
        words.setdefault(choose_device(word, None), word)
    return [
        (word, Portion(_on(where, cores), _on(where, sharpeners))) for where, word in words.items()
    ]


def _on(device: torch.device, places: dict[str, str | None]) -> tuple[str, ...]:
    return tuple(name for name, word in places.items() if choose_device(word, None) == device)
