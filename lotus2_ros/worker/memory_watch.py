"""Does a worker's memory grow without end? A leak must not take the robot's other programs down."""

from __future__ import annotations


class MemoryWatch:
    """Compares what a worker has with what it had when it was ready.

    Args:
        limit_bytes: growth that is allowed; 0 is any.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._at_start: int | None = None

    def exceeded(self, now_bytes: int | None) -> str:
        """Why the worker has to be replaced, or nothing; the first call sets what it starts from.

        Args:
            now_bytes: see `anonymous_bytes`.
        """
        if now_bytes is None:
            return ''
        if self._at_start is None:
            self._at_start = now_bytes
        growth = now_bytes - self._at_start
        if not self._limit_bytes or growth <= self._limit_bytes:
            return ''
        return (
            f"the worker's memory grew by {growth >> 20} MiB to {now_bytes >> 20} MiB, and"
            f' {self._limit_bytes >> 20} MiB are allowed (max_worker_growth_mib)'
        )
