"""The publishers of one set of result topics: `~/` for the core, `~/sharp/` for the sharpened."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2

from lotus2_ros.ros import plan
from lotus2_ros.ros.publishing import publish
from lotus2_ros.ros.qos import IncompatibilityLog, output_qos, overridable

_TYPES: dict[str, type] = {
    plan.DEPTH_INFO: CameraInfo,
    plan.NORMALS_INFO: CameraInfo,
    plan.POINTS: PointCloud2,
    plan.NAV_POINTS: PointCloud2,
    plan.CLEARING: PointCloud2,
    plan.SCAN: LaserScan,
}


def message_type(topic: str) -> type:
    """The type of a result topic, given without `~/`."""
    return _TYPES.get(topic, Image)


class OutputSet:
    """Owns all publishers of one set; publishes only what somebody subscribes to.

    Several threads publish, each its own topics; opening, asking and closing happen on the
    executor's. A lock for each topic keeps its publisher from being destroyed while it publishes,
    and no topic waits for another one.

    Args:
        node: creates and destroys the publishers.
        prefix: '' or 'sharp/'.
        incompatibilities: told of subscribers that cannot match.
    """

    def __init__(self, node: Node, prefix: str, incompatibilities: IncompatibilityLog) -> None:
        self._node = node
        self._active = False
        self._locks = {topic: threading.Lock() for topic in plan.TOPICS}
        self._publishers: dict[str, Publisher[Any]] = {}
        for topic in plan.TOPICS:
            name = f'~/{prefix}{topic}'
            self._publishers[topic] = node.create_publisher(
                message_type(topic),
                name,
                output_qos(),
                event_callbacks=incompatibilities.publisher(node.resolve_topic_name(name)),
                qos_overriding_options=overridable(),
            )

    def wanted(self) -> frozenset[str]:
        """Topics that somebody subscribes to."""
        return frozenset(t for t, p in self._publishers.items() if p.get_subscription_count() > 0)

    def set_active(self, active: bool) -> None:
        """Allow or stop publishing; after stopping, nothing is published any more."""
        self._active = active
        for lock in self._locks.values():
            with lock:  # what is being published now is out when this returns
                pass

    def publish(self, messages: Iterable[tuple[str, Any]]) -> tuple[int, float]:
        """Publish messages as they are made.

        Returns:
            How many went out, and the seconds spent publishing (not making) them.
        """
        sent, seconds = 0, 0.0
        for topic, message in messages:  # made here, outside the lock
            with self._locks[topic]:
                if not self._active:
                    break
                publisher = self._publishers[topic]
                if publisher.get_subscription_count() > 0:
                    start = time.monotonic()
                    publish(publisher, message)
                    seconds += time.monotonic() - start
                    sent += 1
        return sent, seconds

    def close(self) -> None:
        """Destroy all publishers; `wanted` is empty and `publish` does nothing from now on."""
        self.set_active(False)
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers = {}
