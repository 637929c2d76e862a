"""Ending the process of a node in order when a signal comes."""

from __future__ import annotations

import signal
from types import FrameType

import rclpy
from rclpy.signals import SignalHandlerOptions

POLL_S = 0.2
"""How long an executor may wait before it looks whether a signal has come."""


class StopFlag:
    """Set by SIGINT and SIGTERM from now on.

    rclpy's own handlers invalidate the context from a thread of theirs, at once: whatever uses it
    then fails, and destroying a node meanwhile may crash.

    Attributes:
        signal: that came last; None before.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number


def init(args: list[str] | None) -> StopFlag:
    """`rclpy.init`, with a flag in the place of rclpy's signal handlers."""
    stop = StopFlag()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    return stop
