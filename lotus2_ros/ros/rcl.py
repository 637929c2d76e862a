"""What is called of the C libraries that rclpy has loaded, past rclpy and without Python's lock.

rclpy holds Python's lock while it serialises, converts and sends or takes a message: milliseconds
for a cloud, in which no other thread of the process runs. ctypes lets go of it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

OK = 0
TAKE_FAILED = 401
"""RCL_RET_SUBSCRIPTION_TAKE_FAILED: there is no message."""

_INFO_BYTES = 256
"""Room for rmw_message_info_t, which begins with the time of publishing; more than it takes."""


class Allocator(ctypes.Structure):
    """rcutils_allocator_t; all zero where nothing is ever grown or freed."""

    _fields_ = (
        ('allocate', ctypes.c_void_p),
        ('deallocate', ctypes.c_void_p),
        ('reallocate', ctypes.c_void_p),
        ('zero_allocate', ctypes.c_void_p),
        ('state', ctypes.c_void_p),
    )


class SerializedMessage(ctypes.Structure):
    """rcl_serialized_message_t, that is rcutils_uint8_array_t."""

    _fields_ = (
        ('buffer', ctypes.c_void_p),
        ('buffer_length', ctypes.c_size_t),
        ('buffer_capacity', ctypes.c_size_t),
        ('allocator', Allocator),
    )


class MessageInfo(ctypes.Structure):
    """rmw_message_info_t, of which only the first field is read."""

    _fields_ = (('source_timestamp', ctypes.c_int64), ('rest', ctypes.c_byte * _INFO_BYTES))


class _ErrorText(ctypes.Structure):
    """rcutils_error_string_t."""

    _fields_ = (('text', ctypes.c_char * 1024),)


class Rcl:
    """The functions.

    Attributes:
        publish: rcl_publish_serialized_message(publisher, message, allocation).
        take: rcl_take_serialized_message(subscription, message, info, allocation).

    Raises:
        OSError: there is no such library by its name.
        AttributeError: it lacks a function.
    """

    def __init__(self) -> None:
        rcl, utilities = ctypes.CDLL('librcl.so'), ctypes.CDLL('librcutils.so')
        message, pointer = ctypes.POINTER(SerializedMessage), ctypes.c_void_p
        self.publish = _function(
            rcl.rcl_publish_serialized_message, ctypes.c_int, pointer, message, pointer
        )
        self.take = _function(
            rcl.rcl_take_serialized_message,
            ctypes.c_int,
            *(pointer, message, ctypes.POINTER(MessageInfo), pointer),
        )
        self._default_allocator = _function(utilities.rcutils_get_default_allocator, Allocator)
        self._fini = _function(utilities.rcutils_uint8_array_fini, ctypes.c_int, message)
        self._error = _function(utilities.rcutils_get_error_string, _ErrorText)
        self._forget_error = _function(utilities.rcutils_reset_error, None)

    def error(self) -> str:
        """What went wrong last on this thread, which is then forgotten."""
        reason: str = self._error().text.decode(errors='replace')
        self._forget_error()
        return reason

    def buffer(self) -> SerializedMessage:
        """An empty message that rcl can let grow; to be given to `free`."""
        return SerializedMessage(None, 0, 0, self._default_allocator())

    def free(self, message: SerializedMessage) -> None:
        """Give back the memory of a `buffer`."""
        self._fini(ctypes.byref(message))


def _function(function: Any, result: Any, *arguments: Any) -> Callable[..., Any]:
    function.argtypes, function.restype = arguments, result
    return function


@cache
def rcl() -> Rcl:
    """The functions, looked up once.

    Raises:
        OSError: see `Rcl`.
        AttributeError: see `Rcl`.
    """
    return Rcl()
