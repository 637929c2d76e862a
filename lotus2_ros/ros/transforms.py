"""Poses from TF, where tf2_ros is installed; where it is not, plainly why there are none."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.time import Time

from lotus2_ros.geometry.scale.estimate import NoScale
from lotus2_ros.ros.scale_readings import pose_matrix, stamp_ns

Float64Array = NDArray[np.float64]

NOT_INSTALLED = NoScale('tf2_ros is not installed (scale_extrinsics: tf needs it)')

_LONGEST_NS = 2**63 - 1
"""The largest time that rclpy takes."""


@dataclass(frozen=True, slots=True)
class LateTransform(NoScale):
    """The frames are known, but not yet at the times asked for.

    Attributes:
        known_ns: the newest time at which they are [ns].
    """

    known_ns: int


class Transforms:
    """Listens to /tf and /tf_static from the first question on; never waits.

    Args:
        node: that listens.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._tf2: Any = None
        self._lacking = NOT_INSTALLED
        self._buffer: Any = None
        self._listener: Any = None

    def open(self) -> None:
        """Begin to listen, if tf2_ros is there; on the executor's thread."""
        if self._buffer is not None or importlib.util.find_spec('tf2_ros') is None:
            return
        try:
            self._tf2 = importlib.import_module('tf2_ros')
        except ImportError as error:  # of another ROS, or without what it needs itself
            self._lacking = NoScale(f'tf2_ros does not import: {error}')
            return
        self._buffer = self._tf2.Buffer()
        self._listener = self._tf2.TransformListener(self._buffer, self._node)

    def clear(self) -> None:
        """Forget all but static transforms: a clock was set back.

        tf2 refuses transforms ten seconds older than the newest one, and its buffer, which follows
        the system's clock, does not see ROS time or a camera's clock jump.
        """
        if self._buffer is not None:
            self._buffer.clear()

    def close(self) -> None:
        """End listening."""
        if self._listener is not None:
            self._listener.unregister()
        self._buffer = self._listener = None

    def between(
        self,
        target: str,
        target_ns: int,
        source: str,
        source_ns: int,
        fixed: str,
    ) -> Float64Array | NoScale:
        """(4, 4), source frame at its time -> target frame at its own, through a fixed frame.

        Returns:
            The transform; or 'tf2_ros is not installed ...', 'tf2_ros does not import ...', 'no
            transform ...', 'bad transform', or a `LateTransform`.
        """
        buffer = self._buffer  # `close` may come in between
        if buffer is None:
            return self._lacking
        missing = NoScale(f'no transform from {source} to {target}')
        # A 0 would mean "the newest" to tf2.
        if not all(0 < when <= _LONGEST_NS for when in (target_ns, source_ns)):
            return missing
        try:
            found = buffer.lookup_transform_full(
                target, Time(nanoseconds=target_ns), source, Time(nanoseconds=source_ns), fixed
            ).transform
        except self._tf2.ExtrapolationException:
            known = self._known_until(buffer, ((target, target_ns), (source, source_ns)), fixed)
            if known is None:
                return missing
            return LateTransform(f'late transform from {source} to {target}', known)
        except self._tf2.TransformException:
            return missing
        q, p = found.rotation, found.translation
        matrix = pose_matrix((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
        return NoScale('bad transform') if matrix is None else matrix

    def _known_until(
        self, buffer: Any, asked: tuple[tuple[str, int], ...], fixed: str
    ) -> int | None:
        """The newest time at which all frames are known, if it is too early for one of them."""
        known: list[int] = []
        for frame, when in asked:
            if frame == fixed:
                continue
            try:
                newest = stamp_ns(buffer.lookup_transform(fixed, frame, Time()))
            except self._tf2.TransformException:
                return None
            # Static transforms, which are known at any time, have the time 0.
            if 0 < newest < when:
                known.append(newest)
        return min(known, default=None)
