"""One camera: its topics, its state, its counters; the model is shared with the others."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from lotus2_ros.geometry.scale.tracker import ScaleReport
from lotus2_ros.ros.camera import CameraTracker
from lotus2_ros.ros.delivery import Delivery
from lotus2_ros.ros.frame_timings import ARRIVAL, timings_message, timings_qos
from lotus2_ros.ros.intake import Intake, Wanted
from lotus2_ros.ros.monitor import Monitor
from lotus2_ros.ros.outputs import OutputSet
from lotus2_ros.ros.products import Frame
from lotus2_ros.ros.qos import IncompatibilityLog, input_qos, overridable
from lotus2_ros.ros.scale import ScaleKeeper
from lotus2_ros.ros.scale_ahead import Ahead
from lotus2_ros.ros.scale_feeds import ReferenceFeeds
from lotus2_ros.ros.scale_history import PredictionHistory
from lotus2_ros.ros.scale_message import scale_message, scale_qos
from lotus2_ros.ros.scale_sources import ScaleSources
from lotus2_ros.ros.taking import Taker
from lotus2_ros.ros.transforms import Transforms
from lotus2_ros.settings import NodeSettings
from lotus2_ros.worker.client import WorkerClient


class Session:
    """Lives from configure to cleanup; used on the executor's thread. Images have one of their own.

    Args:
        node: for topics, clock and logger.
        settings: gives this camera's settings as they are now.
        client: the worker, which somebody else starts and stops.
        transforms: poses from TF, which somebody else closes.
        submitting: held while an image goes to the worker, by all cameras that share it.
        name: of the camera, before its topics; empty for a camera without a name.
        stream: of its images in the worker.
    """

    def __init__(
        self,
        node: Node,
        settings: Callable[[], NodeSettings],
        client: WorkerClient,
        transforms: Transforms,
        *,
        submitting: threading.Lock,
        name: str = '',
        stream: int = 0,
    ) -> None:
        self._node = node
        self._settings = settings
        self.client = client
        self.name = name
        self.prefix = f'{name}/' if name else ''
        logger = node.get_logger()
        self.monitor = Monitor()
        self.incompatibilities = IncompatibilityLog(lambda text: logger.warning(text))
        self.image_topic = _image_topic(node, settings().image_transport, self.prefix)
        self.info_topic = node.resolve_topic_name(f'{self.prefix}camera_info')
        self.tracker = CameraTracker(self.info_topic)
        self.core = OutputSet(node, self.prefix, self.incompatibilities)
        self.sharp = OutputSet(node, f'{self.prefix}sharp/', self.incompatibilities)
        self._references = ReferenceFeeds(
            lambda kind, topic, callback: self._subscribe(kind, f'{self.prefix}{topic}', callback),
            node.destroy_subscription,
        )
        self._transforms = transforms
        history = PredictionHistory()
        self.scale = ScaleKeeper(
            ScaleSources(self._references, self._transforms, history),
            history,
            publish=self._publish_scale,
            count=self.monitor.count,
            wake=lambda: self._ahead.wake(),
        )
        self._ahead = Ahead(self.scale.prepare, self._not_prepared)
        # Other threads publish with them: closing must not destroy a publisher meanwhile.
        self._report_lock = threading.Lock()
        self._scale_publisher: Publisher[Any] | None = node.create_publisher(
            DiagnosticArray, f'~/{self.prefix}scale', scale_qos()
        )
        self._timings_publisher: Publisher[Any] | None = node.create_publisher(
            DiagnosticArray, f'~/{self.prefix}timings', timings_qos()
        )
        self.delivery = Delivery(
            core=self.core,
            sharp=self.sharp,
            monitor=self.monitor,
            scale=self.scale,
            epoch=lambda: self.intake.epoch,
            timed=self._publish_timings,
            log=lambda text: logger.error(f'{name}: {text}' if name else text),
        )
        self.intake = Intake(
            client,
            submitting=submitting,
            stream=stream,
            monitor=self.monitor,
            tracker=self.tracker,
            settings=settings,
            wanted=self.wanted,
            now_ns=lambda: node.get_clock().now().nanoseconds,
            simulated=lambda: node.get_clock().ros_time_is_active,
            clock_reset=self._transforms.clear,
            scale=self.scale,
            log=lambda text: logger.error(f'{self.image_topic}: {text}'),
        )
        self._image: Taker | None = None
        self._info = self._subscribe(CameraInfo, f'{self.prefix}camera_info', self.tracker.update)

    def apply(self) -> None:
        """Subscribe to the references that the settings want now."""
        settings = self._settings()
        if settings.scale_extrinsics == 'tf':
            self._transforms.open()
        self._references.apply(settings)

    def activate(self) -> None:
        """Take images and publish results."""
        self.intake.restart()
        self.scale.reset('no reference has come yet')
        self.apply()
        self.core.set_active(True)
        self.sharp.set_active(True)
        compressed = self._settings().image_transport == 'compressed'
        topic = self.image_topic if compressed else f'{self.prefix}image'
        self._image = Taker(
            self._node,
            CompressedImage if compressed else Image,
            topic,
            lambda arrived: self.intake.take(arrived.message),
            failed=self._image_failed,
            **self._profile(topic),
        )

    def deactivate(self) -> None:
        """Take no image and publish nothing, not even what is under way."""
        if self._image is not None:
            self._image.close()
            self._image = None
        self.intake.restart()
        self.core.set_active(False)
        self.sharp.set_active(False)

    def time_jumped(self) -> None:
        """Forget all that belongs to the time before."""
        self.monitor.count('ROS time jumped')
        self.tracker.clear()
        self.intake.restart()
        self.scale.reset('ROS time jumped')

    def wanted(self) -> Wanted:
        """Topics that somebody subscribes to."""
        return Wanted(self.core.wanted(), self.sharp.wanted())

    def sharpen_refusal(self) -> str:
        """Why the next image cannot be sharpened; empty if it will be."""
        wanted = self.wanted()
        if not wanted.sharp:
            topics = f'~/{self.prefix}sharp'
            return f'nobody subscribes to a topic below {topics}: nothing would be published'
        _, sharp = self.intake.plans(wanted)
        if not sharp.deliver:
            reasons = sharp.withheld.items()
            return '; '.join(f'~/{self.prefix}sharp/{topic}: {why}' for topic, why in reasons)
        if not self.intake.request_sharpen():
            return f'the worker is {self.client.state}'
        return ''

    def close(self) -> None:
        """End all topics; nothing is left, in whatever state this was."""
        self.deactivate()
        self.delivery.close()
        self._ahead.close()
        self._node.destroy_subscription(self._info)
        self._references.close()
        with self._report_lock:
            publishers = self._scale_publisher, self._timings_publisher
            self._scale_publisher = self._timings_publisher = None
        for publisher in publishers:
            if publisher is not None:
                self._node.destroy_publisher(publisher)
        self.core.close()
        self.sharp.close()

    def _not_prepared(self, error: Exception) -> None:
        self.monitor.count('scale not prepared')
        trace = ''.join(traceback.format_exception(error))
        self._node.get_logger().error(f'the scale of an image could not be prepared: {trace}')

    def _publish_scale(self, report: ScaleReport, header: Header) -> None:
        name = f'{self._node.get_fully_qualified_name()}: {self.name or "output"} scale'
        with self._report_lock:
            if self._scale_publisher is not None:
                self._scale_publisher.publish(scale_message(report, header, name=name))

    def _publish_timings(self, frame: Frame, stages: dict[str, float], sharp: bool) -> None:
        name = f'{self._node.get_fully_qualified_name()}: {self.name or "output"} timings'
        with self._report_lock:
            publisher = self._timings_publisher
            if publisher is None or not publisher.get_subscription_count():
                return
            age = self._node.get_clock().now() - Time.from_msg(frame.header.stamp)
            arrival = age.nanoseconds / 1e9 - (time.monotonic() - frame.received)
            stages = {ARRIVAL: arrival, **stages}
            publisher.publish(timings_message(stages, frame.header, name=name, sharp=sharp))

    def _image_failed(self, error: Exception) -> None:
        trace = ''.join(traceback.format_exception(error))
        self._node.get_logger().error(f'an image could not be dealt with:\n{trace}')

    def _subscribe(self, message_type: Any, topic: str, callback: Any) -> Subscription[Any]:
        return self._node.create_subscription(message_type, topic, callback, **self._profile(topic))

    def _profile(self, topic: str) -> dict[str, Any]:
        """What every input's subscription is created with."""
        return {
            'qos_profile': input_qos(),
            'event_callbacks': self.incompatibilities.subscription(
                self._node.resolve_topic_name(topic)
            ),
            'qos_overriding_options': overridable(),
        }


def _image_topic(node: Node, transport: str, prefix: str) -> str:
    """The resolved image topic.

    `image` is resolved first and the transport appended then, so that `image:=/camera/image_raw`
    means /camera/image_raw/compressed. A rule for `image/compressed` itself holds as well.
    """
    image = f'{prefix}image'
    if transport == 'raw':
        return node.resolve_topic_name(image)
    own = node.resolve_topic_name(f'{image}/compressed')
    plain = node.resolve_topic_name(f'{image}/compressed', only_expand=True)
    if own != plain:
        return own
    return node.resolve_topic_name(node.resolve_topic_name(image) + '/compressed')
