"""Subscribes to all that a depth node puts out and notes when each message came; no pixels kept."""

from __future__ import annotations

import threading
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image

from lotus2_ros.errors import WorkerError
from lotus2_ros.ros.frame_timings import read_timings, timings_qos
from lotus2_ros.ros.listening import Listening
from lotus2_ros.ros.outputs import message_type
from lotus2_ros.ros.recording import Arrival, Recording
from lotus2_ros.ros.scale_readings import stamp_ns
from lotus2_ros.ros.taking import Taker

DIAGNOSTICS = '/diagnostics'
_PATIENCE_S = 20.0
"""How long the node may take to set a parameter."""


class LatencyListener(Listening):
    """Records until `close`.

    Args:
        node: resolved name of the depth node, for example /depth_node.
        camera_info: resolved name of the camera's CameraInfo: one for each image, and small.
        topics: outputs below the node's name.
        domain: ROS domain.
    """

    def __init__(
        self, node: str, camera_info: str, topics: tuple[str, ...], *, domain: int
    ) -> None:
        super().__init__('latency_listener', domain)
        self._topics = (*topics, DIAGNOSTICS)
        self._recording = self._empty()
        self._values: dict[str, str] = {}
        self._takers: list[Taker] = []
        for topic in topics:
            kind = message_type(topic.removeprefix('sharp/'))
            self._subscribe(kind, f'{node}/{topic}', topic, QoSProfile(depth=2))
        self._subscribe(DiagnosticArray, DIAGNOSTICS, DIAGNOSTICS, QoSProfile(depth=10))
        self._node.create_subscription(
            DiagnosticArray, f'{node}/timings', self._on_timings, timings_qos()
        )
        self._node.create_subscription(CameraInfo, camera_info, self._on_camera, 10)
        self._client = self._node.create_client(
            SetParametersAtomically, f'{node}/set_parameters_atomically'
        )
        self._listen()

    def restart(self) -> None:
        """Record from now on."""
        with self._lock:
            self._recording = self._empty()

    def recording(self) -> Recording:
        """A copy of what came since `restart`."""
        with self._lock:
            now = self._recording
            arrivals = {topic: list(messages) for topic, messages in now.arrivals.items()}
            return Recording(list(now.sent), arrivals, dict(now.core), dict(now.sharp))

    def values(self) -> dict[str, str]:
        """What the node last said about itself, by name."""
        with self._lock:
            return dict(self._values)

    def set_parameter(self, name: str, value: Any) -> None:
        """Set a parameter of the running node.

        Raises:
            WorkerError: it is refused, or the node does not answer.
        """
        if not self._client.wait_for_service(_PATIENCE_S):
            raise WorkerError(f'{self._client.srv_name} is not there: {name} cannot be set')
        request = SetParametersAtomically.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        answered = threading.Event()
        future = self._client.call_async(request)
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(_PATIENCE_S):
            raise WorkerError(
                f'the node did not answer within {_PATIENCE_S:g} s: {name} is not set'
            )
        result = future.result().result
        if not result.successful:
            raise WorkerError(f'the node refuses {name} = {value}: {result.reason}')

    def _empty(self) -> Recording:
        return Recording(arrivals={topic: [] for topic in self._topics})

    def close(self) -> None:
        """See `Listening`."""
        for taker in self._takers:
            taker.close()
        super().close()

    def _subscribe(self, kind: type, name: str, topic: str, qos: QoSProfile) -> None:
        if kind is Image:  # on a thread of its own, as who wants it soon would have it
            taker = Taker(
                self._node,
                kind,
                name,
                lambda arrived: self._arrived(topic, *arrived),
                failed=self._taker_failed,
                qos_profile=qos,
            )
            self._takers.append(taker)
            return

        def receive(message: Any, info: dict[str, int]) -> None:
            self._arrived(topic, message, info['source_timestamp'])

        self._node.create_subscription(kind, name, receive, qos)

    def _arrived(self, topic: str, message: Any, sent_ns: int) -> None:
        now = self._node.get_clock().now().nanoseconds
        arrival = Arrival(stamp_ns(message), sent_ns, now)
        with self._lock:
            self._recording.arrivals[topic].append(arrival)
            if topic == DIAGNOSTICS and message.status:
                self._keep_state(message)
                self._values = {v.key: v.value for v in message.status[0].values}

    def _taker_failed(self, error: Exception) -> None:
        with self._lock:
            self._failure = f'{type(error).__name__}: {error}'

    def _on_timings(self, message: DiagnosticArray) -> None:
        stages, sharp = read_timings(message)
        with self._lock:
            kept = self._recording.sharp if sharp else self._recording.core
            kept[stamp_ns(message)] = stages

    def _on_camera(self, message: CameraInfo) -> None:
        with self._lock:
            self._recording.sent.append(stamp_ns(message))
