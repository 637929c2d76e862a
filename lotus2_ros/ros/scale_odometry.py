"""Scale from the robot's motion between two images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.rigid import inverse
from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.geometry.scale.odometry_source import (
    OdometrySamples,
    odometry_samples,
    odometry_scale,
)
from lotus2_ros.geometry.tracking import Tracks, track_features
from lotus2_ros.ros.scale_feeds import Asked, ReferenceFeeds
from lotus2_ros.ros.scale_history import Predicted, PredictionHistory, Taken
from lotus2_ros.ros.scale_lidar import camera_by_odometry
from lotus2_ros.ros.scale_source import Last
from lotus2_ros.ros.transforms import LateTransform, Transforms
from lotus2_ros.types import Float32Array, UInt8Array

Float64Array = NDArray[np.float64]


_TOO_SMALL = NoScale('motion too small')
_NO_PICTURE, _NO_EARLIER = NoScale('no picture'), NoScale('no earlier picture')
_LASTING = (_TOO_SMALL, _NO_PICTURE, _NO_EARLIER)
"""What no message that comes later changes for an image."""


class _Way(NamedTuple):
    """An image, an earlier one, and the motion in between.

    Attributes:
        now: the image.
        before: the one that points are followed from.
        pictures: grey, of before and of now.
        motion: (4, 4), optical frame now -> optical frame before.
        intrinsics: of both.
    """

    now: Taken
    before: Taken
    pictures: tuple[UInt8Array, UInt8Array]
    motion: Float64Array
    intrinsics: Intrinsics

    @property
    def made_of(self) -> tuple[object, ...]:
        """All that samples depend on."""
        return self.now.frame, self.before.frame, self.motion.tobytes(), self.intrinsics


class OdometryReference:
    """A `ScaleSource`.

    Args:
        feeds: with the odometry.
        transforms: from TF.
        history: the predictions.
    """

    def __init__(
        self, feeds: ReferenceFeeds, transforms: Transforms, history: PredictionHistory
    ) -> None:
        self._feeds = feeds
        self._transforms = transforms
        self._history = history
        self._used: Predicted | None = None
        self._tracked: Last[Tracks] = Last()
        self._sampled: Last[OdometrySamples | NoScale] = Last()
        self._fitted: Last[ScaleEstimate | NoScale] = Last()

    def prepare(self, coming: Taken) -> bool:
        """See `ScaleSource`."""
        found = self._known([coming, *reversed(self._history.with_coming(coming)[:-1])])
        if found is None:
            return False
        image, before = found
        way = self._way(image, before)
        if isinstance(way, NoScale):
            return way in _LASTING
        if isinstance(image, Predicted):  # transforms are late: nothing is lacking for it
            self._fit(way, image)
            return False
        self._samples(way)
        return not self._feeds.may_move(image)

    def estimate(
        self, newest: Predicted, normals: Float32Array | None
    ) -> ScaleEstimate | NoScale | None:
        """See `ScaleSource`."""
        del normals
        found = self._known([newest, *self._history.earlier()])
        if found is None:
            return None
        image, before = found
        way = self._way(image, before)
        if not isinstance(way, LateTransform):
            self._used = image
        if isinstance(way, NoScale):
            return way
        return self._history.carried(self._fit(way, image), image)

    def forget_images(self) -> None:
        """See `ScaleSource`."""
        self._used = None
        for last in (self._tracked, self._sampled, self._fitted):
            last.forget()

    def _fit(self, way: _Way, entry: Predicted) -> ScaleEstimate | NoScale:
        samples = self._samples(way)
        return self._fitted.of(
            (*way.made_of, entry), lambda: odometry_scale(entry.disparity, samples)
        )

    def _samples(self, way: _Way) -> OdometrySamples | NoScale:
        def sampled() -> OdometrySamples | NoScale:
            # Followed once, however often what is known of the motion changes.
            tracks = self._tracked.of(way.made_of[:2], lambda: track_features(*way.pictures))
            return odometry_samples(tracks, way.motion, way.intrinsics)

        return self._sampled.of(way.made_of, sampled)

    def _known(self, images: Sequence[Asked]) -> tuple[Asked, Sequence[Asked]] | None:
        """The newest image whose motion is known, and those before it; None if it was used.

        Transforms may be later than predictions.

        Args:
            images: the newest first.
        """
        known = next(
            (
                number
                for number, (image, before) in enumerate(pairwise(images))
                if not isinstance(self._motion(image, before), LateTransform)
            ),
            0,
        )
        if known and images[known] is self._used:
            return None
        return images[known], images[known + 1 :]

    def _way(self, now: Taken, earlier: Sequence[Taken]) -> _Way | NoScale:
        """The way since the latest of the earlier images that is far enough away."""
        intrinsics, picture = now.intrinsics, now.frame.picture
        if isinstance(intrinsics, NoScale):
            return intrinsics
        if picture is None:
            return _NO_PICTURE
        reason: NoScale | None = None
        for before in earlier:
            former = before.frame.picture
            if former is None or former.shape != picture.shape:
                break
            motion = self._motion(now, before)
            if isinstance(motion, NoScale):
                # Images from before odometry began say nothing of the way since.
                return reason or motion
            reason = _TOO_SMALL
            if np.linalg.norm(motion[:3, 3]) >= now.frame.settings.odometry_baseline:
                return _Way(now, before, (former, picture), motion, intrinsics)
        return reason or _NO_EARLIER

    def _motion(self, now: Taken, before: Taken) -> Float64Array | NoScale:
        """(4, 4), optical frame now -> optical frame before."""
        settings = now.frame.settings
        if settings.scale_extrinsics == 'tf':
            frame_id = now.frame.header.frame_id
            return self._transforms.between(
                frame_id, before.stamp, frame_id, now.stamp, settings.fixed_frame
            )
        poses = []
        for stamp in (now.stamp, before.stamp):
            pose = camera_by_odometry(stamp, settings, self._feeds)
            if isinstance(pose, NoScale):
                return pose
            poses.append(pose)
        return np.asarray(inverse(poses[1]) @ poses[0], dtype=np.float64)
