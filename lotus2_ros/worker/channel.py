"""One end of the socket between the client and the model's process: whole messages, in order.

Shared memory travels beside the message that announces it, as a file descriptor.
"""

from __future__ import annotations

import array
import collections
import errno
import os
import select
import socket
import threading
import time

from lotus2_ros.errors import WorkerError
from lotus2_ros.worker.messages import HEADER, MAX_MESSAGE_BYTES, Message, decode, encode

_MAX_DESCRIPTORS = 4
_READ_BYTES = 1 << 16


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
        while len(self._received) >= HEADER.size:
            (length,) = HEADER.unpack_from(self._received)
            if length > MAX_MESSAGE_BYTES:
                raise WorkerError(f'worker message of {length} bytes refused')
            end = HEADER.size + length
            if len(self._received) < end:
                break
            messages.append(decode(bytes(self._received[HEADER.size : end])))
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
