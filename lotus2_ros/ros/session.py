"""All that lives from configure to cleanup: the worker, the topics, and the way between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lotus2_ros.ros.camera import CameraTracker
from lotus2_ros.ros.delivery import Delivery
from lotus2_ros.ros.intake import Intake, Wanted
from lotus2_ros.ros.monitor import Monitor
from lotus2_ros.ros.outputs import OutputSet
from lotus2_ros.ros.qos import IncompatibilityLog, input_qos, overridable
from lotus2_ros.settings import NodeSettings
from lotus2_ros.worker.client import WorkerClient, WorkerState


class Session:
    """Made by a configure transition, closed by cleanup; used on the executor's thread.

    Args:
        node: for topics, clock and logger.
        settings: gives the settings as they are now.
        worker_changed: told of the worker's states; called on the client's receiver thread.
    """

    def __init__(
        self,
        node: Node,
        settings: Callable[[], NodeSettings],
        worker_changed: Callable[[Session, WorkerState, str], None],
    ) -> None:
        self._node = node
        self._settings = settings
        now = settings()
        logger = node.get_logger()
        self.was_ready = False
        self.monitor = Monitor()
        self.incompatibilities = IncompatibilityLog(lambda text: logger.warning(text))
        self.image_topic = _image_topic(node, now.image_transport)
        self.info_topic = node.resolve_topic_name('camera_info')
        self.tracker = CameraTracker(self.info_topic)
        self.core = OutputSet(node, '', self.incompatibilities)
        self.sharp = OutputSet(node, 'sharp/', self.incompatibilities)
        self.delivery = Delivery(
            core=self.core,
            sharp=self.sharp,
            monitor=self.monitor,
            epoch=lambda: self.intake.epoch,
            state_changed=lambda state, reason: worker_changed(self, state, reason),
            log=lambda text: logger.error(text),
        )
        self.client = WorkerClient(
            now.model_settings(),
            listener=self.delivery,
            load_timeout_s=now.load_timeout_s,
            frame_timeout_s=now.frame_timeout_s,
            max_restarts=now.max_worker_restarts,
        )
        self.intake = Intake(
            self.client,
            monitor=self.monitor,
            tracker=self.tracker,
            settings=settings,
            wanted=self.wanted,
            now_ns=lambda: node.get_clock().now().nanoseconds,
            log=lambda text: logger.error(f'{self.image_topic}: {text}'),
        )
        self._image: Subscription[Any] | None = None
        self._info = self._subscribe(CameraInfo, 'camera_info', self.tracker.update)
        self.apply(now)

    def start(self) -> None:
        """Start the worker; returns at once, the model loads in the background."""
        self.client.start()

    def apply(self, settings: NodeSettings) -> None:
        """Pass on the settings that the worker follows by itself."""
        self.client.configure(
            sharpen_rate_hz=settings.sharpen_rate_hz, sharpen_steps=settings.sharpen_steps
        )

    def activate(self) -> None:
        """Take images and publish results."""
        self.intake.restart()
        self.core.set_active(True)
        self.sharp.set_active(True)
        compressed = self._settings().image_transport == 'compressed'
        if compressed:
            self._image = self._subscribe(CompressedImage, self.image_topic, self.intake.take)
        else:
            self._image = self._subscribe(Image, 'image', self.intake.take)

    def deactivate(self) -> None:
        """Take no image and publish nothing, not even what is under way."""
        if self._image is not None:
            self._node.destroy_subscription(self._image)
            self._image = None
        self.intake.restart()
        self.core.set_active(False)
        self.sharp.set_active(False)

    def time_jumped(self) -> None:
        """Forget all that belongs to the time before."""
        self.monitor.count('ROS time jumped')
        self.tracker.clear()
        self.intake.restart()

    def wanted(self) -> Wanted:
        """Topics that somebody subscribes to."""
        return Wanted(self.core.wanted(), self.sharp.wanted())

    def close(self) -> None:
        """End the worker and all topics; nothing is left, in whatever state this was."""
        self.deactivate()
        try:
            self.client.stop()
        finally:
            self._node.destroy_subscription(self._info)
            self.core.close()
            self.sharp.close()

    def _subscribe(self, message_type: Any, topic: str, callback: Any) -> Subscription[Any]:
        name = self._node.resolve_topic_name(topic)
        return self._node.create_subscription(
            message_type,
            topic,
            callback,
            input_qos(),
            event_callbacks=self.incompatibilities.subscription(name),
            qos_overriding_options=overridable(),
        )


def _image_topic(node: Node, transport: str) -> str:
    """The resolved image topic.

    `image` is resolved first and the transport appended then, so that `image:=/camera/image_raw`
    means /camera/image_raw/compressed. A rule for `image/compressed` itself holds as well.
    """
    if transport == 'raw':
        return node.resolve_topic_name('image')
    own = node.resolve_topic_name('image/compressed')
    plain = node.resolve_topic_name('image/compressed', only_expand=True)
    if own != plain:
        return own
    return node.resolve_topic_name(node.resolve_topic_name('image') + '/compressed')
