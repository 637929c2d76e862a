"""Publishing large messages without holding up the other threads of the process.

rclpy's `publish` holds Python's lock while it converts, serialises and sends a message: some
milliseconds for a cloud, in which a frame that has just come back cannot go out. Here rclpy only
serialises the message without its data, which is in its place behind that already, and all of it is
handed to rcl's C function without the lock. Other threads run meanwhile.
"""

from __future__ import annotations

import array
import copy
import ctypes
import logging
from functools import cache
from typing import Any

import numpy as np
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.publisher import Publisher
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header

from lotus2_ros.ros.rcl import OK, Rcl, SerializedMessage, rcl
from lotus2_ros.types import UInt8Array

_LOGGER = logging.getLogger(__name__)

_BYTES_BEHIND_DATA = {Image: 0, PointCloud2: 1}
"""What CDR puts behind the data of these messages: nothing, and `is_dense`."""

_LENGTH_BYTES = 4
_LITTLE_ENDIAN = 1


class Packed:
    """An Image or a PointCloud2 whose data is written straight into the bytes that are sent.

    A message with its data beside it is copied twice before it is sent, and the memory that takes
    is cold: of the 2 ms that a depth image takes from its disparity to the middleware, 0.7.

    Attributes:
        message: all but its data, which stays empty; its header may still change.
        data: (N,) uint8, to be filled.
    """

    def __init__(self, message: Image | PointCloud2, size: int) -> None:
        """Make room.

        Args:
            message: without data.
            size: N, of its data [bytes].
        """
        self.message = message
        self._behind = _BYTES_BEHIND_DATA[type(message)]
        begin = len(serialize_message(message)) - self._behind
        self._whole = np.empty(begin + size + self._behind, np.uint8)
        self.data: UInt8Array = self._whole[begin : begin + size]

    @property
    def header(self) -> Header:
        """Of the message."""
        return self.message.header

    def serialized(self) -> UInt8Array:
        """The bytes of `rclpy.serialization.serialize_message` of all of it."""
        frame = np.frombuffer(serialize_message(self.message), np.uint8)
        begin = len(frame) - self._behind
        order = '<u4' if frame[1] & _LITTLE_ENDIAN else '>u4'
        size = len(self.data)
        self._whole[:begin] = frame[:begin]
        self._whole[begin - _LENGTH_BYTES : begin] = np.array([size], order).view(np.uint8)
        self._whole[begin + size :] = frame[begin:]
        return self._whole

    def unpacked(self) -> Image | PointCloud2:
        """The message with its data, as others have it."""
        whole = copy.copy(self.message)
        whole.data = array.array('B')
        whole.data.frombytes(self.data.data)
        return whole


def publish(publisher: Publisher[Any], message: Any) -> None:
    """Publish a message; a packed one without holding Python's lock meanwhile.

    Nobody else may write the message until this returns.

    Raises:
        RuntimeError: rcl says that it cannot.
    """
    if not isinstance(message, Packed):
        publisher.publish(message)
        return
    found = _publishing()
    if found is not None and type(message.message) in found.kinds:
        _publish_serialized(found.rcl, publisher, message.serialized())
    else:
        publisher.publish(message.unpacked())


def _reads_what_is_put_together(kind: Any) -> bool:
    """Whether this middleware reads messages of a kind as they are made here, tried on small ones.

    Not compared byte by byte: what stands in the gaps of aligned values is left to chance.
    """
    for size in (0, 1, 6, 8):
        packed = Packed(kind(header=Header(frame_id='camera')), size)
        packed.data[:] = range(1, size + 1)
        made, message = bytes(packed.serialized()), packed.unpacked()
        if len(made) != len(serialize_message(message)) or _read(made, kind) != message:
            return False
    return True


def _read(made: bytes, kind: type) -> Any:
    try:
        return deserialize_message(made, kind)
    except RuntimeError:  # it cannot be read
        return None


class _Publishing:
    """How to publish past rclpy.

    Attributes:
        rcl: the C library.
        kinds: of messages that may be put together here.

    Raises:
        OSError: see `Rcl`.
        AttributeError: see `Rcl`; or rclpy's publishers no longer say where theirs is.
    """

    def __init__(self) -> None:
        _ = rclpy_implementation.Publisher.pointer
        self.rcl = rcl()
        self.kinds = frozenset(k for k in _BYTES_BEHIND_DATA if _reads_what_is_put_together(k))


@cache
def _publishing() -> _Publishing | None:
    """Found out once; None where that cannot be."""
    try:
        found = _Publishing()
    except (OSError, AttributeError) as error:
        _LOGGER.warning('messages go through rclpy, which holds up other threads: %s', error)
        return None
    for kind in _BYTES_BEHIND_DATA.keys() - found.kinds:
        _LOGGER.warning(
            'this middleware serialises %s in a way of its own: they go through rclpy, which holds'
            ' up other threads',
            kind.__name__,
        )
    return found


def _publish_serialized(library: Rcl, publisher: Publisher[Any], data: UInt8Array) -> None:
    message = SerializedMessage(data.ctypes.data, data.size, data.size)
    handle = publisher.handle
    # The handle stays while it is entered, whatever other threads destroy.
    with handle:
        if library.publish(handle.pointer, ctypes.byref(message), None) == OK:
            return
        reason = library.error()
    raise RuntimeError(f'{publisher.topic_name} cannot be published: {reason}')
