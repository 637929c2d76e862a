"""Where the pixels of a frame that fly are looked for: on the model's GPU, or in the node."""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import TYPE_CHECKING

from lotus2_ros.ros.plan import GEOMETRIC, Plan
from lotus2_ros.settings import NodeSettings
from lotus2_ros.types import BoolArray, EdgeSearch

if TYPE_CHECKING:  # it needs ROS; this does not
    from lotus2_ros.ros.camera import Camera

MODEL, NODE = 'model', 'node'
"""Values of `edge_search` besides auto."""

SHIFT_TOLERANCE = 0.01
"""How far b / a may be from what the search took for it, in units of disparity, which spans 1.

The search needs b / a before the frame has a scale, and takes the last frame's. With an error of
this much, as far away as a tenth of the largest disparity, `cloud_edge_threshold` is 0.09 or 0.11
instead of 0.1, and a few percent of the pixels found are others.
"""

_REMEMBERED = 100


def edge_search(
    settings: NodeSettings,
    plan: Plan,
    camera: Camera | None,
    size: tuple[int, int],
    *,
    shift: float,
    device: str,
) -> EdgeSearch | None:
    """What the model's process is to look for in a frame.

    Args:
        settings: of the node.
        plan: of the core's result.
        camera: of the image, or None.
        size: height and width of the result.
        shift: b / a that is expected of the frame; NaN for none.
        device: that the model runs on, as its description says.

    Returns:
        The search; None where the node looks itself, if anybody does.
    """
    by = settings.edge_search
    wanted = by == MODEL or (by != NODE and device.startswith('cuda'))
    if not wanted or camera is None or not math.isfinite(shift):
        return None
    if settings.cloud_edge_threshold == 0.0 or GEOMETRIC.isdisjoint(plan.deliver):
        return None
    height, width = size
    if camera.valid(width, height) is not None:
        return None  # the model does not know where an undistorted image has no content
    seen = camera.intrinsics.scaled(width, height)
    return EdgeSearch(
        shift=shift,
        ratio=1.0 + settings.cloud_edge_threshold,
        view_angle=settings.edge_view_angle_deg,
        fx=seen.fx,
        fy=seen.fy,
        cx=seen.cx,
        cy=seen.cy,
    )


class EdgeSearches:
    """Counts where the last frames' pixels were looked for; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_model: deque[bool] = deque(maxlen=_REMEMBERED)

    def usable(
        self, found: BoolArray | None, search: EdgeSearch | None, shift: float
    ) -> BoolArray | None:
        """What a search found, if it is right for the scale that the frame was given; else None.

        Args:
            found: (H, W) bool, or None for nothing.
            search: that found it, or None.
            shift: b / a of the frame; NaN for none.
        """
        # NaN compares false.
        right = search is not None and abs(shift - search.shift) <= SHIFT_TOLERANCE
        usable = found if right else None
        with self._lock:
            self._by_model.append(usable is not None)
        return usable

    @property
    def notes(self) -> dict[str, str]:
        """For people; empty before the first frame."""
        with self._lock:
            number, by_model = len(self._by_model), sum(self._by_model)
        if not number:
            return {}
        images = f'for {by_model} of the last {number} images'
        return {'edge mask': f'with the model, {images}' if by_model else 'in the node'}
