"""Publishing large messages without holding up the other threads of the process.

rclpy's `publish` holds Python's lock while it converts, serialises and sends a message: some
milliseconds for a cloud, in which a frame that has just come back cannot go out. Here rclpy only
serialises the message without its data; the data is put in its place by NumPy and handed to rcl's
C function, both without the lock. Other threads run meanwhile, and one copy fewer is made.
"""

from __future__ import annotations

import array
import ctypes
import logging
from functools import cache
from typing import Any

import numpy as np
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.publisher import Publisher
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image, PointCloud2

from lotus2_ros.ros.rcl import OK, Rcl, SerializedMessage, rcl
from lotus2_ros.types import UInt8Array

_LOGGER = logging.getLogger(__name__)

_BYTES_BEHIND_DATA = {Image: 0, PointCloud2: 1}
"""What CDR puts behind the data of these messages: nothing, and `is_dense`."""

_LENGTH_BYTES = 4
_LITTLE_ENDIAN = 1

_NO_DATA: array.array[int] = array.array('B')


def publish(publisher: Publisher[Any], message: Any) -> None:
    """Publish a message; that of a large kind without holding Python's lock meanwhile.

    Nobody else may read or write the message until this returns.

    Raises:
        RuntimeError: rcl says that it cannot.
    """
    found = _publishing()
    if found is not None and type(message) in found.kinds:
        _publish_serialized(found.rcl, publisher, serialized(message))
    else:
        publisher.publish(message)


def serialized(message: Image | PointCloud2) -> UInt8Array:
    """The bytes of `rclpy.serialization.serialize_message`, without copying data under the lock."""
    data = np.frombuffer(message.data, np.uint8)
    kept, message.data = message.data, _NO_DATA
    try:
        frame = np.frombuffer(serialize_message(message), np.uint8)
    finally:
        message.data = kept
    begin = len(frame) - _BYTES_BEHIND_DATA[type(message)]
    order = '<u4' if frame[1] & _LITTLE_ENDIAN else '>u4'
    whole = np.empty(len(frame) + len(data), np.uint8)
    whole[:begin] = frame[:begin]
    whole[begin - _LENGTH_BYTES : begin] = np.array([len(data)], order).view(np.uint8)
    whole[begin : begin + len(data)] = data
    whole[begin + len(data) :] = frame[begin:]
    return whole


def _reads_what_is_put_together(kind: Any) -> bool:
    """Whether this middleware reads messages of a kind as they are made here, tried on small ones.

    Not compared byte by byte: what stands in the gaps of aligned values is left to chance.
    """
    for size in (0, 1, 6, 8):
        message = kind(data=array.array('B', range(1, size + 1)))
        message.header.frame_id = 'camera'
        made = bytes(serialized(message))
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
