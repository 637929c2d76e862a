"""Taking messages of one subscription at once, on a thread of their own and past the executor.

An executor builds a list of everything that a node waits for each time that it wakes up, and rclpy
converts a message with Python's lock held: of the 2.5 ms that an image of 0.9 MB takes from one
process to another, a quarter. Here a thread waits for this subscription alone, and the bytes of an
Image stay where rcl has put them.
"""

from __future__ import annotations

import ctypes
import logging
import struct
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.serialization import serialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lotus2_ros.closing import Closing
from lotus2_ros.ros.rcl import OK, TAKE_FAILED, MessageInfo, Rcl, rcl
from lotus2_ros.types import UInt8Array

_LOGGER = logging.getLogger(__name__)

_ENCAPSULATION = 4
"""Bytes before a message in CDR; what is aligned in it counts from behind them."""

_LITTLE_ENDIAN = 1

_PAUSE_S = 0.1
"""After an error that may come again at once."""


class TakenImage(NamedTuple):
    """A sensor_msgs/Image without a copy of its data.

    Attributes:
        header: of the message.
        height: of the message [px].
        width: of the message [px].
        encoding: of the message.
        is_bigendian: of the message.
        step: of the message [bytes].
        data: (N,) uint8, only until the callback returns.
    """

    header: Header
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: UInt8Array


class Arrived(NamedTuple):
    """A message that was taken.

    Attributes:
        message: an Image as `TakenImage` where that can be, any other as it is.
        sent_ns: when it was published, on the publisher's clock [ns].
    """

    message: Any
    sent_ns: int


class Taker(Closing):
    """One subscription, from construction to `close`.

    The node's executor has nothing to do with it, nor with events of its quality of service.

    Args:
        node: creates and destroys the subscription.
        kind: of the messages.
        topic: relative or not.
        callback: takes each message on the thread; what it raises is given to `failed`.
        failed: takes an exception; the thread goes on.
        options: further ones of `Node.create_subscription`, its profile among them.
    """

    def __init__(
        self,
        node: Node,
        kind: type,
        topic: str,
        callback: Callable[[Arrived], Any],
        *,
        failed: Callable[[Exception], Any],
        **options: Any,
    ) -> None:
        self._node = node
        self._callback = callback
        self._failed = failed
        self.subscription: Subscription[Any] = node.create_subscription(
            kind, topic, _nothing, callback_group=_Nobody(), **options
        )
        # Not the node's: its executor would wake up for it, too.
        self._wake = GuardCondition(None, None, context=node.context)
        self._closed = False
        # On Jazzy nothing else ends the waiting; only a reference that is weak is kept there.
        node.context.on_shutdown(self._stop_waiting)
        self._thread = threading.Thread(
            target=self._run, name=f'lotus2-{topic.rpartition("/")[2]}', daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Take no more; returns when no callback is under way. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._wake.trigger()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._wake.destroy()
        self._node.destroy_subscription(self.subscription)

    def _stop_waiting(self) -> None:
        if not self._closed:
            self._wake.trigger()

    def _run(self) -> None:
        context = self._node.context
        take = _take(self.subscription)
        try:
            # Both handles stay while they are entered, whatever other threads destroy.
            with self.subscription.handle, self._wake.handle:
                while not self._closed and context.ok():
                    try:
                        self._wait(context.handle)
                        arrived = None if self._closed else take()
                        if arrived is not None:
                            self._callback(arrived)
                    except Exception as error:  # one message must not end the thread
                        if self._closed or not context.ok():
                            return
                        self._failed(error)
                        time.sleep(_PAUSE_S)
        finally:
            take.close()

    def _wait(self, context: Any) -> None:
        """Until there may be a message, or `close`; events are dealt with here, too."""
        events = self.subscription.event_handlers
        waiting = rclpy_implementation.WaitSet(1, 1, 0, 0, 0, len(events), context)
        with context, waiting:
            waiting.clear_entities()
            waiting.add_subscription(self.subscription.handle)
            waiting.add_guard_condition(self._wake.handle)
            for event in events:
                event.add_to_wait_set(waiting)
            waiting.wait(-1)
            ready = [event for event in events if event.is_ready(waiting)]
        for event in ready:
            event.callback(event.take_data())


class _Nobody(MutuallyExclusiveCallbackGroup):
    """Keeps executors from a subscription and from its events.

    With the events left to it, an executor would wake up for each message, too: Fast DDS has one
    condition for both.
    """

    def can_execute(self, _entity: Any) -> bool:
        return False


def _nothing(_message: Any) -> None:
    """What an executor would call."""


class _TypedTake:
    """By rclpy, which converts the message."""

    def __init__(self, subscription: Subscription[Any]) -> None:
        self._subscription = subscription

    def __call__(self) -> Arrived | None:
        found = self._subscription.handle.take_message(self._subscription.msg_type, False)
        if found is None:
            return None
        message, info = found
        return Arrived(message, info['source_timestamp'])

    def close(self) -> None:
        pass


class _ImageTake:
    """By rcl, whose buffer is used again and again."""

    def __init__(self, library: Rcl, subscription: Subscription[Any]) -> None:
        self._rcl = library
        self._subscription = subscription
        self._buffer = library.buffer()
        self._info = MessageInfo()

    def __call__(self) -> Arrived | None:
        handle = self._subscription.handle
        buffer = ctypes.byref(self._buffer)
        status = self._rcl.take(handle.pointer, buffer, ctypes.byref(self._info), None)
        if status == TAKE_FAILED:
            return None
        if status != OK:
            name = self._subscription.topic_name
            raise RuntimeError(f'nothing can be taken from {name}: {self._rcl.error()}')
        size = self._buffer.buffer_length
        start = ctypes.cast(self._buffer.buffer, ctypes.POINTER(ctypes.c_uint8))
        content = np.ctypeslib.as_array(start, (size,))
        return Arrived(read_image(content), self._info.source_timestamp)

    def close(self) -> None:
        self._rcl.free(self._buffer)


def _take(subscription: Subscription[Any]) -> _TypedTake | _ImageTake:
    if subscription.msg_type is Image and _library() is not None:
        return _ImageTake(rcl(), subscription)
    return _TypedTake(subscription)


def read_image(content: UInt8Array) -> TakenImage:
    """Read a serialised sensor_msgs/Image (CDR).

    Args:
        content: (N,) all of the message; the result's data is a view of it.

    Raises:
        ValueError: it is none, or ends too early.
    """
    memory = content.data
    if len(memory) < _ENCAPSULATION:
        raise ValueError(f'an image message of {len(memory)} bytes')
    order = '<' if memory[1] & _LITTLE_ENDIAN else '>'
    try:
        sec, nanosec = struct.unpack_from(f'{order}iI', memory, _ENCAPSULATION)
        frame_id, place = _text(memory, order, _ENCAPSULATION + 8)
        place = _aligned(place)
        height, width = struct.unpack_from(f'{order}II', memory, place)
        encoding, place = _text(memory, order, place + 8)
        is_bigendian = memory[place]
        place = _aligned(place + 1)
        step, size = struct.unpack_from(f'{order}II', memory, place)
    except (struct.error, IndexError) as error:
        raise ValueError(f'an image message that ends too early: {error}') from error
    data = content[place + 8 : place + 8 + size]
    if len(data) != size:
        raise ValueError(f'an image message with {len(data)} of {size} bytes of data')
    header = Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame_id)
    return TakenImage(header, height, width, encoding, is_bigendian, step, data)


def _text(memory: memoryview, order: str, place: int) -> tuple[str, int]:
    """A string, which ends with a zero, and the place behind it."""
    (size,) = struct.unpack_from(f'{order}I', memory, place)
    end = place + 4 + size
    if end > len(memory):
        raise IndexError(f'a string of {size} bytes at {place} of {len(memory)}')
    return bytes(memory[place + 4 : end]).rstrip(b'\0').decode(errors='replace'), end


def _aligned(place: int) -> int:
    return place + (_ENCAPSULATION - place) % 4


@cache
def _library() -> Rcl | None:
    """How to take images past rclpy, found out once; None where that cannot be."""
    try:
        _ = rclpy_implementation.Subscription.pointer
        found = rcl()
    except (OSError, AttributeError) as error:
        _LOGGER.warning('images come through rclpy, which holds up other threads: %s', error)
        return None
    if not _reads_what_is_serialised():
        _LOGGER.warning(
            'this middleware serialises images in a way of its own: they come through rclpy, which'
            ' holds up other threads'
        )
        return None
    return found


def _reads_what_is_serialised() -> bool:
    """Whether images of this middleware are what is read here, tried on small ones."""
    for size in range(6):
        header = Header(stamp=Time(sec=-7, nanosec=size), frame_id='c' * size)
        message = Image(header=header, height=size, width=3, encoding='m' * (5 - size), step=9)
        message.data.extend(range(size))
        try:
            found = read_image(np.frombuffer(serialize_message(message), np.uint8))
        except ValueError:  # it cannot be read
            return False
        same = all(getattr(found, name) == getattr(message, name) for name in found._fields[:-1])
        if not same or found.data.tobytes() != message.data.tobytes():
            return False
    return True
