"""Large messages, put together here and handed to rcl without Python's lock."""

from __future__ import annotations

import array
import ctypes
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_pair import pair
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from rig import wait_until
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

from lotus2_ros.ros import publishing
from lotus2_ros.ros.publishing import Packed, publish
from lotus2_ros.ros.rcl import Rcl

__all__ = ['pair']  # a fixture

SEED = 7


def _random(size: int) -> array.array:
    return array.array('B', np.random.default_rng(SEED).bytes(size))


def _packed(message, data) -> Packed:
    """The same message, its data in the bytes that are sent."""
    packed = Packed(message, len(data))
    packed.data[:] = data
    return packed


def _check(message, data) -> None:
    packed = _packed(message, data)
    made, kind = bytes(packed.serialized()), type(message)
    whole = packed.unpacked()
    assert whole.data == data
    expected = serialize_message(whole)
    assert len(made) == len(expected)
    # Not byte by byte: what stands between aligned values is left to chance.
    read = deserialize_message(made, kind)
    assert read == deserialize_message(expected, kind)
    assert read.data == data


@given(
    frame=st.text(max_size=9),
    encoding=st.sampled_from(['32FC1', 'rgb8', '']),
    size=st.integers(0, 70),
)
def test_an_image_reads_as_what_rclpy_serialises(frame, encoding, size):
    message = Image(header=Header(frame_id=frame), encoding=encoding, step=3)
    _check(message, _random(size))


@given(
    frame=st.text(max_size=9),
    fields=st.lists(st.text(max_size=5), max_size=4),
    size=st.integers(0, 70),
    dense=st.booleans(),
)
def test_a_cloud_reads_as_what_rclpy_serialises(frame, fields, size, dense):
    message = PointCloud2(
        header=Header(frame_id=frame),
        fields=[PointField(name=name, count=1) for name in fields],
        is_dense=dense,
        row_step=size,
    )
    _check(message, _random(size))


def test_a_stamp_may_be_given_to_a_message_that_is_packed():
    header = Header(frame_id='camera')
    packed = _packed(Image(header=header), _random(8))
    header.stamp.sec, header.stamp.nanosec = 5, 6
    read = deserialize_message(bytes(packed.serialized()), Image)
    assert read.header == packed.header == header
    assert read.data == _random(8)


QOS = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE)


@pytest.mark.parametrize('past_rclpy', [True, False])
@pytest.mark.parametrize('kind', [Image, PointCloud2])
def test_a_message_arrives_as_it_was(pair, kind, past_rclpy, monkeypatch):
    assert publishing._publishing() is not None
    assert kind in publishing._publishing().kinds
    if not past_rclpy:
        monkeypatch.setattr(publishing, '_publishing', lambda: None)
    sender, receiver, executor = pair
    publisher = sender.create_publisher(kind, 'large', QOS)
    came: list = []
    receiver.create_subscription(kind, 'large', came.append, QOS)
    wait_until(lambda: publisher.get_subscription_count() > 0)
    packed = _packed(kind(header=Header(frame_id='camera'), height=1), _random(1_000_003))
    publish(publisher, packed)
    wait_until(lambda: executor.spin_once(timeout_sec=0.05) or came)
    assert came[0] == packed.unpacked()
    assert came[0].data == _random(1_000_003)


def test_other_threads_run_while_a_message_is_sent(pair):
    sender, receiver, _ = pair
    publisher = sender.create_publisher(Image, 'large', QOS)
    receiver.create_subscription(Image, 'large', lambda _: None, QOS)
    wait_until(lambda: publisher.get_subscription_count() > 0)
    message = Packed(Image(), 256 << 20)
    message.data[:] = 0
    ticks: list[float] = []
    over = threading.Event()

    def tick() -> None:
        while not over.wait(0.001):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.monotonic()
    publish(publisher, message)
    end = time.monotonic()
    over.set()
    thread.join()
    # Of rclpy's own publish there are none: it keeps the lock from its first line to its last.
    middle = [t for t in ticks if start + 0.25 * (end - start) < t < end - 0.25 * (end - start)]
    assert len(middle) > 3


class NoPublisher:
    """An rcl_publisher_t that was never initialised, as rcl's own zero value is."""

    topic_name = 'large'

    def __init__(self) -> None:
        self.handle = self
        self._memory = ctypes.create_string_buffer(64)
        self.pointer = ctypes.addressof(self._memory)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_what_rcl_says_is_told():
    for _ in range(2):  # its error is forgotten: the second is not said to overwrite the first
        with pytest.raises(RuntimeError, match=r'^large cannot be published: .*invalid') as raised:
            publish(NoPublisher(), Packed(Image(), 100))
        assert 'overwritten' not in str(raised.value)


def test_a_library_that_is_not_there_is_done_without(monkeypatch):
    def missing(name):
        raise OSError(f'{name}: cannot open shared object file')

    with monkeypatch.context() as patch:
        patch.setattr(ctypes, 'CDLL', missing)
        patch.setattr(publishing, 'rcl', Rcl)  # which remembers nothing
        assert publishing._publishing.__wrapped__() is None
    monkeypatch.setattr(publishing.rclpy_implementation, 'Publisher', object)
    assert publishing._publishing.__wrapped__() is None


def test_a_middleware_of_another_layout_is_noticed(monkeypatch):
    monkeypatch.setitem(publishing._BYTES_BEHIND_DATA, PointCloud2, 0)
    assert PointCloud2 not in publishing._publishing.__wrapped__().kinds
    assert Image in publishing._publishing.__wrapped__().kinds


def test_a_publisher_that_is_gone_says_so(pair):
    sender, _, _ = pair
    publisher = sender.create_publisher(Image, 'large', QOS)
    sender.destroy_publisher(publisher)
    with pytest.raises(Exception, match='destr'):
        publish(publisher, Packed(Image(), 100))
