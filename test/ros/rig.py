"""A running node, a camera and a listener around it, over real DDS on this machine only."""

from __future__ import annotations

import array
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from lotus2_ros.ros.node import DepthNode
from lotus2_ros.ros.outputs import message_type
from lotus2_ros.ros.plan import TOPICS
from lotus2_ros.tools.domains import reserve_domain

FRAME = 'camera_optical_frame'
WIDTH, HEIGHT = 64, 48


def wait_until(
    condition: Callable[[], Any], timeout: float = 20.0, what: str | Callable[[], str] = ''
) -> Any:
    """The first true value of a condition; fails loudly after the timeout, naming `what`."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    text = what() if callable(what) else what
    raise AssertionError(f'not within {timeout} s: {text or condition}')


def picture(width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: smooth enough to survive JPEG, never the same for two seeds."""
    y, x = np.mgrid[:height, :width]
    r = 128 + 90 * np.sin(x / 9 + seed)
    g = 128 + 90 * np.cos(y / 7 - seed)
    b = 255 * (x + y) / (width + height)
    return np.stack([r, g, b], axis=2).astype(np.uint8)


def image_of(rgb: np.ndarray, encoding: str = 'rgb8') -> Image:
    height, width = rgb.shape[:2]
    data = np.ascontiguousarray(rgb)
    return Image(
        header=Header(frame_id=FRAME),
        height=height,
        width=width,
        encoding=encoding,
        step=data.nbytes // height,
        data=array.array('B', data.tobytes()),
    )


def info_of(width: int = WIDTH, height: int = HEIGHT, d: Iterable[float] = (0.0,) * 5):
    k = [0.9 * width, 0.0, (width - 1) / 2, 0.0, 0.9 * width, (height - 1) / 2, 0.0, 0.0, 1.0]
    return CameraInfo(
        header=Header(frame_id=FRAME),
        width=width,
        height=height,
        distortion_model='plumb_bob',
        d=list(d),
        k=k,
        r=np.eye(3).ravel(),
        p=[*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0],
    )


class Spinner:
    """Spins one node in a thread of its own; what a callback raises is kept and shown."""

    def __init__(self, node: Node, context: Context) -> None:
        self.errors: list[Exception] = []
        self._context = context
        self._stop = threading.Event()
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set() and self._context.ok():
            try:
                self._executor.spin_once(timeout_sec=0.05)
            except Exception as error:
                self.errors.append(error)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10.0)
        assert not self._thread.is_alive()
        self._executor.shutdown()


class Rig:
    """One `DepthNode` in this process and a peer that is its camera, its consumer and its user."""

    def __init__(self, settings: dict[str, Any], *, remap: Iterable[str] = ()) -> None:
        self.context = Context()
        self.context.init(domain_id=reserve_domain())
        # The camera shows the same picture as often as a test wants it.
        overrides = [
            Parameter(name, value=value)
            for name, value in {'frozen_timeout_s': 0.0, **settings}.items()
        ]
        rules = [item for rule in remap for item in ('-r', rule)]
        self.peer = Node('peer', context=self.context)
        self.node = DepthNode(
            context=self.context,
            parameter_overrides=overrides,
            cli_args=['--ros-args', *rules] if rules else None,
        )
        self.received: dict[str, list[Any]] = {}
        self.statuses: list[Any] = []
        self._lock = threading.Lock()
        self._subscriptions: dict[str, Any] = {}
        self._publishers: dict[str, Any] = {}
        self._stamp = 0
        self._counts_before: dict[str, int] = {}
        self.peer.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self._clients = {
            'set': self.peer.create_client(
                SetParametersAtomically, '/depth_node/set_parameters_atomically'
            ),
            'sharpen': self.peer.create_client(Trigger, '/depth_node/sharpen'),
        }
        self._spinners = [Spinner(self.peer, self.context), Spinner(self.node, self.context)]

    def close(self) -> None:
        for spinner in self._spinners:
            spinner.close()
        self.node.destroy_node()
        self.peer.destroy_node()
        self.context.try_shutdown()

    @property
    def node_errors(self) -> list[Exception]:
        return self._spinners[1].errors

    # The camera

    def publisher(self, topic: str, message_type: Any) -> Any:
        if topic not in self._publishers:
            publisher = self.peer.create_publisher(message_type, topic, 5)
            self._publishers[topic] = publisher
            wait_until(publisher.get_subscription_count, what=f'the node subscribes to {topic}')
        return self._publishers[topic]

    def stamp(self) -> Any:
        """The clock's time now; never the same twice."""
        now = max(self.peer.get_clock().now().nanoseconds, self._stamp + 1)
        self._stamp = now
        return _time(now)

    def send_info(self, info: CameraInfo, camera: str = '') -> None:
        [session] = [s for s in self.node.sessions if s.name == camera]
        tracker = session.tracker
        before = tracker._info
        self.publisher(f'/{session.prefix}camera_info', CameraInfo).publish(info)
        wait_until(lambda: tracker._info is not before, what='the CameraInfo arrives')

    def send(self, message: Any, topic: str = '/image', stamp: Any = None) -> Any:
        """Publish an image, stamped now unless told otherwise; returns the stamp."""
        publisher = self.publisher(topic, type(message))
        message.header.stamp = stamp if stamp is not None else self.stamp()
        publisher.publish(message)
        return message.header.stamp

    # The consumer

    def listen(self, *topics: str, qos: QoSProfile | int = 5) -> None:
        """Subscribe to exactly these result topics and wait until the node knows."""
        for topic in [name for name in self._subscriptions if name not in topics]:
            self.peer.destroy_subscription(self._subscriptions.pop(topic))
        for topic in topics:
            if topic not in self._subscriptions:
                self._subscriptions[topic] = self.peer.create_subscription(
                    _type_of(topic),
                    f'/depth_node/{topic}',
                    self._keeper(topic),
                    qos,
                )
        wait_until(lambda: self.seen_by_node() == set(topics), what=f'the node sees {topics}')
        with self._lock:
            self.received.clear()

    def seen_by_node(self) -> set[str]:
        seen = set()
        for session in self.node.sessions:
            wanted = session.wanted()
            topics = set(wanted.core) | {f'sharp/{topic}' for topic in wanted.sharp}
            seen |= {session.prefix + topic for topic in topics}
        return seen

    def of(self, topic: str) -> list[Any]:
        with self._lock:
            return list(self.received.get(topic, ()))

    def get(self, topic: str, stamp: Any, timeout: float = 20.0) -> Any:
        """The message on a topic that carries this stamp."""
        found = wait_until(
            lambda: [m for m in self.of(topic) if m.header.stamp == stamp],
            timeout,
            lambda: f'{topic} of this image; counts: {self.counts()}',
        )
        assert len(found) == 1
        return found[0]

    def frame(self, rgb: np.ndarray | None = None, *topics: str, encoding: str = 'rgb8') -> Any:
        """Send an image and get its message on each topic; one topic gives the message itself."""
        stamp = self.send(image_of(picture() if rgb is None else rgb, encoding))
        wanted = topics or tuple(self._subscriptions)
        messages = {topic: self.get(topic, stamp) for topic in wanted}
        return messages[wanted[0]] if len(wanted) == 1 else messages

    # The user

    def wait_ready(self, timeout: float = 180.0) -> None:
        def ready() -> bool:
            assert not self.node.fault, self.node.fault
            session = self.node.session
            return session is not None and session.client.state == 'ready'

        wait_until(ready, timeout, 'the model is ready')
        wait_until(lambda: self.node.lifecycle == 'active', what='the node is active')

    def call(self, client: str, request: Any, timeout: float = 10.0) -> Any:
        service = self._clients[client]
        assert service.wait_for_service(10.0)
        future = service.call_async(request)
        wait_until(future.done, timeout, f'an answer from {service.srv_name}')
        return future.result()

    def set(self, **values: Any) -> tuple[bool, str]:
        """Set parameters atomically over the node's service; success and reason."""
        messages: list[ParameterMessage] = [
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()
        ]
        request = SetParametersAtomically.Request(parameters=messages)
        result = self.call('set', request).result
        return result.successful, result.reason

    def sharpen(self) -> Any:
        return self.call('sharpen', Trigger.Request())

    def transition(self, name: str, timeout: float = 20.0) -> Any:
        """Run a transition on the node's own thread, as its service does; returns the result."""
        results: list[Any] = []
        trigger = getattr(self.node, f'trigger_{name}')
        self.node.post(lambda: results.append(trigger()))
        return wait_until(lambda: results, timeout, f'transition {name}')[0]

    def counts(self) -> dict[str, int]:
        """What was counted since `forget_counts`."""
        session = self.node.session
        counts = session.monitor.snapshot().counts if session else {}
        since = {cause: n - self._counts_before.get(cause, 0) for cause, n in counts.items()}
        return {cause: n for cause, n in since.items() if n}

    def forget_counts(self) -> None:
        self._counts_before = {}
        self._counts_before = self.counts()

    def status(self, timeout: float = 10.0) -> tuple[str, bytes, dict[str, str]]:
        """Message, level and values of diagnostics that know all that has happened before.

        Not the next ones, which may have been on their way; and a frame is counted just after its
        messages are out.
        """
        count = len(self.statuses) + 1
        wait_until(lambda: len(self.statuses) > count, timeout, 'diagnostics')
        status = self.statuses[-1]
        return status.message, status.level, {v.key: v.value for v in status.values}

    def wait_state(self, state: str, timeout: float = 30.0) -> dict[str, str]:
        """Values of the first diagnostics from now on that show this state."""
        count = len(self.statuses)

        def shown() -> list[Any]:
            return [s for s in self.statuses[count:] if s.message.startswith(f'{state}:')]

        last = wait_until(
            shown, timeout, lambda: f'{state}; last: {[s.message for s in self.statuses[-3:]]}'
        )[-1]
        return {v.key: v.value for v in last.values} | {'message': last.message}

    def _keeper(self, topic: str) -> Callable[[Any], None]:
        def keep(message: Any) -> None:
            with self._lock:
                self.received.setdefault(topic, []).append(message)

        return keep

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.statuses.extend(message.status)


def _type_of(topic: str) -> type:
    """The type of a result topic, whatever stands before it."""
    return message_type(max((t for t in TOPICS if topic.endswith(t)), key=len))


def _time(nanoseconds: int) -> Any:
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def pixels(message: Image) -> np.ndarray:
    """The values of a result image."""
    dtype, channels = {
        '32FC1': ('<f4', 1), '32FC3': ('<f4', 3), '16UC1': ('<u2', 1), 'rgb8': ('u1', 3),
        'mono8': ('u1', 1),
    }[message.encoding]  # fmt: skip
    values = np.frombuffer(message.data, dtype).reshape(message.height, message.width, channels)
    return values[..., 0] if channels == 1 else values


def points(message: PointCloud2) -> np.ndarray:
    """(H, W, fields) float32 of a cloud."""
    values = np.frombuffer(message.data, '<f4')
    return values.reshape(message.height, message.width, message.point_step // 4)
