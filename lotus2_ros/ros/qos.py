"""Quality of service of the node's topics, and what becomes of an incompatible peer.

Subscriptions are best effort with a depth of one: they match every camera driver, and an image
that waits in a queue is an old image. Publishers are reliable, because a reliable publisher
matches both kinds of subscriber. Every profile can be overridden by the standard parameters
`qos_overrides.<topic>.<publisher|subscription>.<policy>`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.qos import (
    QoSDurabilityPolicy,
    QoSHistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    QoSReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions


def input_qos() -> QoSProfile:
    """Profile of the input subscriptions. A new one each time: overrides alter it."""
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=QoSReliabilityPolicy.BEST_EFFORT,
        durability=QoSDurabilityPolicy.VOLATILE,
    )


def output_qos() -> QoSProfile:
    """Profile of the result publishers. A new one each time: overrides alter it."""
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=2,
        reliability=QoSReliabilityPolicy.RELIABLE,
        durability=QoSDurabilityPolicy.VOLATILE,
    )


def overridable() -> QoSOverridingOptions:
    """Which policies the standard `qos_overrides` parameters may change."""
    return QoSOverridingOptions(
        [
            QoSPolicyKind.HISTORY,
            QoSPolicyKind.DEPTH,
            QoSPolicyKind.RELIABILITY,
            QoSPolicyKind.DURABILITY,
        ]
    )


class IncompatibilityLog:
    """Remembers which topics met a peer with incompatible quality of service.

    rclpy drops a handler by itself where the middleware has no such events, so nothing here
    depends on them.

    Args:
        warn: called with one line of text when a topic's problem is new or another policy.
    """

    def __init__(self, warn: Callable[[str], Any]) -> None:
        self._warn = warn
        self._lock = threading.Lock()
        self._policies: dict[str, str] = {}

    def subscription(self, topic: str) -> SubscriptionEventCallbacks:
        """Event callbacks for a subscription on the resolved topic name."""
        peer = 'a publisher offers another'
        return SubscriptionEventCallbacks(
            incompatible_qos=lambda event: self._note(topic, event, peer)
        )

    def publisher(self, topic: str) -> PublisherEventCallbacks:
        """Event callbacks for a publisher on the resolved topic name.

        Nothing but this event: an executor looks at every kind of event of every publisher each
        time that it wakes up.
        """
        peer = 'a subscriber requests another'
        return PublisherEventCallbacks(
            incompatible_qos=lambda event: self._note(topic, event, peer),
            use_default_callbacks=False,
        )

    def snapshot(self) -> dict[str, str]:
        """Resolved topic name to what is incompatible about it."""
        with self._lock:
            return dict(self._policies)

    def _note(self, topic: str, event: Any, peer: str) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        text = f'{peer} {policy} than ours'
        with self._lock:
            known = self._policies.get(topic) == text
            self._policies[topic] = text
        if not known:
            self._warn(
                f'{topic}: incompatible quality of service: {text}; nothing passes between the two'
                f' (set qos_overrides.{topic}.* or change the peer)'
            )
