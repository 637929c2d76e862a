"""Messages between the client and the model's process: length-prefixed JSON on a Unix socket.

Plain data only, never pickle. Every field is checked on arrival, because the other side may be
dying; shared memory travels beside the message that announces it, as a file descriptor.
"""

from __future__ import annotations

import array
import collections
import dataclasses
import errno
import json
import math
import os
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import Any, NoReturn, get_type_hints

from lotus2_ros.errors import WorkerError

MAX_MESSAGE_BYTES = 1 << 20
_HEADER = struct.Struct('<I')
_MAX_DESCRIPTORS = 4
_READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Load:
    """To the worker, first of all: load this model. `settings` is `ModelSettings` as a dict."""

    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class UseRing:
    """To the worker: results go to this shared memory from now on. Carries one descriptor."""

    ring: int
    image_slots: int
    image_bytes: int
    result_slots: int
    result_bytes: int


@dataclass(frozen=True, slots=True)
class Frame:
    """To the worker: an image of a stream (a camera) waits in a slot.

    `output_height` and `output_width` are those of the results.
    """

    sequence: int
    stream: int
    ring: int
    slot: int
    height: int
    width: int
    tasks: tuple[str, ...]
    sharp_tasks: tuple[str, ...]
    max_side: int
    output_height: int
    output_width: int


@dataclass(frozen=True, slots=True)
class Configure:
    """To the worker: how often and how finely to sharpen."""

    sharpen_rate_hz: float
    sharpen_steps: int


@dataclass(frozen=True, slots=True)
class RequestSharpen:
    """To the worker: sharpen the next possible frame."""


@dataclass(frozen=True, slots=True)
class ReleaseResult:
    """To the worker: this result slot has been read and is free again."""

    ring: int
    slot: int


@dataclass(frozen=True, slots=True)
class Progress:
    """From the worker: loading has come this far."""

    stage: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Ready:
    """From the worker: loaded and warm; `info` is the predictor's description."""

    info: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Info:
    """From the worker: a fresh description, about once a second while it works."""

    info: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """From the worker: the model cannot be loaded; trying again would not help."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """From the worker: this frame gave way to a newer one; its slot is free."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Result:
    """From the worker: a result lies in a slot. A core result frees its frame's image slot."""

    sequence: int
    ring: int
    slot: int
    height: int
    width: int
    disparity: bool
    normals: bool
    sharp: bool
    sharpen_steps: int
    timings: dict[str, float]


@dataclass(frozen=True, slots=True)
class FrameFailed:
    """From the worker: no result; unless `sharp`, the frame's image slot is free."""

    sequence: int
    sharp: bool
    message: str


@dataclass(frozen=True, slots=True)
class Retired:
    """From the worker: nothing more will come of this frame, its context may go."""

    sequence: int


@dataclass(frozen=True, slots=True)
class RingReleased:
    """From the worker: an outgrown ring is used no more."""

    ring: int


@dataclass(frozen=True, slots=True)
class Fatal:
    """From the worker, its last word: the process is beyond repair and must be replaced."""

    message: str


Message = (
    Load
    | UseRing
    | Frame
    | Configure
    | RequestSharpen
    | ReleaseResult
    | Progress
    | Ready
    | Info
    | LoadFailed
    | Replaced
    | Result
    | FrameFailed
    | Retired
    | RingReleased
    | Fatal
)

_TYPES: dict[str, type[Message]] = {kind.__name__: kind for kind in Message.__args__}
_FIELDS = {name: get_type_hints(kind) for name, kind in _TYPES.items()}


def encode(message: Message) -> bytes:
    """One message as bytes, header included.

    Raises:
        WorkerError: a value is not plain JSON data, or the message is too long.
    """
    fields = {f.name: getattr(message, f.name) for f in dataclasses.fields(message)}
    try:
        text = json.dumps([type(message).__name__, fields], allow_nan=False, separators=(',', ':'))
    except (TypeError, ValueError) as err:
        msg = f'{type(message).__name__} cannot be sent: {err}'
        raise WorkerError(msg) from err
    body = text.encode()
    if len(body) > MAX_MESSAGE_BYTES:
        msg = f'{type(message).__name__} of {len(body)} bytes is too long to be sent'
        raise WorkerError(msg)
    return _HEADER.pack(len(body)) + body


def decode(body: bytes) -> Message:
    """The message in `body` (without header).

    Raises:
        WorkerError: not exactly a known message with exactly its fields, each of its type.
    """
    try:
        parsed = json.loads(body, parse_constant=_refuse_constant)
    # A hostile nesting depth is a RecursionError.
    except (ValueError, RecursionError) as err:
        msg = f'malformed worker message: {err}'
        raise WorkerError(msg) from err
    match parsed:
        case [str(name), dict(fields)] if name in _TYPES:
            pass
        case _:
            raise WorkerError(f'unknown worker message: {body[:80]!r}')
    wanted = _FIELDS[name]
    if fields.keys() != wanted.keys():
        raise WorkerError(f'{name} has fields {sorted(fields)}, wanted {sorted(wanted)}')
    return _TYPES[name](**{k: _checked(f'{name}.{k}', fields[k], wanted[k]) for k in wanted})


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f'{constant} is not allowed')


def _checked(name: str, value: Any, hint: Any) -> Any:
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    if hint == tuple[str, ...] and type(value) is list and all(type(i) is str for i in value):
        return tuple(value)
    if hint == dict[str, Any] and type(value) is dict:
        return value
    if hint == dict[str, float] and type(value) is dict:
        return {key: _checked(f'{name}.{key}', item, float) for key, item in value.items()}
    raise WorkerError(f'{name} is {str(value)[:80]!r}, wanted {hint}')


class Channel:
    """One end of the socket: whole messages and their descriptors, in order.

    Any thread may send; one thread receives.
    """

    def __init__(self, connection: socket.socket, *, send_timeout_s: float | None = None) -> None:
        """Take over `connection`.

        Args:
            connection: a connected Unix stream socket; closed by `close`.
            send_timeout_s: a peer that reads nothing for this long is given up; None waits.
        """
        self._socket = connection
        self._send_timeout_s = send_timeout_s
        self._send_lock = threading.Lock()
        self._received = bytearray()
        self._descriptors: collections.deque[int] = collections.deque()

    def fileno(self) -> int:
        """Descriptor to poll for arriving messages."""
        return self._socket.fileno()

    def send(self, message: Message, descriptor: int | None = None) -> None:
        """Send one message, with a descriptor that the peer gets a duplicate of.

        Raises:
            WorkerError: the peer is gone, or does not read.
        """
        data = memoryview(encode(message))
        attached = [] if descriptor is None else [descriptor]
        with self._send_lock:
            deadline = None
            if self._send_timeout_s is not None:
                deadline = time.monotonic() + self._send_timeout_s
            while data:
                try:
                    sent = self._send_some(data, attached)
                except BlockingIOError:
                    self._wait_writable(deadline)
                    continue
                except OSError as err:
                    raise WorkerError(
                        f'the other end of the worker channel is gone: {err}'
                    ) from err
                data, attached = data[sent:], []

    def _send_some(self, data: memoryview, attached: list[int]) -> int:
        ancillary = []
        if attached:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', attached))]
        return self._socket.sendmsg([data], ancillary, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def _wait_writable(self, deadline: float | None) -> None:
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLOUT)
        if deadline is None:
            poll.poll()
            return
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            # Part of a message may be out: the stream is of no use any more.
            self.shutdown()
            raise WorkerError('the other end of the worker channel does not read')

    def receive(self) -> list[Message] | None:
        """Wait for data and return the messages now complete, perhaps none; None at the end.

        Raises:
            WorkerError: the peer sent something that is no message; the channel is of no use then.
        """
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(
                _READ_BYTES,
                socket.CMSG_SPACE(_MAX_DESCRIPTORS * array.array('i').itemsize),
                socket.MSG_CMSG_CLOEXEC,
            )
        except ConnectionError:
            return None
        except OSError as err:
            raise WorkerError(f'the worker channel cannot be read: {err}') from err
        for level, kind, raw in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                received = array.array('i')
                received.frombytes(raw[: len(raw) - len(raw) % received.itemsize])
                self._descriptors.extend(received)
        if flags & socket.MSG_CTRUNC:
            raise WorkerError('more descriptors than expected on the worker channel')
        if not data:
            return None
        self._received += data
        return self._complete_messages()

    def _complete_messages(self) -> list[Message]:
        messages = []
        while len(self._received) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._received)
            if length > MAX_MESSAGE_BYTES:
                raise WorkerError(f'worker message of {length} bytes refused')
            end = _HEADER.size + length
            if len(self._received) < end:
                break
            messages.append(decode(bytes(self._received[_HEADER.size : end])))
            del self._received[:end]
        return messages

    def take_descriptor(self) -> int:
        """The oldest descriptor received and not yet taken; the caller owns it.

        Raises:
            WorkerError: there is none.
        """
        if not self._descriptors:
            raise WorkerError('a message came without its descriptor')
        return self._descriptors.popleft()

    def shutdown(self) -> None:
        """End the conversation in both directions; a receiver sees the end."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError as err:
            # The peer may have gone first; anything else is a defect.
            if err.errno not in (errno.ENOTCONN, errno.EBADF):
                raise

    def close(self) -> None:
        """Close the socket and every descriptor not taken."""
        with self._send_lock:  # Else a sender could write to a reused descriptor.
            self._socket.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())
