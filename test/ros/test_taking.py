"""Images taken at once, on a thread of their own: what rclpy reads, and nothing left behind."""

from __future__ import annotations

import array
import contextlib
import ctypes
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_pair import pair
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from rig import wait_until
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from lotus2_ros.ros import taking
from lotus2_ros.ros.rcl import Rcl
from lotus2_ros.ros.taking import Taker, read_image

__all__ = ['pair']  # a fixture

RELIABLE = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)


def _image(size: int, **fields) -> Image:
    data = array.array('B', np.random.default_rng(size).bytes(size))
    header = Header(frame_id=fields.pop('frame_id', 'camera'))
    header.stamp.sec, header.stamp.nanosec = 7, 9
    return Image(header=header, data=data, **fields)


def _serialized(message: Image) -> np.ndarray:
    return np.frombuffer(serialize_message(message), np.uint8)


def _same(taken, message: Image) -> bool:
    names = ('header', 'height', 'width', 'encoding', 'is_bigendian', 'step')
    fields = all(getattr(taken, name) == getattr(message, name) for name in names)
    return fields and bytes(taken.data) == bytes(message.data)


@given(
    frame=st.text(st.characters(exclude_characters='\0', codec='utf-8'), max_size=9),
    encoding=st.sampled_from(['', 'a', 'bb', 'rgb8', 'bgra8']),
    size=st.integers(0, 70),
    numbers=st.tuples(*[st.integers(0, 2**32 - 1)] * 3),
    stamp=st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1)),
    big=st.integers(0, 255),
)
def test_an_image_is_read_as_rclpy_reads_it(frame, encoding, size, numbers, stamp, big):
    height, width, step = numbers
    message = _image(
        size, frame_id=frame, encoding=encoding, height=height, width=width, step=step,
        is_bigendian=big,
    )  # fmt: skip
    message.header.stamp.sec, message.header.stamp.nanosec = stamp
    content = _serialized(message)
    assert _same(read_image(content), deserialize_message(content.tobytes(), Image))


def test_the_data_is_not_copied():
    content = _serialized(_image(100))
    assert np.shares_memory(read_image(content).data, content)


def test_every_message_that_ends_too_early_is_refused():
    content = _serialized(_image(11, encoding='rgb8'))
    for end in range(len(content)):
        with pytest.raises(ValueError, match='image message'):
            read_image(content[:end])


@given(st.binary(max_size=80))
def test_any_bytes_are_an_image_or_are_refused(content):
    with contextlib.suppress(ValueError):  # anything else is a defect
        data = read_image(np.frombuffer(content, np.uint8)).data
        assert len(data) < len(content)


def _connected(pair, kind, callback, *, qos=RELIABLE, failed=None, **options):
    sender, receiver, _ = pair
    publisher = sender.create_publisher(kind, 'camera/image', RELIABLE)
    taker = Taker(
        receiver, kind, 'camera/image', callback, failed=failed or pytest.fail,
        qos_profile=qos, **options,
    )  # fmt: skip
    wait_until(lambda: publisher.get_subscription_count() > 0)
    return publisher, taker


@pytest.mark.parametrize('past_rclpy', [True, False])
@pytest.mark.parametrize('qos', [RELIABLE, BEST_EFFORT])
def test_an_image_arrives_as_it_was_without_an_executor(pair, past_rclpy, qos, monkeypatch):
    assert taking._library() is not None
    if not past_rclpy:
        monkeypatch.setattr(taking, '_library', lambda: None)
    came = []

    def keep(arrived):
        message = arrived.message
        # Its data is gone after this.
        came.append((message, bytes(message.data), arrived.sent_ns, threading.current_thread()))

    publisher, taker = _connected(pair, Image, keep, qos=qos)
    with taker:
        sent = [_image(size, encoding='mono8', height=1, width=size) for size in (300_000, 7)]
        before = pair[0].get_clock().now().nanoseconds
        for number, message in enumerate(sent, start=1):
            publisher.publish(message)
            wait_until(lambda number=number: len(came) == number)
    after = pair[0].get_clock().now().nanoseconds
    for (message, data, sent_ns, thread), expected in zip(came, sent, strict=True):
        assert data == bytes(expected.data)
        assert message.header == expected.header
        assert (message.width, message.encoding) == (expected.width, 'mono8')
        assert before <= sent_ns <= after
        assert thread is not threading.current_thread()
    assert isinstance(came[0][0], taking.TakenImage) == past_rclpy


def test_other_messages_are_those_of_rclpy(pair):
    came = []
    publisher, taker = _connected(pair, CompressedImage, lambda arrived: came.append(arrived))
    with taker:
        message = CompressedImage(format='jpeg', data=array.array('B', b'abc'))
        publisher.publish(message)
        wait_until(lambda: came)
    assert came[0].message == message


def test_an_executor_waits_for_none_of_it(pair):
    executor = pair[2]
    _, taker = _connected(pair, Image, lambda _: None)
    with taker:
        subscription = taker.subscription
        assert subscription in list(pair[1].subscriptions)
        assert subscription.event_handlers
        for entity in (subscription, *subscription.event_handlers):
            assert not executor.can_execute(entity)


def test_nothing_comes_after_closing_and_nothing_is_left(pair):
    _, receiver, _ = pair
    came = []
    threads = set(threading.enumerate())
    publisher, taker = _connected(pair, Image, lambda arrived: came.append(arrived.sent_ns))
    publisher.publish(_image(50))
    wait_until(lambda: came)
    taker.close()
    taker.close()
    assert set(threading.enumerate()) == threads
    assert taker.subscription not in list(receiver.subscriptions)
    wait_until(lambda: publisher.get_subscription_count() == 0)
    publisher.publish(_image(50))
    assert len(came) == 1


def test_closing_waits_for_the_callback_under_way(pair):
    begun, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def slow(_arrived):
        begun.set()
        go_on.wait(10)
        over.set()

    publisher, taker = _connected(pair, Image, slow)
    publisher.publish(_image(50))
    assert begun.wait(10)
    closing = threading.Thread(target=taker.close)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive()
    go_on.set()
    closing.join(10)
    assert not closing.is_alive()
    assert over.is_set()


def test_a_callback_that_raises_is_told_of_and_the_next_image_comes(pair):
    failed, came = [], []

    def callback(arrived):
        if not failed:
            raise LookupError('no')
        came.append(arrived.sent_ns)

    publisher, taker = _connected(pair, Image, callback, failed=failed.append)
    with taker:
        publisher.publish(_image(50))
        wait_until(lambda: failed)
        publisher.publish(_image(50))
        wait_until(lambda: came)
    assert [str(error) for error in failed] == ['no']


def test_events_of_its_quality_of_service_come_without_an_executor(pair):
    sender, receiver, _ = pair
    sender.create_publisher(Image, 'camera/image', BEST_EFFORT)
    events = []
    callbacks = SubscriptionEventCallbacks(incompatible_qos=events.append)
    with Taker(
        receiver, Image, 'camera/image', pytest.fail, failed=pytest.fail, qos_profile=RELIABLE,
        event_callbacks=callbacks,
    ):  # fmt: skip
        wait_until(lambda: events)
    assert events[0].total_count >= 1


def test_its_thread_ends_with_the_context(pair):
    receiver = pair[1]
    taker = Taker(receiver, Image, 'image', pytest.fail, failed=pytest.fail, qos_profile=RELIABLE)
    receiver.context.try_shutdown()
    wait_until(lambda: not taker._thread.is_alive())
    taker.close()


def test_what_rcl_says_is_told(pair):
    take = taking._ImageTake(Rcl(), pair[1].create_subscription(Image, 'image', print, RELIABLE))

    class Never:
        """An rcl_subscription_t that was never initialised."""

        memory = ctypes.create_string_buffer(64)
        pointer = ctypes.addressof(memory)

    class Subscription:
        handle, topic_name = Never(), '/image'

    assert take() is None
    take._subscription = Subscription()
    for _ in range(2):  # its error is forgotten
        with pytest.raises(RuntimeError, match='nothing can be taken from /image: ') as raised:
            take()
        assert 'overwritten' not in str(raised.value)
    take.close()


def test_a_library_that_is_not_there_is_done_without(monkeypatch):
    def missing(name):
        raise OSError(f'{name}: cannot open shared object file')

    with monkeypatch.context() as patch:
        patch.setattr(ctypes, 'CDLL', missing)
        patch.setattr(taking, 'rcl', Rcl)  # which remembers nothing
        assert taking._library.__wrapped__() is None
    with monkeypatch.context() as patch:
        patch.setattr(taking.rclpy_implementation, 'Subscription', object)
        assert taking._library.__wrapped__() is None
    monkeypatch.setattr(taking, '_ENCAPSULATION', 8)
    assert taking._library.__wrapped__() is None
