"""Poses from TF, where tf2_ros is installed; where it is not, plainly why there are none."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.time import Time

from lotus2_ros.geometry.scale.estimate import NoScale
from lotus2_ros.ros.scale_readings import pose_matrix

Float64Array = NDArray[np.float64]

NOT_INSTALLED = NoScale('tf2_ros is not installed (scale_extrinsics: tf needs it)')


class Transforms:
    """Listens to /tf and /tf_static from the first question on; never waits.

    Args:
        node: that listens.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._tf2: Any = None
        self._buffer: Any = None
        self._listener: Any = None

    def open(self) -> None:
        """Begin to listen, if tf2_ros is there; on the executor's thread."""
        if self._buffer is None and importlib.util.find_spec('tf2_ros') is not None:
            self._tf2 = importlib.import_module('tf2_ros')
            self._buffer = self._tf2.Buffer()
            self._listener = self._tf2.TransformListener(self._buffer, self._node)

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
            The transform; or 'tf2_ros is not installed ...', 'no transform', 'bad transform'.
        """
        if self._buffer is None:
            return NOT_INSTALLED
        try:
            found = self._buffer.lookup_transform_full(
                target, Time(nanoseconds=target_ns), source, Time(nanoseconds=source_ns), fixed
            ).transform
        except self._tf2.TransformException:
            return NoScale(f'no transform from {source} to {target}')
        q, p = found.rotation, found.translation
        matrix = pose_matrix((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
        return NoScale('bad transform') if matrix is None else matrix
