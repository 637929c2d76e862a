"""Who else is on the ROS graph: what a node sees of its peers."""

from __future__ import annotations

from rclpy.node import Node


def publishers_of(node: Node, topic: str) -> tuple[str, ...]:
    """Full name of the node behind each publisher on a topic, given by its resolved name."""
    endpoints = node.get_publishers_info_by_topic(topic)
    return tuple(sorted(_full_name(e.node_namespace, e.node_name) for e in endpoints))


def namesakes_of(node: Node) -> int:
    """How many other nodes have the full name of this one; ROS allows it, and mixes them up."""
    mine = node.get_fully_qualified_name()
    names = [_full_name(space, name) for name, space in node.get_node_names_and_namespaces()]
    return max(0, names.count(mine) - 1)


def _full_name(namespace: str, name: str) -> str:
    return f'{namespace.rstrip("/")}/{name}'
