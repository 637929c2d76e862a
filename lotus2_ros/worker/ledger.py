"""The client's book of frames in flight: their slots, their contexts, how long they take.

Pure bookkeeping without sockets; the client holds a lock around every call.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from lotus2_ros.errors import WorkerError
from lotus2_ros.types import UInt8Array
from lotus2_ros.worker.ring import (
    FURTHER_SLOTS,
    Ring,
    RingLayout,
    SlotPool,
    check_image_size,
    create_ring,
)


@dataclass(slots=True)
class FrameEntry:
    """One image on its way.

    Attributes:
        sequence: number within this worker.
        ring: number of the ring that holds the image.
        slot: image slot in that ring.
        height: of the image, px.
        width: of the image, px.
        stream: which camera's it is.
        context: the user's object.
        sent_s: when it was committed, on the monotonic clock.
        answered: True once its core result, error or replacement came; the slot is free then.
    """

    sequence: int
    ring: int
    slot: int
    height: int
    width: int
    stream: int = 0
    context: Any = None
    sent_s: float = 0.0
    answered: bool = False


class FrameLedger:
    """Frames and rings of one worker process."""

    def __init__(self, result_channels: int, streams: int = 1) -> None:
        """Expect results of that many float32 channels a pixel, for so many streams of images."""
        self._result_channels = result_channels
        self._streams = streams
        self._rings: dict[int, tuple[Ring, SlotPool]] = {}
        self._current = 0
        self._last_sequence = 0
        self._writing: FrameEntry | None = None
        self._frames: dict[int, FrameEntry] = {}
        self._busy_since_s: float | None = None

    def grow(self, height: int, width: int) -> tuple[Ring, int] | None:
        """Make sure that images of this size fit.

        Returns:
            The new ring and its descriptor (to be sent to the worker and closed), if one was made.

        Raises:
            ImageError: an unreasonable size.
            WorkerError: no memory for it.
        """
        check_image_size(height, width)
        layout = RingLayout.for_pixels(height * width, self._result_channels, self._streams)
        if self._current and self._rings[self._current][0].layout.holds(layout):
            return None
        ring, descriptor = create_ring(self._current + 1, layout)
        self._abandon()
        self._current = ring.number
        self._rings[ring.number] = (ring, SlotPool(layout.image_slots))
        return ring, descriptor

    def begin(self, height: int, width: int, stream: int = 0) -> UInt8Array | None:
        """View of a free image slot of the current ring, or None if its stream may have no more."""
        self._abandon()
        ring, pool = self._rings[self._current]
        held = Counter(entry.stream for entry in self.waiting() if entry.ring == ring.number)
        left_to_others = sum(
            max(0, FURTHER_SLOTS - held[other]) for other in range(self._streams) if other != stream
        )
        if ring.layout.image_slots - held.total() <= left_to_others:
            return None
        slot = pool.take()
        if slot is None:
            return None
        self._writing = FrameEntry(0, ring.number, slot, height, width, stream)
        return ring.image(slot, height, width)

    def _abandon(self) -> None:
        if self._writing is not None:
            self._rings[self._writing.ring][1].give(self._writing.slot)
            self._writing = None

    def commit(self, context: Any, now_s: float) -> FrameEntry:
        """Number the frame begun last and count it as in flight.

        Raises:
            WorkerError: no frame was begun.
        """
        entry = self._writing
        if entry is None:
            raise WorkerError('commit_frame without begin_frame')
        self._writing = None
        self._last_sequence += 1
        entry.sequence, entry.context, entry.sent_s = self._last_sequence, context, now_s
        self._frames[entry.sequence] = entry
        if self._busy_since_s is None:
            self._busy_since_s = now_s
        return entry

    def frame(self, sequence: int) -> FrameEntry:
        """The entry of a frame in flight.

        Raises:
            WorkerError: no such frame.
        """
        try:
            return self._frames[sequence]
        except KeyError:
            raise WorkerError(f'the worker speaks of an unknown frame {sequence}') from None

    def answer(self, sequence: int) -> FrameEntry:
        """The core's part of a frame is over: its image slot is free.

        Raises:
            WorkerError: no such frame, or it was answered before.
        """
        entry = self.frame(sequence)
        if entry.answered:
            raise WorkerError(f'the worker answered frame {sequence} twice')
        entry.answered = True
        self._rings[entry.ring][1].give(entry.slot)
        if not self.waiting():
            self._busy_since_s = None
        return entry

    def retire(self, sequence: int) -> None:
        """Forget a frame that nothing more will come of.

        Raises:
            WorkerError: no such frame, or it was not answered yet.
        """
        if not self.frame(sequence).answered:
            raise WorkerError(f'the worker retired frame {sequence} without an answer')
        del self._frames[sequence]

    def progress(self, now_s: float) -> None:
        """The model has finished something: the time it may take begins anew."""
        if self._busy_since_s is not None:
            self._busy_since_s = now_s

    @property
    def busy_since_s(self) -> float | None:
        """Since when the worker owes an answer without having finished anything; None if not."""
        return self._busy_since_s

    def waiting(self) -> list[FrameEntry]:
        """Frames in flight without an answer, oldest first."""
        return [entry for entry in self._frames.values() if not entry.answered]

    def ring(self, number: int) -> Ring:
        """The ring of that number.

        Raises:
            WorkerError: there is none, or no longer.
        """
        try:
            return self._rings[number][0]
        except KeyError:
            raise WorkerError(f'the worker speaks of an unknown ring {number}') from None

    def release_ring(self, number: int) -> None:
        """Unmap an outgrown ring.

        Raises:
            WorkerError: it is unknown, the current one, or frames in flight lie in it.
        """
        self.ring(number)
        if number == self._current or any(e.ring == number for e in self.waiting()):
            raise WorkerError(f'the worker released ring {number}, which is in use')
        del self._rings[number]
