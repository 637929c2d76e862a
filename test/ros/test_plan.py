from __future__ import annotations

import pytest

from lotus2_ros.ros import plan
from lotus2_ros.ros.plan import TOPICS, make_plan
from lotus2_ros.settings import NodeSettings

RELATIVE = NodeSettings()
FIXED = NodeSettings(scale_mode='fixed', camera_height=0.5)
METRIC = {
    'depth/image', 'depth/image_raw', 'points', 'points/nav', 'points/clearing', 'scan', 'ground',
}  # fmt: skip


def test_fixed_mode_with_a_camera_delivers_everything() -> None:
    result = make_plan(TOPICS, FIXED, '')
    assert result.deliver == frozenset(TOPICS)
    assert not result.withheld
    assert result.tasks == ('depth', 'normals')


def test_relative_mode_withholds_whatever_is_metric() -> None:
    result = make_plan(TOPICS, RELATIVE, '')
    assert set(result.withheld) == METRIC
    assert all('relative' in reason for reason in result.withheld.values())


def test_a_relative_cloud_is_given_only_when_asked_for_and_never_to_costmaps() -> None:
    result = make_plan(TOPICS, NodeSettings(relative_cloud=True), '')
    assert plan.POINTS in result.deliver
    assert plan.NAV_POINTS in result.withheld


def test_without_a_camera_images_still_go_out() -> None:
    result = make_plan(TOPICS, FIXED, 'no CameraInfo')
    assert set(result.withheld) == {
        'depth/camera_info', 'normals/camera_info', 'points', 'points/nav', 'points/clearing',
        'scan', 'ground',
    }  # fmt: skip
    assert set(result.withheld.values()) == {'no CameraInfo'}


@pytest.mark.parametrize(
    ('wanted', 'tasks'),
    [
        ([], ()),
        (['depth/image'], ('depth',)),
        (['depth/camera_info'], ('depth',)),
        (['points/nav'], ('depth',)),
        (['points'], ('depth',)),
        (['points/clearing', 'scan'], ('depth',)),
        (['ground'], ('depth', 'normals')),
        (['normals/color'], ('normals',)),
        (['normals/image', 'depth/color'], ('depth', 'normals')),
    ],
)
def test_only_the_tasks_behind_wanted_topics_are_computed(
    wanted: list[str], tasks: tuple[str, ...]
) -> None:
    assert make_plan(wanted, FIXED, '').tasks == tasks


def test_cloud_normals_need_the_normals_task() -> None:
    both = NodeSettings(scale_mode='fixed', cloud_normals=True)
    assert make_plan([plan.POINTS], both, '').tasks == ('depth', 'normals')
    depth_only = NodeSettings(scale_mode='fixed', cloud_normals=True, tasks=('depth',))
    assert (
        'normals task is not loaded'
        in make_plan([plan.POINTS], depth_only, '').withheld[plan.POINTS]
    )


def test_nothing_is_computed_for_what_is_withheld() -> None:
    assert make_plan(['depth/image', 'points'], RELATIVE, '').tasks == ()


def test_depth_is_published_first() -> None:
    assert TOPICS[0] == plan.DEPTH_IMAGE


def test_what_needs_the_ground_is_withheld_where_nothing_is_known_about_it() -> None:
    unknown = NodeSettings(scale_mode='fixed')
    result = make_plan(TOPICS, unknown, '')
    assert set(result.withheld) == {'scan', 'ground'}
    assert all('camera_height' in reason for reason in result.withheld.values())
    with_height = NodeSettings(scale_mode='fixed', nav_height=True)
    assert 'points/nav' in make_plan(TOPICS, with_height, '').withheld


def test_labels_of_the_ground_do_without_normals_where_their_task_is_not_loaded() -> None:
    depth_only = NodeSettings(scale_mode='fixed', camera_height=0.5, tasks=('depth',))
    result = make_plan([plan.GROUND], depth_only, '')
    assert (result.deliver, result.tasks) == ({plan.GROUND}, ('depth',))


def test_a_scan_without_any_range_left_is_withheld() -> None:
    settings = NodeSettings(
        scale_mode='fixed', camera_height=0.5, min_range=8.0, scan_max_range=8.0
    )
    assert 'scan_max_range' in make_plan([plan.SCAN], settings, '').withheld[plan.SCAN]


def test_every_topic_is_made_on_one_thread() -> None:
    shares = plan.by_lane(TOPICS)
    assert sorted([*plan.FIRST, *(t for share in shares.values() for t in share)]) == sorted(TOPICS)
    assert plan.by_lane({plan.SCAN, plan.DEPTH_IMAGE}) == {'navigation': {plan.SCAN}}
