"""How soon a thread gets Python's lock that waits for it."""

from __future__ import annotations

import sys

_INTERVAL_S = 1e-4


def take_turns_often() -> None:
    """Let threads hand over Python's lock within a tenth of a millisecond, for the whole process.

    By default one that runs Python code keeps it for 5 ms, or until it waits for something. An
    image and its CameraInfo arrive together, on two threads: while the executor dealt with the
    small one, and then listed again all that it waits for, the large one waited. Without that,
    depth is received 0.9 ms sooner, see docs/speed.md.
    """
    sys.setswitchinterval(_INTERVAL_S)
