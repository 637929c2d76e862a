"""A model result to the messages that were planned for it, in the order of publication."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from std_msgs.msg import Header

from lotus2_ros.geometry.cloud import cloud_fields, nav_cloud, organized_cloud
from lotus2_ros.geometry.colormap import colorize_disparity, colorize_normals
from lotus2_ros.geometry.depth import depth_to_millimetres, disparity_to_depth
from lotus2_ros.geometry.edges import edge_mask
from lotus2_ros.geometry.projection import unproject
from lotus2_ros.ros import plan
from lotus2_ros.ros.camera import Camera, camera_info_message
from lotus2_ros.ros.messages import (
    buffer_of,
    image_message,
    nav_cloud_message,
    organized_cloud_message,
)
from lotus2_ros.settings import NodeSettings
from lotus2_ros.types import Float32Array, UInt8Array


@dataclass(frozen=True, eq=False)
class Frame:
    """All that is known about an image when it goes to the model; it comes back with the result.

    Attributes:
        header: of the image.
        settings: as they were then, so that one frame is all of a piece.
        core: what is delivered of the core result.
        sharp: what is delivered of a sharpened result.
        camera: of the image the model sees, or None.
        rgb: that image at the size of the results, if the cloud needs its colours.
        epoch: results of an older epoch are not published.
        received: when the image came, on the steady clock [s].
    """

    header: Header
    settings: NodeSettings
    core: plan.Plan
    sharp: plan.Plan
    camera: Camera | None
    rgb: UInt8Array | None
    epoch: int
    received: float


@dataclass(eq=False)
class Products:
    """Computes and packs what one result yields; every intermediate at most once.

    Attributes:
        frame: the image's context.
        disparity: (H, W) float32 or None.
        normals: (H, W, 3) float32 or None.
        empty: topics left out because not a single value was valid.
    """

    frame: Frame
    disparity: Float32Array | None
    normals: Float32Array | None
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

    def _make(self, topic: str) -> Any | None:
        header, settings = self.frame.header, self.frame.settings
        match topic:
            case plan.DEPTH_IMAGE | plan.DEPTH_RAW if not self._any_depth:
                # Never an image without a valid pixel: a consumer would take it for "all clear".
                return None
            case plan.DEPTH_IMAGE:
                return image_message(self._depth, '32FC1', header)
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
                return self._nav_cloud()
        raise ValueError(f'{topic} is not a result topic')

    @cached_property
    def _depth(self) -> Float32Array:
        settings = self.frame.settings
        depth = disparity_to_depth(
            _given(self.disparity),
            scale=settings.disparity_scale,
            shift=settings.disparity_shift,
            min_range=settings.min_range,
            max_range=settings.max_range,
        )
        camera = self.frame.camera
        valid = camera.valid(depth.shape[1], depth.shape[0]) if camera else None
        if valid is not None:
            # Beyond the edge of the undistorted image the model saw black, not the world.
            depth[~valid] = np.nan
        return depth

    @cached_property
    def _any_depth(self) -> bool:
        return not bool(np.isnan(self._depth).all())

    @cached_property
    def _points(self) -> Float32Array:
        depth = self._depth.copy()
        depth[edge_mask(depth, self.frame.settings.cloud_edge_threshold)] = np.nan
        return unproject(depth, self._intrinsics(depth))

    def _cloud(self) -> Any | None:
        settings = self.frame.settings
        if not np.isfinite(self._points[..., 2]).any():
            return None
        height, width = self._points.shape[:2]
        rgb = self.frame.rgb if settings.cloud_color else None
        normals = _given(self.normals) if settings.cloud_normals else None
        _, step = cloud_fields(rgb=rgb is not None, normals=normals is not None)
        data, view = buffer_of(height * width * step)
        _, fields, step = organized_cloud(self._points, rgb=rgb, normals=normals, out=view)
        header = self.frame.header
        if settings.scale_mode == 'relative':
            frame_id = header.frame_id + plan.RELATIVE_FRAME_SUFFIX
            header = Header(stamp=header.stamp, frame_id=frame_id)
        return organized_cloud_message(data, fields, step, (height, width), header)

    def _nav_cloud(self) -> Any | None:
        points = nav_cloud(self._points, self.frame.settings.nav_stride)
        return nav_cloud_message(points, self.frame.header) if len(points) else None

    def _intrinsics(self, values: Float32Array) -> Any:
        camera = self.frame.camera
        if camera is None:
            raise ValueError('a topic that needs intrinsics was planned without a camera')
        height, width = values.shape[:2]
        return camera.intrinsics.scaled(width, height)


def _given(values: Float32Array | None) -> Float32Array:
    if values is None:
        raise ValueError('the result lacks a task that was planned')
    return values
