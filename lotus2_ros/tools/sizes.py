"""Image sizes as they are written on the command line."""

from __future__ import annotations

import re

from lotus2_ros.errors import SettingsError


def parse_size(text: str, option: str) -> tuple[int, int]:
    """Height and width of a size such as 640x480, width first as cameras have it.

    Raises:
        SettingsError: it is none; names the option.
    """
    found = re.fullmatch(r'(\d+)x(\d+)', text)
    if found is None:
        raise SettingsError(f'{option}: {text!r} is no size; write width x height, such as 640x480')
    return int(found[2]), int(found[1])


def parse_training_size(text: str) -> tuple[int, int]:
    """Height and width of --size such as 576x768, height first as tensors have it.

    Raises:
        SettingsError: it is none, or no size that can be trained on.
    """
    found = re.fullmatch(r'(\d+)x(\d+)', text)
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(side and side % 16 == 0 for side in size):
        msg = f'--size is {text!r}; write height x width, both multiples of 16, such as 576x768'
        raise SettingsError(msg)
    return size
