"""Whether there are metres right now: the scale's state from frame to frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.geometry.scale.filter import FilterNoise, ScaleFilter, is_sound
from lotus2_ros.geometry.scale.transition import NoTransition, Transition

LOCK_FRAMES = 3
"""Estimates in a row that have to agree before they are believed, at first and after a change."""

_FEWEST_INLIERS = 0.3
"""Share of inliers below which an estimate is none: half of the references may be wrong, no more
than that can be told, and what is left depends on luck."""

_MOST_FRESH_S = 0.5


class ScaleState(Enum):
    """How much the scale is worth."""

    UNSCALED = 'unscaled'
    """Never since the start or the last reset has there been a scale."""
    LOCKING = 'locking'
    """References come, but not enough of them agree yet, or the last one contradicts the scale."""
    LOCKED = 'locked'
    """A fresh reference agrees with the scale."""
    COASTING = 'coasting'
    """The scale is carried on without a fresh reference."""
    LOST = 'lost'
    """There was a scale, but for too long no reference has agreed with it."""


@dataclass(frozen=True, slots=True)
class ScaleReport:
    """The scale of one frame and what stands behind it.

    Attributes:
        state: see `ScaleState`.
        a: scale [1/m]; NaN unless locked or coasting.
        b: shift [1/m]; NaN likewise.
        sigma_log_a: standard deviation of log a; NaN likewise.
        sigma_b: standard deviation of b [1/m]; NaN likewise.
        source: of the last accepted estimate; empty if there is none.
        inlier_share: of its references; 0 if there is none.
        age_s: since it was accepted [s]; infinite if there is none.
        reason: why the state is not locked; empty if it is.
    """

    state: ScaleState
    a: float = math.nan
    b: float = math.nan
    sigma_log_a: float = math.nan
    sigma_b: float = math.nan
    source: str = ''
    inlier_share: float = 0.0
    age_s: float = math.inf
    reason: str = ''

    @property
    def is_metric(self) -> bool:
        """Whether a and b give metres."""
        return self.state in (ScaleState.LOCKED, ScaleState.COASTING)


class ScaleTracker:
    """Filters the estimates of all frames, and tells a true change from a wrong estimate.

    An estimate far from the filtered scale is rejected, and there are no metres until another one
    tells which of the two is right: a network that normalises every image by itself may change its
    scale at any time. If the scale has changed, the next estimates agree with the first: after
    `LOCK_FRAMES` of them they are the scale.

    Args:
        hold_s: longest time without an accepted estimate [s].
        noise: of the filter.
        fresh_s: a reference is fresh for so long; None is half a second, or `hold_s` if less [s].
    """

    def __init__(
        self, hold_s: float = 2.0, noise: FilterNoise | None = None, fresh_s: float | None = None
    ) -> None:
        self._hold_s = hold_s
        self._fresh_s = min(hold_s, _MOST_FRESH_S) if fresh_s is None else fresh_s
        self._noise = noise or FilterNoise()
        self.relocks = 0
        """How often a changed scale has replaced the one before."""
        self.reset('no reference has come yet')

    def reset(self, reason: str) -> None:
        """Forget everything.

        Args:
            reason: reported until there is another one.
        """
        self._scale: ScaleFilter | None = None
        self._challenger: ScaleFilter | None = None
        self._agreeing = 0
        self._time: float | None = None
        self._accepted = -math.inf
        self._challenged = -math.inf
        self._last: ScaleEstimate | None = None
        self._had_scale = False
        self._against = False
        self._blind = False
        self._reason = reason

    def update(
        self,
        time_s: float,
        result: ScaleEstimate | NoScale | None = None,
        transition: Transition | NoTransition | None = None,
    ) -> ScaleReport:
        """Go on to the next frame.

        Args:
            time_s: of the frame; earlier than the last one, everything is forgotten [s].
            result: the estimate for this frame; why a reference gave none; None if none came.
            transition: from the last frame's prediction to this one's; None if not measured.
        """
        self._advance(time_s, transition)
        if isinstance(result, ScaleEstimate):
            self._take(result, time_s)
        elif result is not None:
            self._reason = result.reason
        return self._report(time_s)

    def _advance(self, time_s: float, transition: Transition | NoTransition | None) -> None:
        if self._time is not None and time_s < self._time:
            self.reset('time went backwards')
        seconds = 0.0 if self._time is None else time_s - self._time
        self._time = time_s
        measured = transition
        if isinstance(measured, NoTransition):
            # What follows is another picture in another normalisation.
            self._challenger, self._agreeing = None, 0
            self._blind, self._reason = True, measured.reason
            measured = None
            if self._scale is not None:
                self._scale.forget()
        for scale in (self._scale, self._challenger):
            if scale is not None:
                scale.predict(seconds, measured)

    def _take(self, estimate: ScaleEstimate, time_s: float) -> None:
        if not is_sound(estimate):
            self._reason = 'bad estimate'
        elif estimate.inlier_share < _FEWEST_INLIERS:
            self._reason = 'too few inliers'
        elif self._scale is not None and self._scale.accepts(estimate):
            self._scale.correct(estimate)
            self._believe(estimate, time_s)
        else:
            self._challenge(estimate, time_s)

    def _believe(self, estimate: ScaleEstimate, time_s: float) -> None:
        self._challenger, self._agreeing = None, 0
        self._accepted, self._last = time_s, estimate
        self._had_scale, self._against, self._blind = True, False, False
        self._reason = ''

    def _challenge(self, estimate: ScaleEstimate, time_s: float) -> None:
        """An estimate that does not fit the scale, if there is one: the first of a new one?"""
        self._against = self._scale is not None
        if self._challenger is not None and self._challenger.accepts(estimate):
            self._challenger.correct(estimate)
            self._agreeing += 1
        else:
            self._challenger, self._agreeing = ScaleFilter(estimate, self._noise), 1
        self._challenged = time_s
        if self._agreeing >= LOCK_FRAMES:
            self.relocks += self._scale is not None
            self._scale = self._challenger
            self._believe(estimate, time_s)
        elif self._against:
            self._reason = 'estimate far off'
        else:
            self._reason = f'{self._agreeing} of {LOCK_FRAMES} estimates agree'

    def _report(self, time_s: float) -> ScaleReport:
        age = time_s - self._accepted
        if self._scale is not None and age > self._hold_s:
            self._scale = None
        if self._challenger is not None and time_s - self._challenged > self._hold_s:
            self._challenger, self._agreeing = None, 0
        state = self._state(age)
        reason = '' if state is ScaleState.LOCKED else self._reason or 'no fresh reference'
        if state not in (ScaleState.LOCKED, ScaleState.COASTING) or self._scale is None:
            return ScaleReport(state, age_s=age, reason=reason)
        last = self._last
        return ScaleReport(
            state=state,
            a=self._scale.a,
            b=self._scale.b,
            sigma_log_a=self._scale.sigma_log_a,
            sigma_b=self._scale.sigma_b,
            source='' if last is None else last.source,
            inlier_share=0.0 if last is None else last.inlier_share,
            age_s=age,
            reason=reason,
        )

    def _state(self, age: float) -> ScaleState:
        if self._scale is None:
            if self._challenger is not None:
                return ScaleState.LOCKING
            return ScaleState.LOST if self._had_scale else ScaleState.UNSCALED
        if self._blind or self._against:
            return ScaleState.LOCKING
        if age > self._fresh_s:
            return ScaleState.COASTING
        return ScaleState.LOCKED
