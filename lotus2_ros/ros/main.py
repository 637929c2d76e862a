"""The `depth_node` command: one node, one executor, signals, an exit code."""

from __future__ import annotations

import gc
import sys
import traceback

import rclpy
from rclpy.executors import SingleThreadedExecutor

from lotus2_ros.errors import Lotus2Error
from lotus2_ros.freed_memory import keep_freed_memory
from lotus2_ros.ros.node import DepthNode
from lotus2_ros.ros.signals import POLL_S, StopFlag, init
from lotus2_ros.ros.turns import take_turns_often


def main(args: list[str] | None = None) -> int:
    """Run the node until a signal comes or it gives up.

    Returns:
        0 after a signal, 1 after a fault or for parameters that cannot be used.
    """
    keep_freed_memory()
    take_turns_often()
    stop = init(args)
    node: DepthNode | None = None
    try:
        try:
            node = DepthNode()
        except Lotus2Error as error:
            rclpy.logging.get_logger('depth_node').fatal(str(error))
            return 1
        return _spin(node, stop)
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()


def _spin(node: DepthNode, stop: StopFlag) -> int:
    # Not rclpy's EventsExecutor, which wakes up in less time: it may crash where publishers with
    # event callbacks are destroyed (ros2/rclpy #1644).
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    # What is there now stays. Looking through its 50000 objects for garbage, in the middle of a
    # frame, takes 25 ms of a slow core.
    gc.freeze()
    try:
        while stop.signal is None and node.exit_code is None and rclpy.ok():
            try:
                executor.spin_once(timeout_sec=POLL_S)
            except Exception:
                # One message or request that breaks a callback must not end the node.
                node.get_logger().error(f'a callback failed:\n{traceback.format_exc()}')
        if node.exit_code is not None:
            node.get_logger().fatal(f'giving up: {node.fault}')
        if node.lifecycle != 'finalized':
            node.trigger_shutdown()
    finally:
        executor.shutdown()
    return node.exit_code or 0


if __name__ == '__main__':
    sys.exit(main())
