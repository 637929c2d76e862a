"""The sources of scale by their names, for the prediction that each estimate belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field

from lotus2_ros.geometry.mounting import Mounting
from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.ros.mounting import mounting_at
from lotus2_ros.ros.products import Frame
from lotus2_ros.ros.scale_depth import DepthReference
from lotus2_ros.ros.scale_feeds import ReferenceFeeds
from lotus2_ros.ros.scale_ground import GroundReference
from lotus2_ros.ros.scale_history import Predicted, PredictionHistory, Taken
from lotus2_ros.ros.scale_odometry import OdometryReference
from lotus2_ros.ros.scale_points import LidarReference
from lotus2_ros.ros.scale_source import ScaleSource
from lotus2_ros.ros.transforms import Transforms
from lotus2_ros.types import Float32Array


@dataclass(eq=False)
class ScaleSources:
    """Asks the feeds and the geometry.

    Attributes:
        feeds: what the reference sensors said.
        transforms: poses from TF.
        history: predictions; the newest is the one to be scaled.
        lidar: tells about the last scan.
    """

    feeds: ReferenceFeeds
    transforms: Transforms
    history: PredictionHistory
    lidar: LidarReference = field(init=False)
    _sources: dict[str, ScaleSource] = field(init=False)

    def __post_init__(self) -> None:
        self.lidar = LidarReference(self.feeds, self.transforms, self.history)
        self._sources = {
            'depth': DepthReference(self.feeds, self.history),
            'points': self.lidar,
            'ground': GroundReference(self.feeds, self.mounting),
            'odometry': OdometryReference(self.feeds, self.transforms, self.history),
        }

    def clear(self) -> None:
        """Forget all that the sensors said."""
        self.feeds.clear()
        self.forget_images()

    def forget_images(self) -> None:
        """Forget what belongs to earlier images."""
        for source in self._sources.values():
            source.forget_images()

    def prepare(self, source: str, coming: Taken) -> bool:
        """Let a source do what needs no prediction; see `ScaleSource.prepare`.

        Args:
            source: depth, points, ground or odometry.
            coming: the image that will be predicted next.
        """
        return self._sources[source].prepare(coming)

    def estimate(
        self, source: str, newest: Predicted, normals: Float32Array | None
    ) -> ScaleEstimate | NoScale | None:
        """What one source says about the newest prediction; see `ScaleSource.estimate`.

        Args:
            source: depth, points, ground or odometry.
            newest: the prediction.
            normals: of the same image, or None.
        """
        return self._sources[source].estimate(newest, normals)

    def mounting(self, frame: Frame, stamp: int) -> Mounting | NoScale:
        """Where the camera was over the ground; see `mounting_at`."""
        return mounting_at(frame.settings, frame.header.frame_id, stamp, self.transforms)
