"""Two nodes in a domain of their own: one publishes, one listens on an executor."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from lotus2_ros.tools.domains import reserve_domain


@pytest.fixture
def pair() -> Iterator[tuple[Node, Node, SingleThreadedExecutor]]:
    """A node that publishes and one that listens, on an executor that is not spun."""
    context = Context()
    context.init(domain_id=reserve_domain())
    sender, receiver = (Node(name, context=context) for name in ('sender', 'receiver'))
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(receiver)
    yield sender, receiver, executor
    executor.shutdown()
    for node in (sender, receiver):
        node.destroy_node()
    context.try_shutdown()
