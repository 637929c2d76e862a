from __future__ import annotations

import dataclasses
import os
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus2_ros.errors import WorkerError
from lotus2_ros.worker import messages as protocol
from lotus2_ros.worker.channel import Channel
from lotus2_ros.worker.messages import Message, RequestSharpen, Retired, UseRing

KINDS = Message.__args__

_text = st.text(max_size=20)
_number = st.floats(allow_nan=False, allow_infinity=False)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | _number | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)
_BY_HINT: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(),
    float: _number,
    str: _text,
    bool: st.booleans(),
    tuple[str, ...]: st.lists(_text, max_size=3).map(tuple),
    tuple[float, ...]: st.lists(_number, max_size=3).map(tuple),
    dict[str, float]: st.dictionaries(_text, _number, max_size=3),
    dict[str, Any]: st.dictionaries(_text, _json, max_size=3),
}


def messages() -> st.SearchStrategy[Message]:
    return st.one_of(
        *(
            st.builds(kind, **{k: _BY_HINT[h] for k, h in get_type_hints(kind).items()})
            for kind in KINDS
        )
    )


@pytest.fixture
def channels() -> Iterator[tuple[Channel, Channel]]:
    left, right = (Channel(end, send_timeout_s=0.3) for end in socket.socketpair())
    yield left, right
    left.close()
    right.close()


def raw_and_channel() -> tuple[socket.socket, Channel]:
    raw, end = socket.socketpair()
    return raw, Channel(end)


@given(messages())
def test_every_message_survives_the_way(message: Message) -> None:
    assert protocol.decode(protocol.encode(message)[4:]) == message


@given(st.lists(messages(), min_size=1, max_size=5), st.integers(1, 40))
def test_messages_arrive_in_order_however_the_stream_is_cut(
    sent: list[Message], piece: int
) -> None:
    raw, channel = raw_and_channel()
    stream = b''.join(protocol.encode(message) for message in sent)
    received: list[Message] = []
    with raw:
        for start in range(0, len(stream), piece):
            raw.sendall(stream[start : start + piece])
            received += channel.receive() or []
    assert received == sent
    assert channel.receive() is None
    channel.close()


@given(st.binary(max_size=200))
def test_garbage_is_a_worker_error_and_nothing_else(garbage: bytes) -> None:
    with pytest.raises(WorkerError):
        protocol.decode(garbage)


@given(messages().filter(dataclasses.fields), st.data())
def test_a_field_of_another_type_is_refused(message: Message, data: st.DataObject) -> None:
    hints = get_type_hints(type(message))
    name = data.draw(st.sampled_from(sorted(hints)))
    bad = dataclasses.replace(message, **{name: None})
    with pytest.raises(WorkerError, match=name):
        protocol.decode(protocol.encode(bad)[4:])


@pytest.mark.parametrize(
    'body',
    [
        b'["Retired",{}]',
        b'["Retired",{"sequence":1,"more":2}]',
        b'["Retired",{"sequence":true}]',
        b'["Retired",{"sequence":1.0}]',
        b'["Progress",{"stage":"x","fraction":NaN}]',
        b'["Progress",{"stage":"x","fraction":1e999}]',
        b'["os.system",{"sequence":1}]',
        b'[["Retired"],{}]',
        b'[' * 100_000,
        b'\xff\xfe',
    ],
)
def test_malformed_messages_are_refused(body: bytes) -> None:
    with pytest.raises(WorkerError):
        protocol.decode(body)


def test_a_message_of_absurd_length_is_refused_before_it_is_read() -> None:
    raw, channel = raw_and_channel()
    with raw:
        raw.sendall(struct.pack('<I', 0xFFFFFFFF))
        with pytest.raises(WorkerError, match='refused'):
            channel.receive()
    channel.close()


def test_numbers_that_json_lacks_cannot_be_sent() -> None:
    with pytest.raises(WorkerError, match='Progress'):
        protocol.encode(protocol.Progress('loading', float('nan')))


def test_a_descriptor_arrives_with_its_message_and_is_not_inherited(
    channels: tuple[Channel, Channel],
) -> None:
    left, right = channels
    memory = os.memfd_create('test')
    os.write(memory, b'shared')
    left.send(RequestSharpen())
    left.send(UseRing(1, 4, 4096, 3, 4096), memory)
    os.close(memory)
    received: list[Message] = []
    while len(received) < 2:
        received += right.receive() or []
    descriptor = right.take_descriptor()
    assert os.pread(descriptor, 6, 0) == b'shared'
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
    with pytest.raises(WorkerError, match='without its descriptor'):
        right.take_descriptor()


def test_a_peer_that_never_reads_is_given_up(channels: tuple[Channel, Channel]) -> None:
    left, _ = channels

    def flood() -> None:
        for sequence in range(100_000):
            left.send(Retired(sequence))

    with pytest.raises(WorkerError, match='does not read'):
        flood()
    assert left.receive() is None, 'the channel is shut down, so that the receiver learns of it'


def test_a_slow_peer_loses_nothing() -> None:
    left, right = (Channel(end) for end in socket.socketpair())
    count = 5000
    sender = threading.Thread(target=lambda: [left.send(Retired(i)) for i in range(count)])
    sender.start()
    received: list[Message] = []
    while len(received) < count:
        received += right.receive() or []
    sender.join()
    assert received == [Retired(i) for i in range(count)]
    left.close()
    right.close()


def test_sending_to_a_closed_peer_is_a_worker_error(channels: tuple[Channel, Channel]) -> None:
    left, right = channels
    right.close()
    with pytest.raises(WorkerError, match='gone'):
        left.send(RequestSharpen())
