"""When the simulated robot's sensors are due, and in which order; no ROS here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_MADE_UP_S = 1.0

_FEW = 0.7
"""A stream that reaches less than this share of its rate is too slow."""


@dataclass
class Stream:
    """Something that happens every so often, at whole multiples of its period.

    Attributes:
        name: for people.
        rate: [Hz].
        act: makes it happen at a time [s].
        light: takes no time to speak of: it is made up for when it is late, up to a second.
        delay: how long after its time it is known [s].
        follows: happens at the times of the leader, also of those that it leaves out because it is
            late: a reference belongs to an image.
        count: number of the next one.
        done: how many there were since the last report.
    """

    name: str
    rate: float
    act: Callable[[float], None]
    light: bool = False
    delay: float = 0.0
    follows: bool = False
    count: int = 1
    done: int = 0

    @property
    def time(self) -> float:
        """Of the next one [s]; never, if it waits for the leader."""
        return self.count / self.rate if self.count else math.inf

    @property
    def due(self) -> float:
        """When it is known [s]."""
        return self.time + self.delay

    def advance(self, now: float) -> None:
        """To the next one; those that are too late are left out."""
        self.done += 1
        if self.follows:
            self.count = 0
            return
        late = self.delay + (_MADE_UP_S if self.light else 0.0)
        self.count = max(self.count + 1, math.floor((now - late) * self.rate))


class Schedule:
    """Lets streams act when they are due.

    Args:
        leader: heavy streams of its rate happen at its times.
        others: the rest; streams of rate 0 never happen.
        clock: seconds since the start.
    """

    def __init__(
        self, leader: Stream, others: Sequence[Stream], clock: Callable[[], float]
    ) -> None:
        self._leader = leader
        self._clock = clock
        self.streams = [stream for stream in (*others, leader) if stream.rate > 0]
        for stream in others:
            if not stream.light and stream.rate == leader.rate:
                stream.follows, stream.count = True, 0
        self._reported = clock()

    def work(self) -> None:
        """All light streams that are due, in the order of time, and one that is not light."""
        now = self._clock()
        while light := [s for s in self.streams if s.light and s.due <= now]:
            self._act(min(light, key=lambda s: s.due))
        heavy = [s for s in self.streams if not s.light and s.due <= now]
        if heavy:
            self._act(min(heavy, key=lambda s: s.due))

    def _act(self, stream: Stream) -> None:
        stream.act(stream.time)
        if stream is self._leader:
            for follower in self.streams:
                if follower.follows:
                    follower.count = stream.count
        stream.advance(self._clock())

    def too_slow(self, period_s: float) -> list[str]:
        """Once in a period: the streams that did not reach their rates in it, with figures."""
        seconds = self._clock() - self._reported
        if seconds < period_s:
            return []
        slow = [
            f'{s.name} {s.done / seconds:.1f} of {s.rate:g} Hz'
            for s in self.streams
            if s.done < _FEW * s.rate * seconds
        ]
        self._reported += seconds
        for stream in self.streams:
            stream.done = 0
        return slow
