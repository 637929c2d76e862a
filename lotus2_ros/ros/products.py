"""A model result to the messages that were planned for it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from std_msgs.msg import Header

from lotus2_ros.geometry.cloud import cloud_fields, organized_cloud
from lotus2_ros.geometry.colormap import colorize_disparity, colorize_normals
from lotus2_ros.geometry.depth import (
    depth_of_inverse,
    depth_to_millimetres,
    inverse_depth,
    is_within,
)
from lotus2_ros.geometry.edges import FlyingPixels, flying_pixels
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.limits import LimitCounts, LimitedDepth, apply_limits
from lotus2_ros.geometry.mounting import Mounting
from lotus2_ros.geometry.projection import unproject
from lotus2_ros.ros import plan
from lotus2_ros.ros.camera import Camera, camera_info_message
from lotus2_ros.ros.messages import image_message, image_room, organized_cloud_message
from lotus2_ros.ros.mounting import mounting
from lotus2_ros.ros.navigation import Navigation
from lotus2_ros.ros.publishing import Packed
from lotus2_ros.settings import NodeSettings
from lotus2_ros.types import BoolArray, EdgeSearch, Float32Array, UInt8Array


@dataclass(frozen=True, eq=False)
class Frame:
    """All that is known about an image when it goes to the model; it comes back with the result.

    Attributes:
        header: of the image.
        settings: as they were then, so that one frame is all of a piece.
        core: what is delivered of the core result.
        sharp: what is delivered of a sharpened result.
        camera: of the image the model sees, or None.
        rgb: (H, W, 3) that image at the size of the results, if the cloud needs its colours; kept
            while the model works.
        epoch: results of an older epoch are not published.
        received: when the image came, on the steady clock [s].
        stream: which camera it is from.
        picture: (h, w) grey, for the scale to follow from frame to frame; None if it does not.
        search: what the model's process looks for in it; None for nothing.
        size: (height, width) of the results; None if nobody knows before they are there.
    """

    header: Header
    settings: NodeSettings
    core: plan.Plan
    sharp: plan.Plan
    camera: Camera | None
    rgb: Future[UInt8Array] | None
    epoch: int
    received: float
    stream: int = 0
    picture: UInt8Array | None = None
    search: EdgeSearch | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class FrameScale:
    """What makes metres of one frame's disparity d: 1 / z = a d + b.

    Attributes:
        a: scale, above 0 [1/m].
        b: shift [1/m].
        state: where the two come from; 'relative' if they are no metres; else the state of the
            scale that was measured.
    """

    a: float
    b: float
    state: str

    @classmethod
    def of(cls, settings: NodeSettings) -> FrameScale:
        """The scale that the parameters say."""
        return cls(settings.disparity_scale, settings.disparity_shift, settings.scale_mode)

    @property
    def is_measured(self) -> bool:
        """Whether references decide, not parameters."""
        return self.state not in ('relative', 'fixed')

    @property
    def is_missing(self) -> bool:
        """Whether metres were to be measured, but there are none now."""
        return self.is_measured and not math.isfinite(self.a)


class _Metres(NamedTuple):
    """Depth of a frame.

    Attributes:
        message: its pixels are those of `limited`.
        unlimited: (H, W) Z-depth [m]; +Inf at and behind infinity, NaN where the model saw no
            world.
        limited: within the settings' limits.
    """

    message: Packed
    unlimited: Float32Array
    limited: LimitedDepth


@dataclass(eq=False)
class Products:
    """Computes and packs what one result yields; every intermediate at most once.

    Attributes:
        frame: the image's context.
        disparity: (H, W) float32 or None.
        normals: (H, W, 3) float32 or None.
        scale: of this frame.
        mounted: where the camera was over the ground; None by the parameters.
        flying: (H, W) bool, pixels that were found to fly beside the model; None if they are still
            to be found.
        empty: topics left out because not a single value was valid.
    """

    frame: Frame
    disparity: Float32Array | None
    normals: Float32Array | None
    scale: FrameScale
    mounted: Mounting | None = None
    flying: BoolArray | None = None
    empty: list[str] = field(default_factory=list)

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, Any]]:
        """(topic, message) of each of `topics` in order; made one at a time, when asked for."""
        for topic in plan.TOPICS:
            if topic not in topics:
                continue
            message = self._make(topic)
            if message is None:
                self.empty.append(topic)
            else:
                yield topic, message

    def keep(self, topics: Collection[str]) -> None:
        """Outlive the result, whose memory is used again; then threads may share this.

        What messages of several of `topics` are made of is computed now, so that no two threads
        compute it.
        """
        if self.disparity is not None:
            self.disparity = self.disparity.copy()
        if self.normals is not None:
            self.normals = self.normals.copy()
        if plan.GEOMETRIC.intersection(topics):
            _ = self._limited, self._flying, self._navigation

    def _make(self, topic: str) -> Any | None:
        header, settings = self.frame.header, self.frame.settings
        match topic:
            case plan.DEPTH_IMAGE | plan.DEPTH_RAW if not self._any_depth:
                # Never an image without a valid pixel: a consumer would take it for "all clear".
                return None
            case plan.DEPTH_IMAGE:
                return self._metres.message
            case plan.DEPTH_RAW:
                millimetres = depth_to_millimetres(self._depth)
                return image_message(millimetres, '16UC1', header) if millimetres.any() else None
            case plan.DISPARITY:
                return image_message(_given(self.disparity), '32FC1', header)
            case plan.DEPTH_COLOR:
                color = colorize_disparity(
                    _given(self.disparity),
                    colormap=settings.colormap,
                    low=settings.color_min,
                    high=settings.color_max,
                )
                return image_message(color, 'rgb8', header)
            case plan.NORMALS_IMAGE:
                return image_message(_given(self.normals), '32FC3', header)
            case plan.NORMALS_COLOR:
                return image_message(colorize_normals(_given(self.normals)), 'rgb8', header)
            case plan.DEPTH_INFO | plan.NORMALS_INFO:
                values = self.disparity if topic == plan.DEPTH_INFO else self.normals
                return camera_info_message(self._intrinsics(_given(values)), header)
            case plan.POINTS:
                return self._cloud()
            case plan.NAV_POINTS:
                return self._navigation.nav_cloud()
            case plan.CLEARING:
                return self._navigation.clearing_cloud()
            case plan.SCAN:
                return self._navigation.scan()
            case plan.GROUND:
                return self._navigation.ground()
        raise ValueError(f'{topic} is not a result topic')

    def pixels(self) -> dict[str, tuple[int, float]]:
        """Cause to number and share of pixels, of what has been computed for the messages."""
        found = {}
        if '_metres' in vars(self):
            counts = self._limited.counts
            total = sum(counts)
            for cause, number in (
                ('nearer than min_range', counts.near),
                ('beyond max_range', counts.far),
                ('sky', counts.sky),
                ('invalid', counts.invalid),
            ):
                found[cause] = (number, number / total)
        if '_flying' in vars(self) and self._flying is not None:
            found['flying'] = (self._flying.pixels, self._flying.share)
        return found

    @cached_property
    def _metres(self) -> _Metres:
        """Z-depth; where nothing is to be taken out, by as few steps as that allows."""
        settings, disparity = self.frame.settings, _given(self.disparity)
        limits = settings.min_range, settings.max_range
        message, room = image_room(disparity.shape, '32FC1', self.frame.header)
        inverse = inverse_depth(disparity, scale=self.scale.a, shift=self.scale.b, out=room)
        camera = self.frame.camera
        valid = camera.valid(disparity.shape[1], disparity.shape[0]) if camera else None
        no_sky = settings.sky_disparity < 0.0
        if (
            valid is None
            and no_sky
            and is_within(inverse, min_range=limits[0], max_range=limits[1])
        ):
            np.reciprocal(room, out=room)
            counts = LimitCounts(room.size, near=0, far=0, sky=0, invalid=0)
            return _Metres(message, room, LimitedDepth(room, counts))
        unlimited = depth_of_inverse(inverse.copy(), min_range=0.0, max_range=np.inf)
        if valid is not None:
            # Beyond the edge of the undistorted image the model saw black, not the world.
            unlimited[~valid] = np.nan
        sky = None
        if not no_sky:
            sky = disparity <= np.float32(settings.sky_disparity)
            sky &= ~np.isnan(unlimited)
        return _Metres(message, unlimited, apply_limits(unlimited, *limits, sky, out=room))

    @property
    def _unlimited(self) -> Float32Array:
        return self._metres.unlimited

    @property
    def _limited(self) -> LimitedDepth:
        return self._metres.limited

    @property
    def _depth(self) -> Float32Array:
        return self._limited.depth

    @property
    def _any_depth(self) -> bool:
        counts = self._limited.counts
        return counts.kept + counts.far + counts.sky > 0

    @cached_property
    def _flying(self) -> FlyingPixels | None:
        settings = self.frame.settings
        if settings.cloud_edge_threshold == 0.0:
            return None
        if self.flying is not None:
            return FlyingPixels.of(self.flying.copy(), self._unlimited)
        # Before the limits: a ramp that is cut looks less steep than it is.
        return flying_pixels(
            self._unlimited,
            self.normals,
            self._intrinsics(self._unlimited),
            ratio=1.0 + settings.cloud_edge_threshold,
            view_angle=settings.edge_view_angle_deg,
        )

    @property
    def _leave_out(self) -> BoolArray | None:
        return None if self._flying is None else self._flying.mask

    @cached_property
    def _points(self) -> Float32Array:
        points = unproject(self._depth, self._intrinsics(self._depth))
        if self._leave_out is not None:
            points[self._leave_out] = np.nan
        return points

    @cached_property
    def _navigation(self) -> Navigation:
        return Navigation(
            limited=self._limited,
            flying=self._leave_out,
            normals=self.normals,
            intrinsics=self._intrinsics(self._depth),
            mounted=self.mounted or mounting(self.frame.settings),
            settings=self.frame.settings,
            header=self.frame.header,
        )

    def _cloud(self) -> Any | None:
        settings = self.frame.settings
        if not np.isfinite(self._points[..., 2]).any():
            return None
        height, width = self._points.shape[:2]
        rgb = self.frame.rgb.result() if settings.cloud_color and self.frame.rgb else None
        normals = _given(self.normals) if settings.cloud_normals else None
        fields, step = cloud_fields(rgb=rgb is not None, normals=normals is not None)
        header = self.frame.header
        if self.scale.state == 'relative':
            frame_id = header.frame_id + plan.RELATIVE_FRAME_SUFFIX
            header = Header(stamp=header.stamp, frame_id=frame_id)
        message = organized_cloud_message((height, width), fields, step, header)
        organized_cloud(self._points, rgb=rgb, normals=normals, out=message.data)
        return message

    def _intrinsics(self, values: Float32Array) -> Intrinsics:
        camera = self.frame.camera
        if camera is None:
            raise ValueError('a topic that needs intrinsics was planned without a camera')
        height, width = values.shape[:2]
        return camera.intrinsics.scaled(width, height)


def _given(values: Float32Array | None) -> Float32Array:
    if values is None:
        raise ValueError('the result lacks a task that was planned')
    return values
