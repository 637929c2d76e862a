"""What is delivered for a frame, what is withheld and why, and which tasks that takes. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from lotus2_ros.settings import NodeSettings
from lotus2_ros.types import DEPTH, NORMALS, TASKS

DEPTH_IMAGE = 'depth/image'
DEPTH_RAW = 'depth/image_raw'
DISPARITY = 'depth/disparity'
DEPTH_INFO = 'depth/camera_info'
DEPTH_COLOR = 'depth/color'
NORMALS_IMAGE = 'normals/image'
NORMALS_INFO = 'normals/camera_info'
NORMALS_COLOR = 'normals/color'
POINTS = 'points'
NAV_POINTS = 'points/nav'
CLEARING = 'points/clearing'
SCAN = 'scan'
GROUND = 'ground'

TOPICS = (
    DEPTH_IMAGE,
    DEPTH_INFO,
    NAV_POINTS,
    CLEARING,
    SCAN,
    DISPARITY,
    DEPTH_RAW,
    POINTS,
    GROUND,
    DEPTH_COLOR,
    NORMALS_IMAGE,
    NORMALS_INFO,
    NORMALS_COLOR,
)
"""Every result topic below `~/` and `~/sharp/`, in the order in which a thread publishes them."""

FIRST = (DEPTH_IMAGE, DEPTH_INFO)
"""Topics of every frame, published as soon as its result is there."""

LANES = {
    'navigation': (NAV_POINTS, CLEARING, SCAN),
    'values': (DISPARITY, DEPTH_RAW, POINTS, NORMALS_IMAGE, NORMALS_INFO),
    'pictures': (GROUND, DEPTH_COLOR, NORMALS_COLOR),
}
"""All others, by the thread that makes them, beside each other. Where one is slower than frames
come, it leaves frames out, and none of the others waits for it."""

MAY_BE_SILENT = (CLEARING,)
"""Topics without a message, and rightly so, for images on which nothing is beyond range."""

_METRIC = (DEPTH_IMAGE, DEPTH_RAW, NAV_POINTS, CLEARING, SCAN, GROUND)
_NEEDS_CAMERA = (DEPTH_INFO, NORMALS_INFO, POINTS, NAV_POINTS, CLEARING, SCAN, GROUND)

GEOMETRIC = frozenset({POINTS, NAV_POINTS, CLEARING, SCAN, GROUND})
"""Topics of what stands where: made of depth, without what flies between surfaces."""

NEEDS_SCALE = (*_METRIC, POINTS)
"""Topics without a message while a scale that is to be measured is not known."""

RELATIVE_FRAME_SUFFIX = '_relative'
"""Appended to the frame of a cloud that is not metric, so that nobody transforms it by accident."""


@dataclass(frozen=True)
class Plan:
    """What becomes of the wanted topics.

    Attributes:
        deliver: topics that will be published.
        withheld: wanted topic to the reason why it will not be published.
        tasks: what the model has to compute for that, in the order of `TASKS`.
    """

    deliver: frozenset[str]
    withheld: dict[str, str]
    tasks: tuple[str, ...]


def make_plan(wanted: Collection[str], settings: NodeSettings, no_camera: str) -> Plan:
    """Decide about every wanted topic.

    Args:
        wanted: topics that somebody subscribes to.
        settings: the node's settings.
        no_camera: why there are no intrinsics; empty if there are.
    """
    withheld = {}
    tasks: set[str] = set()
    for topic in wanted:
        needs = _tasks_of(topic, settings)
        reason = _reason(topic, needs, settings, no_camera)
        if reason:
            withheld[topic] = reason
        else:
            tasks |= needs
    return Plan(
        deliver=frozenset(wanted) - withheld.keys(),
        withheld={topic: withheld[topic] for topic in TOPICS if topic in withheld},
        tasks=tuple(task for task in TASKS if task in tasks),
    )


def by_lane(topics: Collection[str]) -> dict[str, frozenset[str]]:
    """Lane to its share of the topics, of lanes that have one."""
    shares = {lane: frozenset(own).intersection(topics) for lane, own in LANES.items()}
    return {lane: share for lane, share in shares.items() if share}


def needs_pose(settings: NodeSettings) -> frozenset[str]:
    """Topics without a message where nothing is known of the camera's pose over the ground."""
    return frozenset({SCAN, GROUND, *((NAV_POINTS,) if settings.nav_height else ())})


def _tasks_of(topic: str, settings: NodeSettings) -> set[str]:
    if topic.startswith('normals/'):
        return {NORMALS}
    if topic == POINTS and settings.cloud_normals:
        return {DEPTH, NORMALS}
    if topic == GROUND and NORMALS in settings.tasks:
        return {DEPTH, NORMALS}
    return {DEPTH}


def _reason(topic: str, needs: set[str], settings: NodeSettings, no_camera: str) -> str:
    missing = needs - set(settings.tasks)
    if missing:
        return f'the {" and ".join(sorted(missing))} task is not loaded (parameter tasks)'
    if settings.scale_mode == 'relative':
        if topic in _METRIC:
            return 'scale_mode is relative: there are no metres (set scale_mode: fixed)'
        if topic == POINTS and not settings.relative_cloud:
            return (
                'scale_mode is relative: there are no metres (set scale_mode: fixed, or'
                ' relative_cloud: true for a cloud that is not metric)'
            )
    if topic in _NEEDS_CAMERA and no_camera:
        return no_camera
    by_parameters = settings.scale_extrinsics == 'parameters'
    if topic in needs_pose(settings) and by_parameters and not settings.camera_height:
        return 'camera_height is 0: nothing is known about the ground (set the camera_... pose)'
    if topic == SCAN and settings.min_range >= settings.scan_max_range:
        return 'min_range is not below scan_max_range: no range is left'
    return ''
