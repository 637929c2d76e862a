"""References that wait for their transforms, which are often later than the prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lotus2_ros.geometry.scale.estimate import NoScale
from lotus2_ros.ros.scale_feeds import Match
from lotus2_ros.ros.scale_history import Predicted, PredictionHistory
from lotus2_ros.ros.transforms import LateTransform

Placed = TypeVar('Placed')

_PATIENCE_NS = 300_000_000
"""Nothing is said of a transform that is this little late: it comes with the next images."""


class LateReferences:
    """References of one topic; each waits as long as the prediction of its image is kept.

    Args:
        history: the predictions.
    """

    def __init__(self, history: PredictionHistory) -> None:
        self._history = history
        self._waiting: list[Match[Predicted]] = []
        self._late: LateTransform | None = None

    def clear(self) -> None:
        """Forget them all."""
        self._waiting.clear()

    @property
    def waiting(self) -> list[Match[Predicted]]:
        """Those that wait, the newest first."""
        return [waiting for waiting in reversed(self._waiting) if self._is_kept(waiting)]

    def newest(
        self,
        match: Match[Predicted] | NoScale | None,
        place: Callable[[Match[Predicted]], Placed | NoScale],
    ) -> tuple[Match[Predicted], Placed | NoScale] | NoScale | None:
        """The newest reference whose transforms are there; used up, and older ones with it.

        Args:
            match: a new reference; why there is none; None if none has come.
            place: asks TF where its sensor was.

        Returns:
            The reference and what `place` made of it; why there is none; None if none has come, or
            has not been waiting for long.
        """
        known = [waiting for waiting in self._waiting if self._is_kept(waiting)]
        lost = len(known) < len(self._waiting)
        self._waiting = [*known, match] if isinstance(match, Match) else known
        for number in reversed(range(len(self._waiting))):
            placed = place(self._waiting[number])
            if not isinstance(placed, LateTransform):
                used = self._waiting[number]
                del self._waiting[: number + 1]
                return used, placed
            self._late = placed
        if isinstance(match, NoScale):
            return match
        return self._late if lost or self._is_overdue() else None

    def _is_kept(self, waiting: Match[Predicted]) -> bool:
        return self._history.at(waiting.entry.stamp) is waiting.entry

    def _is_overdue(self) -> bool:
        newest = self._history.newest
        if newest is None or not self._waiting:
            return False
        return newest.stamp - self._waiting[0].entry.stamp > _PATIENCE_NS
