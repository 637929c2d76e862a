"""What a caller asks a predictor for: whether it can be had."""

from __future__ import annotations

from collections.abc import Sequence

from lotus2_ros.errors import SettingsError
from lotus2_ros.runtime.preprocess import Size


def check_tasks(tasks: Sequence[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """Tasks in the table's order.

    Raises:
        SettingsError: a task is unknown or not loaded.
    """
    if isinstance(tasks, str):
        raise SettingsError(f'tasks must be a list of names, not {tasks!r}')
    wrong = [name for name in tasks if name not in known]
    if wrong:
        allowed = ', '.join(known) or 'none'
        raise SettingsError(f'task {", ".join(map(repr, wrong))} is not there; there is: {allowed}')
    return tuple(name for name in known if name in tasks)


def chosen_size(size: Size | None, own: Size) -> Size:
    """The height and width that were asked for, or the image's own.

    Raises:
        SettingsError: a side is below one pixel.
    """
    chosen = size or own
    if min(chosen) < 1:
        raise SettingsError(f'output_size is {chosen}; both sides must be at least 1 px')
    return chosen


def check_max_side(max_side: int | None) -> None:
    """A longest side in pixels that is possible: None, 0, or 32 and more.

    Raises:
        SettingsError: it is not.
    """
    if max_side is not None and max_side != 0 and max_side < 32:
        raise SettingsError(f'max_side is {max_side}; allowed: 0, or 32 px and more')
