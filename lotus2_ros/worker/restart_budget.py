"""How often a worker may be replaced, and how long to wait before each time."""

from __future__ import annotations

import collections

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 10.0
BUDGET_WINDOW_S = 60.0


class RestartBudget:
    """How long to wait before the next restart, and when to give up.

    Restarts are counted over the last minute of service, that is of being ready: a worker that
    never gets ready, however slowly it fails, must not be restarted for ever.
    """

    def __init__(self, max_restarts: int) -> None:
        self._max_restarts = max_restarts
        self._restarts: collections.deque[float] = collections.deque()

    def next_delay_s(self, service_time_s: float) -> float | None:
        """Account for one restart.

        Args:
            service_time_s: how long workers have been ready, all together.

        Returns:
            Seconds to wait before it: 0.2 for the first, doubling with each one within a minute of
            service. None if the budget is spent.
        """
        while self._restarts and service_time_s - self._restarts[0] >= BUDGET_WINDOW_S:
            self._restarts.popleft()
        recent = len(self._restarts)
        if recent >= self._max_restarts:
            return None
        self._restarts.append(service_time_s)
        return float(min(FIRST_DELAY_S * 2.0 ** min(recent, 16), LONGEST_DELAY_S))
