"""An estimate of scale and shift from each source, for the prediction that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from lotus2_ros.geometry.ground_plane import GroundPlane
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.mounting import Mounting
from lotus2_ros.geometry.projection import ray_map
from lotus2_ros.geometry.rectification import Rectifier
from lotus2_ros.geometry.rigid import inverse
from lotus2_ros.geometry.scale.depth_source import DepthSamples, depth_samples, depth_scale
from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.geometry.scale.ground_source import ground_samples, ground_scale
from lotus2_ros.geometry.scale.lidar_samples import LidarSamples, lidar_samples
from lotus2_ros.geometry.scale.lidar_source import lidar_scale
from lotus2_ros.geometry.scale.odometry_source import odometry_samples, odometry_scale
from lotus2_ros.geometry.scale.scan_memory import Drive, ScanMemory
from lotus2_ros.geometry.tracking import track_features
from lotus2_ros.ros import scale_feeds
from lotus2_ros.ros.mounting import mounting_at
from lotus2_ros.ros.products import Frame
from lotus2_ros.ros.scale_feeds import Match, ReferenceFeeds
from lotus2_ros.ros.scale_history import Predicted, PredictionHistory
from lotus2_ros.ros.scale_late import LateReferences
from lotus2_ros.ros.scale_lidar import (
    camera_by_odometry,
    camera_place,
    lidar_to_base,
    placed_scan,
)
from lotus2_ros.ros.scale_readings import read_depth
from lotus2_ros.ros.transforms import LateTransform, Transforms
from lotus2_ros.types import Float32Array

Float64Array = NDArray[np.float64]


class _Sampled(NamedTuple):
    """What was read of a depth image last."""

    message: Image
    rectifier: Rectifier | None
    size: tuple[int, int]
    samples: DepthSamples | NoScale


@dataclass(eq=False)
class ScaleSources:
    """Asks the feeds and the geometry.

    Attributes:
        feeds: what the reference sensors said.
        transforms: poses from TF.
        history: predictions; the newest is the one to be scaled.
        lidar_motion: what became of the motion during the last scan; empty before the first.
        lidar_memory: how many earlier scans count too; empty if none can.
    """

    feeds: ReferenceFeeds
    transforms: Transforms
    history: PredictionHistory
    lidar_motion: str = ''
    lidar_memory: str = ''
    _late_clouds: LateReferences = field(init=False)
    _scans: ScanMemory = field(default_factory=ScanMemory, init=False)
    _scanned_by: tuple[object, ...] = field(default=(), init=False)
    _moved: Predicted | None = field(default=None, init=False)
    _sampled: _Sampled | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._late_clouds = LateReferences(self.history)

    def clear(self) -> None:
        """Forget all that the sensors said."""
        self.feeds.clear()
        self.forget_images()

    def forget_images(self) -> None:
        """Forget what belongs to earlier images."""
        self._late_clouds.clear()
        self._scans.clear()
        self._moved = None
        self._sampled = None

    def prepare(self, frame: Frame) -> None:
        """Read ahead of time what is likely to be the reference of a frame.

        Args:
            frame: that has no prediction yet.
        """
        if 'depth' in frame.settings.references() and frame.size is not None:
            message = self.feeds.waiting(scale_feeds.DEPTH)
            if message is not None:
                self._samples(message, frame, frame.size)

    def estimate(
        self, source: str, entry: Predicted, normals: Float32Array | None
    ) -> ScaleEstimate | NoScale | None:
        """What one source says about the newest prediction.

        Args:
            source: depth, points, ground or odometry.
            entry: the newest prediction.
            normals: of the same image, or None.

        Returns:
            The estimate; why there is none; None if no reference has come.
        """
        settings = entry.frame.settings
        if source == 'depth':
            match = self.feeds.match(scale_feeds.DEPTH, self.history, settings.scale_sync_s)
            if not isinstance(match, Match):
                return match
            return self._carried(self._depth(match.message, match.entry), match.entry)
        if source == 'points':
            return self._points(entry)
        if source == 'ground':
            return self._ground(entry, normals)
        return self._odometry(entry)

    def mounting(self, frame: Frame, stamp: int) -> Mounting | NoScale:
        """Where the camera was over the ground; see `mounting_at`."""
        return mounting_at(frame.settings, frame.header.frame_id, stamp, self.transforms)

    def _depth(self, message: Image, entry: Predicted) -> ScaleEstimate | NoScale:
        # Registered means: seen from the same place. A driver that leaves the frame empty says so.
        if message.header.frame_id not in ('', entry.frame.header.frame_id):
            return NoScale('reference in another frame')
        height, width = entry.disparity.shape
        samples = self._samples(message, entry.frame, (height, width))
        return depth_scale(entry.disparity, samples)

    def _samples(
        self, message: Image, frame: Frame, size: tuple[int, int]
    ) -> DepthSamples | NoScale:
        rectifier = frame.camera.rectifier if frame.camera else None
        kept = self._sampled
        by = message, rectifier, size
        if kept is not None and kept[:3] == by:
            return kept.samples
        depth = read_depth(message)
        if isinstance(depth, NoScale):
            samples: DepthSamples | NoScale = depth
        elif rectifier is not None:
            samples = depth_samples(rectifier.apply_to_depth(depth), size)
        else:
            samples = depth_samples(depth, size)
        self._sampled = _Sampled(*by, samples)
        return samples

    def _points(self, newest: Predicted) -> ScaleEstimate | NoScale | None:
        settings = newest.frame.settings
        found = self._late_clouds.newest(
            self.feeds.match(scale_feeds.POINTS, self.history, settings.scale_sync_s),
            lambda match: placed_scan(match.message, match.entry, self.feeds, self.transforms),
        )
        if not isinstance(found, tuple):
            return found
        (_, entry), placed = found
        intrinsics = _intrinsics(entry)
        if isinstance(intrinsics, NoScale):
            return intrinsics
        if isinstance(placed, NoScale):
            return placed
        drive = self._drive(entry)
        samples = lidar_samples(placed.scan, intrinsics, drive=drive)
        if drive is not None and isinstance(samples, LidarSamples):
            drive.keep(samples.scanned)
        result = lidar_scale(entry.disparity, samples)
        self.lidar_motion = placed.motion
        self.lidar_memory = '' if drive is None else f'scans kept: {len(drive.memory)}'
        return self._carried(result, entry)

    def _drive(self, entry: Predicted) -> Drive | None:
        """The robot's motion, for earlier scans; None if it is unknown or they are not wanted."""
        settings = entry.frame.settings
        wanted = settings.lidar_memory > 0.0
        lidar = lidar_to_base(settings).tobytes()
        by = wanted, settings.fixed_frame, settings.scale_extrinsics, lidar
        if by != self._scanned_by:
            self._scans.clear()
            self._scanned_by = by
        if not wanted:
            return None
        pose = camera_place(entry, self.feeds, self.transforms)
        if isinstance(pose, NoScale):
            return None
        return Drive(self._scans, pose, entry.stamp / 1e9, settings.lidar_memory)

    def _carried(
        self, result: ScaleEstimate | NoScale, entry: Predicted
    ) -> ScaleEstimate | NoScale:
        """What was found for an earlier prediction, for the newest one."""
        return result if isinstance(result, NoScale) else self.history.carried(result, entry)

    def _ground(
        self, entry: Predicted, normals: Float32Array | None
    ) -> ScaleEstimate | NoScale | None:
        intrinsics, plane = _intrinsics(entry), self._plane(entry)
        if isinstance(intrinsics, NoScale):
            return intrinsics
        if isinstance(plane, NoScale):
            return plane
        samples = ground_samples(ray_map(intrinsics), plane)
        return ground_scale(entry.disparity, samples, normals=normals)

    def _plane(self, entry: Predicted) -> GroundPlane | NoScale:
        settings = entry.frame.settings
        mounted = self.mounting(entry.frame, entry.stamp)
        if isinstance(mounted, NoScale):
            return mounted
        up = mounted.optical_to_base[2, :3]
        if settings.gravity_source == 'imu':
            shown = self.feeds.up()
            if isinstance(shown, NoScale):
                return shown
            # The IMU lies as base_frame does; REP-103 mounts it so.
            up = mounted.optical_to_base[:3, :3].T @ (shown / np.linalg.norm(shown))
        return GroundPlane((float(up[0]), float(up[1]), float(up[2])), mounted.height)

    def _odometry(self, newest: Predicted) -> ScaleEstimate | NoScale | None:
        entries = [newest, *self.history.earlier()]
        # Transforms may be later than predictions: the newest motion that is known counts.
        known = next(
            (
                number
                for number, (entry, before) in enumerate(pairwise(entries))
                if not isinstance(self._motion(entry, before), LateTransform)
            ),
            0,
        )
        entry = entries[known]
        if known and entry is self._moved:
            return None
        result = self._by_motion(entry, entries[known + 1 :])
        if not isinstance(result, LateTransform):
            self._moved = entry
        return self._carried(result, entry)

    def _by_motion(self, entry: Predicted, before: list[Predicted]) -> ScaleEstimate | NoScale:
        intrinsics = _intrinsics(entry)
        if isinstance(intrinsics, NoScale):
            return intrinsics
        if entry.picture is None:
            return NoScale('no picture')
        reason: NoScale | None = None
        for earlier in before:
            if earlier.picture is None or earlier.picture.shape != entry.picture.shape:
                break
            motion = self._motion(entry, earlier)
            if isinstance(motion, NoScale):
                # Images from before odometry began say nothing of the way since.
                return reason or motion
            reason = NoScale('motion too small')
            if np.linalg.norm(motion[:3, 3]) < entry.frame.settings.odometry_baseline:
                continue
            tracks = track_features(earlier.picture, entry.picture)
            return odometry_scale(entry.disparity, odometry_samples(tracks, motion, intrinsics))
        return reason or NoScale('no earlier picture')

    def _motion(self, now: Predicted, before: Predicted) -> Float64Array | NoScale:
        """(4, 4), optical frame now -> optical frame before."""
        settings = now.frame.settings
        if settings.scale_extrinsics == 'tf':
            frame_id = now.frame.header.frame_id
            return self.transforms.between(
                frame_id, before.stamp, frame_id, now.stamp, settings.fixed_frame
            )
        poses = []
        for stamp in (now.stamp, before.stamp):
            pose = camera_by_odometry(stamp, settings, self.feeds)
            if isinstance(pose, NoScale):
                return pose
            poses.append(pose)
        return np.asarray(inverse(poses[1]) @ poses[0], dtype=np.float64)


def _intrinsics(entry: Predicted) -> Intrinsics | NoScale:
    camera = entry.frame.camera
    if camera is None:
        return NoScale('no CameraInfo')
    height, width = entry.disparity.shape
    return camera.intrinsics.scaled(width, height)
