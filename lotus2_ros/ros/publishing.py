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

from lotus2_ros.types import UInt8Array

_LOGGER = logging.getLogger(__name__)

_BYTES_BEHIND_DATA = {Image: 0, PointCloud2: 1}
"""What CDR puts behind the data of these messages: nothing, and `is_dense`."""

_LENGTH_BYTES = 4
_LITTLE_ENDIAN = 1

_NO_DATA: array.array[int] = array.array('B')


class _Allocator(ctypes.Structure):
    """rcutils_allocator_t; all zero, since whoever publishes neither grows nor frees a buffer."""

    _fields_ = (
        ('allocate', ctypes.c_void_p),
        ('deallocate', ctypes.c_void_p),
        ('reallocate', ctypes.c_void_p),
        ('zero_allocate', ctypes.c_void_p),
        ('state', ctypes.c_void_p),
    )


class _SerializedMessage(ctypes.Structure):
    """rcl_serialized_message_t, that is rcutils_uint8_array_t."""

    _fields_ = (
        ('buffer', ctypes.c_void_p),
        ('buffer_length', ctypes.c_size_t),
        ('buffer_capacity', ctypes.c_size_t),
        ('allocator', _Allocator),
    )


def publish(publisher: Publisher[Any], message: Any) -> None:
    """Publish a message; that of a large kind without holding Python's lock meanwhile.

    Nobody else may read or write the message until this returns.

    Raises:
        RuntimeError: rcl says that it cannot.
    """
    rcl = _rcl()
    if rcl is not None and type(message) in rcl.kinds:
        _publish_serialized(rcl, publisher, serialized(message))
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


class _ErrorText(ctypes.Structure):
    """rcutils_error_string_t."""

    _fields_ = (('text', ctypes.c_char * 1024),)


class _Rcl:
    """What is needed of the C libraries that rclpy has loaded.

    Attributes:
        kinds: of messages that may be put together for them here.

    Raises:
        OSError: there is no such library by its name.
        AttributeError: it lacks a function, or rclpy's publishers no longer say where theirs is.
    """

    def __init__(self) -> None:
        _ = rclpy_implementation.Publisher.pointer
        rcl, utilities = ctypes.CDLL('librcl.so'), ctypes.CDLL('librcutils.so')
        self.publish = rcl.rcl_publish_serialized_message
        self.publish.argtypes = (
            ctypes.c_void_p,
            ctypes.POINTER(_SerializedMessage),
            ctypes.c_void_p,
        )
        self.publish.restype = ctypes.c_int
        self.error = utilities.rcutils_get_error_string
        self.error.argtypes = ()
        self.error.restype = _ErrorText
        self.forget_error = utilities.rcutils_reset_error
        self.forget_error.argtypes = ()
        self.forget_error.restype = None
        self.kinds = frozenset(k for k in _BYTES_BEHIND_DATA if _reads_what_is_put_together(k))


@cache
def _rcl() -> _Rcl | None:
    """How to publish past rclpy, found out once; None where that cannot be."""
    try:
        rcl = _Rcl()
    except (OSError, AttributeError) as error:
        _LOGGER.warning('messages go through rclpy, which holds up other threads: %s', error)
        return None
    for kind in _BYTES_BEHIND_DATA.keys() - rcl.kinds:
        _LOGGER.warning(
            'this middleware serialises %s in a way of its own: they go through rclpy, which holds'
            ' up other threads',
            kind.__name__,
        )
    return rcl


def _publish_serialized(rcl: _Rcl, publisher: Publisher[Any], data: UInt8Array) -> None:
    message = _SerializedMessage(data.ctypes.data, data.size, data.size)
    handle = publisher.handle
    # The handle stays while it is entered, whatever other threads destroy.
    with handle:
        if rcl.publish(handle.pointer, ctypes.byref(message), None) == 0:
            return
        reason = rcl.error().text.decode(errors='replace')
        rcl.forget_error()
    raise RuntimeError(f'{publisher.topic_name} cannot be published: {reason}')
