"""What navigation takes from one depth image: lean clouds, a scan, labels of the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sensor_msgs.msg import Image, LaserScan, PointCloud2
from std_msgs.msg import Header

from lotus2_ros.geometry.ground_plane import GROUND, OBSTACLE, UNKNOWN, label_ground
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.limits import LimitedDepth
from lotus2_ros.geometry.mounting import Mounting
from lotus2_ros.geometry.navigation_cloud import NavigationClouds, navigation_clouds
from lotus2_ros.geometry.projection import ray_map
from lotus2_ros.geometry.scan import laser_scan
from lotus2_ros.geometry.scan_view import layout_of_view
from lotus2_ros.ros.messages import image_message, nav_cloud_message, scan_message
from lotus2_ros.settings import NodeSettings
from lotus2_ros.types import BoolArray, Float32Array, UInt8Array

_GREY = np.zeros(3, dtype=np.uint8)
_GREY[[UNKNOWN, GROUND, OBSTACLE]] = 0, 127, 255
"""Values of ~/ground; apart enough to be told from each other in a viewer."""


@dataclass(eq=False)
class Navigation:
    """Computes only what it is asked for, and packs it; None instead of a message with no content.

    Attributes:
        limited: depth with its limits applied, of the size of `intrinsics`.
        flying: (H, W) bool, pixels to leave out; None for none.
        normals: (H, W, 3) float32 or None.
        intrinsics: camera of the depth image.
        mounted: where the camera is over the ground.
        settings: the node's.
        header: of the image.
    """

    limited: LimitedDepth
    flying: BoolArray | None
    normals: Float32Array | None
    intrinsics: Intrinsics
    mounted: Mounting
    settings: NodeSettings
    header: Header

    @cached_property
    def clouds(self) -> NavigationClouds:
        """Obstacles and clearing rays."""
        settings = self.settings
        return navigation_clouds(
            self.limited.depth,
            self.intrinsics,
            leave_out=self.flying,
            ground=self.mounted.height_over_ground if settings.nav_height else None,
            max_points=settings.nav_max_points,
            voxel=settings.nav_voxel,
            # Nothing is known beyond max_range: no ray may clear there.
            clearing_range=min(settings.clearing_range, settings.max_range),
        )

    def nav_cloud(self) -> PointCloud2 | None:
        """~/points/nav."""
        points = self.clouds.obstacles
        return nav_cloud_message(points, self.header) if len(points) else None

    def clearing_cloud(self) -> PointCloud2 | None:
        """~/points/clearing."""
        points = self.clouds.clearing
        return nav_cloud_message(points, self.header) if len(points) else None

    def scan(self) -> LaserScan | None:
        """~/scan, in base_frame; None if no beam is known."""
        settings, mounted = self.settings, self.mounted
        # Beams narrower than a pixel would be empty here and there.
        pixel = 1.0 / min(self.intrinsics.fx, self.intrinsics.fy)
        layout = layout_of_view(
            self.intrinsics,
            mounted,
            increment=max(math.radians(settings.scan_increment_deg), pixel),
            range_min=settings.min_range,
            range_max=min(settings.scan_max_range, settings.max_range),
            low=settings.scan_min_height,
            high=settings.scan_max_height,
        )
        scan = laser_scan(
            self.limited.depth,
            self.intrinsics,
            mounted.optical_to_base,
            layout,
            leave_out=self.flying,
        )
        if scan.unknown == layout.beams:
            return None
        header = Header(stamp=self.header.stamp, frame_id=settings.base_frame)
        return scan_message(scan.ranges, layout, header)

    def ground(self) -> Image | None:
        """~/ground; None if nothing is known about any pixel."""
        with np.errstate(divide='ignore'):
            inverse_depth = np.reciprocal(self.limited.depth)
        if self.flying is not None:
            inverse_depth[self.flying] = np.nan
        labels: UInt8Array = label_ground(
            inverse_depth,
            ray_map(self.intrinsics),
            self.mounted.plane,
            normals=self.normals,
            tolerance=self.settings.ground_tolerance,
        ).labels
        if not labels.any():
            return None
        return image_message(_GREY[labels], 'mono8', self.header)
