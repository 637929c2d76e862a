"""Scale from a lidar's clouds on a topic, and from its earlier scans."""

from __future__ import annotations

from typing import NamedTuple

from sensor_msgs.msg import PointCloud2

from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.geometry.scale.lidar_samples import LidarSamples, lidar_samples
from lotus2_ros.geometry.scale.lidar_source import lidar_scale
from lotus2_ros.geometry.scale.scan_memory import Drive, ScanMemory
from lotus2_ros.ros import scale_feeds
from lotus2_ros.ros.scale_feeds import ReferenceFeeds
from lotus2_ros.ros.scale_history import Predicted, PredictionHistory, Taken
from lotus2_ros.ros.scale_late import LateReferences
from lotus2_ros.ros.scale_lidar import (
    Cloud,
    camera_place,
    lidar_to_base,
    placed_scan,
    read_cloud,
)
from lotus2_ros.ros.scale_source import Last
from lotus2_ros.ros.transforms import LateTransform, Transforms
from lotus2_ros.settings import NodeSettings
from lotus2_ros.types import Float32Array


class _Sampled(NamedTuple):
    """What is taken of a cloud for an image.

    Attributes:
        samples: points; or why there are none.
        drive: the robot's motion; None if it is unknown or earlier scans are not wanted.
        motion: what became of the motion during the scan, for people.
        made_of: all that the samples depend on.
    """

    samples: LidarSamples | NoScale
    drive: Drive | None
    motion: str
    made_of: tuple[object, ...]


class LidarReference:
    """A `ScaleSource`.

    Args:
        feeds: with the clouds, and the odometry.
        transforms: from TF.
        history: the predictions.

    Attributes:
        motion: what became of the motion during the last scan; empty before the first.
        memory: how many earlier scans count too; empty if none can.
    """

    def __init__(
        self, feeds: ReferenceFeeds, transforms: Transforms, history: PredictionHistory
    ) -> None:
        self.motion = self.memory = ''
        self._feeds = feeds
        self._transforms = transforms
        self._history = history
        self._late = LateReferences(history)
        self._scans = ScanMemory()
        self._scanned_by: tuple[object, ...] = ()
        self._read: Last[Cloud] = Last()
        self._sampled: Last[LidarSamples | NoScale] = Last()
        self._fitted: Last[ScaleEstimate | NoScale] = Last()

    def prepare(self, coming: Taken) -> bool:
        """See `ScaleSource`."""
        settings = coming.frame.settings
        if _scanned_by(settings) != self._scanned_by:
            return True  # what was scanned before is to be forgotten first
        match = self._feeds.likely(scale_feeds.POINTS, self._history, coming, settings.scale_sync_s)
        matches = ([match] if match else []) + [*self._late.waiting]
        for message, image in matches:
            sampled = self._samples(message, image)
            if isinstance(sampled, LateTransform):
                continue
            if isinstance(image, Predicted) and isinstance(sampled, _Sampled):
                self._fit(sampled, image)  # it has come late: nothing is lacking for it
            return image is coming and not self._feeds.may_move(coming)
        return False

    def estimate(
        self, newest: Predicted, normals: Float32Array | None
    ) -> ScaleEstimate | NoScale | None:
        """See `ScaleSource`."""
        del normals
        settings = newest.frame.settings
        by = _scanned_by(settings)
        if by != self._scanned_by:
            self._scans.clear()
            self._scanned_by = by
        found = self._late.newest(
            self._feeds.match(scale_feeds.POINTS, self._history, settings.scale_sync_s),
            lambda match: self._samples(match.message, match.entry),
        )
        if not isinstance(found, tuple):
            return found
        (_, entry), sampled = found
        if isinstance(sampled, NoScale):
            return sampled
        result = self._fit(sampled, entry)
        drive = sampled.drive
        if drive is not None and isinstance(sampled.samples, LidarSamples):
            drive.keep(sampled.samples.scanned)
        self.motion = sampled.motion
        self.memory = '' if drive is None else f'scans kept: {len(drive.memory)}'
        return self._history.carried(result, entry)

    def forget_images(self) -> None:
        """See `ScaleSource`."""
        self._late.clear()
        self._scans.clear()
        for last in (self._read, self._sampled, self._fitted):
            last.forget()

    def _fit(self, sampled: _Sampled, entry: Predicted) -> ScaleEstimate | NoScale:
        return self._fitted.of(
            (*sampled.made_of, entry), lambda: lidar_scale(entry.disparity, sampled.samples)
        )

    def _samples(self, message: PointCloud2, image: Taken) -> _Sampled | NoScale:
        placed = placed_scan(
            message,
            lambda cloud: self._read.of((cloud,), lambda: read_cloud(cloud)),
            image,
            self._feeds,
            self._transforms,
        )
        if isinstance(placed, LateTransform):
            return placed
        intrinsics = image.intrinsics
        if isinstance(intrinsics, NoScale):
            return intrinsics
        if isinstance(placed, NoScale):
            return placed
        scan, drive = placed.scan, self._drive(image)
        made_of: tuple[object, ...] = (
            *(message, intrinsics, scan.to_camera.tobytes()),
            None if scan.to_camera_end is None else scan.to_camera_end.tobytes(),
            drive and (drive.pose.tobytes(), drive.time_s, drive.way, drive.memory.version),
        )
        samples = self._sampled.of(made_of, lambda: lidar_samples(scan, intrinsics, drive=drive))
        return _Sampled(samples, drive, placed.motion, made_of)

    def _drive(self, image: Taken) -> Drive | None:
        """The robot's motion, for earlier scans; None if it is unknown or they are not wanted."""
        way = image.frame.settings.lidar_memory
        if way <= 0.0:
            return None
        pose = camera_place(image, self._feeds, self._transforms)
        if isinstance(pose, NoScale):
            return None
        return Drive(self._scans, pose, image.stamp / 1e9, way)


def _scanned_by(settings: NodeSettings) -> tuple[object, ...]:
    """What earlier scans lie in the fixed frame by."""
    return (
        *(settings.lidar_memory > 0.0, settings.fixed_frame, settings.scale_extrinsics),
        lidar_to_base(settings).tobytes(),
    )
