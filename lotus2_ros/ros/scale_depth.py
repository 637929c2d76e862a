"""Scale from depth images on a topic."""

from __future__ import annotations

from sensor_msgs.msg import Image

from lotus2_ros.geometry.rectification import Rectifier
from lotus2_ros.geometry.scale.depth_source import DepthSamples, depth_samples, depth_scale
from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.ros import scale_feeds
from lotus2_ros.ros.scale_feeds import Match, ReferenceFeeds
from lotus2_ros.ros.scale_history import Predicted, PredictionHistory, Taken
from lotus2_ros.ros.scale_readings import read_depth
from lotus2_ros.ros.scale_source import Last
from lotus2_ros.types import Float32Array


class DepthReference:
    """A `ScaleSource`.

    Args:
        feeds: with the depth images.
        history: the predictions.
    """

    def __init__(self, feeds: ReferenceFeeds, history: PredictionHistory) -> None:
        self._feeds = feeds
        self._history = history
        self._sampled: Last[DepthSamples | NoScale] = Last()
        self._fitted: Last[ScaleEstimate | NoScale] = Last()

    def prepare(self, coming: Taken) -> bool:
        """See `ScaleSource`."""
        sync_s = coming.frame.settings.scale_sync_s
        match = self._feeds.likely(scale_feeds.DEPTH, self._history, coming, sync_s)
        if match is None:
            return False
        if isinstance(match.entry, Predicted):  # it has come late: nothing is lacking for it
            self._of(match.message, match.entry)
            return False
        self._samples(match.message, match.entry)
        return True

    def estimate(
        self, newest: Predicted, normals: Float32Array | None
    ) -> ScaleEstimate | NoScale | None:
        """See `ScaleSource`."""
        del normals
        sync_s = newest.frame.settings.scale_sync_s
        match = self._feeds.match(scale_feeds.DEPTH, self._history, sync_s)
        if not isinstance(match, Match):
            return match
        return self._history.carried(self._of(match.message, match.entry), match.entry)

    def forget_images(self) -> None:
        """See `ScaleSource`."""
        self._sampled.forget()
        self._fitted.forget()

    def _of(self, message: Image, entry: Predicted) -> ScaleEstimate | NoScale:
        samples = self._samples(message, entry)
        return self._fitted.of((message, entry), lambda: depth_scale(entry.disparity, samples))

    def _samples(self, message: Image, image: Taken) -> DepthSamples | NoScale:
        # Registered means: seen from the same place. A driver that leaves the frame empty says so.
        if message.header.frame_id not in ('', image.frame.header.frame_id):
            return NoScale('reference in another frame')
        rectifier, size = image.frame.camera.rectifier if image.frame.camera else None, image.size
        if size is None:
            return NoScale('no prediction')
        return self._sampled.of(
            (message, rectifier, size), lambda: _samples(message, rectifier, size)
        )


def _samples(
    message: Image, rectifier: Rectifier | None, size: tuple[int, int]
) -> DepthSamples | NoScale:
    depth = read_depth(message)
    if isinstance(depth, NoScale):
        return depth
    return depth_samples(depth if rectifier is None else rectifier.apply_to_depth(depth), size)
