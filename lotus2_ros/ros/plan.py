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

TOPICS = (
    DEPTH_IMAGE,
    DEPTH_INFO,
    NAV_POINTS,
    DISPARITY,
    DEPTH_RAW,
    POINTS,
    DEPTH_COLOR,
    NORMALS_IMAGE,
    NORMALS_INFO,
    NORMALS_COLOR,
)
"""Every result topic below `~/` and `~/sharp/`, in the order of publication."""

_METRIC = (DEPTH_IMAGE, DEPTH_RAW, NAV_POINTS)
_NEEDS_CAMERA = (DEPTH_INFO, NORMALS_INFO, POINTS, NAV_POINTS)

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


def _tasks_of(topic: str, settings: NodeSettings) -> set[str]:
    if topic.startswith('normals/'):
        return {NORMALS}
    if topic == POINTS and settings.cloud_normals:
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
    return ''
