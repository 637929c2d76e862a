"""Log lines for conditions that last: once per change, not once per frame."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

REPEAT_S = 30.0
"""A condition that comes and goes unchanged is logged again after this time, no sooner."""


class ProblemLog:
    """Logs a text when it differs from the last one, or when that is long ago.

    Args:
        log: takes one line of text, such as a logger's method.
        clock: steady seconds.
    """

    def __init__(
        self, log: Callable[[str], Any], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._clock = clock
        self._text = ''
        self._logged_at = float('-inf')

    def report(self, text: str) -> None:
        """The condition is as `text` says now; empty if there is none."""
        if not text:
            return
        now = self._clock()
        if text != self._text or now - self._logged_at >= REPEAT_S:
            self._log(text)
            self._text, self._logged_at = text, now
