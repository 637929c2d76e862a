"""The receiving thread of the model's process: the newest frames, options, free result slots."""

from __future__ import annotations

import logging
import os
import threading

from lotus2_ros.errors import WorkerError
from lotus2_ros.worker.channel import Channel
from lotus2_ros.worker.messages import (
    Configure,
    Frame,
    Message,
    ReleaseResult,
    Replaced,
    RequestSharpen,
    UseRing,
)
from lotus2_ros.worker.ring import Ring, RingLayout, SlotPool

EXIT_ORPHANED = 0
EXIT_PROTOCOL = 2

_LOGGER = logging.getLogger(__name__)


class Inbox:
    """What has arrived and not been dealt with, never more than one frame of each stream.

    The streams take turns, so that a fast camera does not keep a slow one waiting.

    The thread ends the whole process when the client is gone, however busy the model is: an orphan
    must not keep GPU memory.
    """

    def __init__(self, channel: Channel, first: list[Message]) -> None:
        """Receive from `channel`; `first` came with the load message already."""
        self._channel = channel
        self._changed = threading.Condition()
        self._version = 0
        self._waiting: dict[int, Frame] = {}
        self._last_stream = -1
        self._rings: dict[int, Ring] = {}
        self._current: tuple[Ring, SlotPool] | None = None
        self._sharpening: Configure | None = None
        self._sharpen_requested = False
        self._first = first

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._read, name='lotus2-inbox', daemon=True).start()

    def _read(self) -> None:
        try:
            messages: list[Message] | None = self._first
            while messages is not None:
                for message in messages:
                    self._accept(message)
                messages = self._channel.receive()
        except WorkerError as err:
            _LOGGER.error('the client does not keep to the protocol: %s', err)
            os._exit(EXIT_PROTOCOL)
        except BaseException:
            _LOGGER.exception('defect in the inbox')
            os._exit(EXIT_PROTOCOL)
        os._exit(EXIT_ORPHANED)

    def _accept(self, message: Message) -> None:
        replaced = None
        with self._changed:
            match message:
                case Frame():
                    # Looks the slot up now, so that a bad message is not blamed on the model.
                    self.ring(message.ring).image(message.slot, message.height, message.width)
                    replaced = self._waiting.get(message.stream)
                    self._waiting[message.stream] = message
                case UseRing():
                    self._use_ring(message)
                case ReleaseResult():
                    if self._current is not None and message.ring == self._current[0].number:
                        self._current[1].give(message.slot)
                case Configure():
                    self._sharpening = message
                case RequestSharpen():
                    self._sharpen_requested = True
                case _:
                    raise WorkerError(f'{type(message).__name__} is not for the worker')
            self._version += 1
            self._changed.notify_all()
        if replaced is not None:
            self._channel.send(Replaced(replaced.sequence))

    def _use_ring(self, message: UseRing) -> None:
        layout = RingLayout(
            message.image_slots, message.image_bytes, message.result_slots, message.result_bytes
        )
        ring = Ring(message.ring, layout, self._channel.take_descriptor())
        self._rings[ring.number] = ring
        self._current = (ring, SlotPool(layout.result_slots))

    def ring(self, number: int) -> Ring:
        """The mapped ring of that number.

        Raises:
            WorkerError: there is none.
        """
        if number not in self._rings:
            raise WorkerError(f'ring {number} is unknown')
        return self._rings[number]

    @property
    def version(self) -> int:
        """Changes whenever something arrives."""
        with self._changed:
            return self._version

    def wait_beyond(self, version: int, timeout_s: float | None = None) -> None:
        """Wait until something has arrived since `version` was read, or for so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, timeout_s)

    def take_frame(self) -> Frame | None:
        """The newest frame of the stream whose turn it is, once there is room for its result.

        Until then it may be replaced by a newer one of its stream.
        """
        with self._changed:
            if self._current is None or not self._current[1].free or not self._waiting:
                return None
            later = [stream for stream in self._waiting if stream > self._last_stream]
            self._last_stream = min(later or self._waiting)
            return self._waiting.pop(self._last_stream)

    def take_result_slot(self) -> tuple[Ring, int]:
        """A free result slot of the current ring; waits for one."""
        with self._changed:
            while True:
                if self._current is not None:
                    ring, pool = self._current
                    slot = pool.take()
                    if slot is not None:
                        return ring, slot
                self._changed.wait()

    def take_options(self) -> tuple[Configure | None, bool]:
        """Options that arrived since last time, and whether a sharpened frame was asked for."""
        with self._changed:
            options = self._sharpening, self._sharpen_requested
            self._sharpening, self._sharpen_requested = None, False
            return options

    def drop_outgrown_rings(self) -> list[int]:
        """Unmap rings that neither waiting frames nor future results use.

        To be called while no frame is being worked on.

        Returns:
            Their numbers.
        """
        with self._changed:
            used = set() if self._current is None else {self._current[0].number}
            used.update(frame.ring for frame in self._waiting.values())
            dropped = [number for number in self._rings if number not in used]
            for number in dropped:
                del self._rings[number]
            return dropped
