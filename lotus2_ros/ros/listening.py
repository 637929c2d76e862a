"""A node of a command line program that listens in a ROS context and a thread of its own."""

from __future__ import annotations

import threading

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from lotus2_ros.freed_memory import keep_freed_memory
from lotus2_ros.ros.health import State
from lotus2_ros.ros.signals import POLL_S
from lotus2_ros.ros.turns import take_turns_often


class Listening:
    """The thread begins with `_listen`, once everything is subscribed; `close` ends it.

    The program then keeps freed memory: unpacking a message of megabytes takes half the time. And
    its threads take turns often, so that none is late to say when a message came.

    Args:
        name: of the node.
        domain: ROS domain.
    """

    def __init__(self, name: str, domain: int) -> None:
        keep_freed_memory()
        take_turns_often()
        self._lock = threading.Lock()
        self._state = ''
        self._failure = ''
        self._closing = threading.Event()
        self._context = Context()
        self._context.init(domain_id=domain)
        self._node = Node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name=name)

    @property
    def state(self) -> str:
        """What the depth node last said about itself on /diagnostics; empty before."""
        with self._lock:
            return self._state

    @property
    def fault(self) -> str:
        """Why the depth node has given up, in its words; empty if it has not."""
        state = self.state
        return state if state.startswith(f'{State.FAULT.value}:') else ''

    @property
    def failure(self) -> str:
        """Why listening has ended before `close`; empty if it has not."""
        with self._lock:
            return self._failure

    def close(self) -> None:
        """End the thread and the node."""
        # In this order: whatever still uses a context that was shut down fails, or crashes.
        self._closing.set()
        self._executor.wake()
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _listen(self) -> None:
        self._thread.start()

    def _keep_state(self, message: DiagnosticArray) -> None:
        """Take what the node says about itself; with the lock held."""
        if message.status:
            self._state = message.status[0].message

    def _spin(self) -> None:
        try:
            while not self._closing.is_set():
                self._executor.spin_once(timeout_sec=POLL_S)
        except Exception as error:  # reported to whoever waits for messages that will not come
            with self._lock:
                self._failure = f'{type(error).__name__}: {error}'
