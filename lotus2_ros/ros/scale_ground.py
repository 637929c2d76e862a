"""Scale from the ground, whose depth follows from where the camera is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lotus2_ros.geometry.ground_plane import GroundPlane
from lotus2_ros.geometry.mounting import Mounting
from lotus2_ros.geometry.projection import ray_map
from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.geometry.scale.ground_source import GroundSamples, ground_samples, ground_scale
from lotus2_ros.ros.products import Frame
from lotus2_ros.ros.scale_feeds import ReferenceFeeds
from lotus2_ros.ros.scale_history import Predicted, Taken
from lotus2_ros.ros.scale_source import Last
from lotus2_ros.types import Float32Array


class GroundReference:
    """A `ScaleSource`.

    Args:
        feeds: with gravity, if it is to come from an IMU.
        mounting: tells where the camera was over the ground at a time [ns]; or why not.
    """

    def __init__(
        self, feeds: ReferenceFeeds, mounting: Callable[[Frame, int], Mounting | NoScale]
    ) -> None:
        self._feeds = feeds
        self._mounting = mounting
        self._sampled: Last[GroundSamples | NoScale] = Last()

    def prepare(self, coming: Taken) -> bool:
        """See `ScaleSource`."""
        return not isinstance(self._samples(coming), NoScale)

    def estimate(
        self, newest: Predicted, normals: Float32Array | None
    ) -> ScaleEstimate | NoScale | None:
        """See `ScaleSource`."""
        return ground_scale(newest.disparity, self._samples(newest), normals=normals)

    def forget_images(self) -> None:
        """See `ScaleSource`."""
        self._sampled.forget()

    def _samples(self, image: Taken) -> GroundSamples | NoScale:
        intrinsics, plane = image.intrinsics, self._plane(image)
        if isinstance(intrinsics, NoScale):
            return intrinsics
        if isinstance(plane, NoScale):
            return plane
        return self._sampled.of(
            (intrinsics, plane), lambda: ground_samples(ray_map(intrinsics), plane)
        )

    def _plane(self, image: Taken) -> GroundPlane | NoScale:
        mounted = self._mounting(image.frame, image.stamp)
        if isinstance(mounted, NoScale):
            return mounted
        up = mounted.optical_to_base[2, :3]
        if image.frame.settings.gravity_source == 'imu':
            shown = self._feeds.up()
            if isinstance(shown, NoScale):
                return shown
            # The IMU lies as base_frame does; REP-103 mounts it so.
            up = mounted.optical_to_base[:3, :3].T @ (shown / np.linalg.norm(shown))
        return GroundPlane((float(up[0]), float(up[1]), float(up[2])), mounted.height)
