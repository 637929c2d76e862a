"""Image sizes as they are written on the command line."""

from __future__ import annotations

import re

from lotus2_ros.errors import SettingsError


def parse_size(text: str) -> tuple[int, int]:
    """Height and width of a size such as 640x480.

    Raises:
        SettingsError: it is none.
    """
    found = re.fullmatch(r'(\d+)x(\d+)', text)
    if found is None:
        raise SettingsError(f'--sizes: {text!r} is no size; write width x height, such as 640x480')
    return int(found[2]), int(found[1])
