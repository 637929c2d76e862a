"""The shipped Nav2 parameters work with the topics of a running node."""

from __future__ import annotations

from collections.abc import Iterator

import nav2_files
import numpy as np
import pytest
from nav2_files import Source
from rclpy.qos import qos_profile_sensor_data
from rig import FRAME, Rig, image_of, info_of, picture, pixels, points, wait_until

SOURCES = nav2_files.sources()
MONITORED = nav2_files.collision_monitor()['nav']
MESSAGES = {'PointCloud2': 'sensor_msgs/msg/PointCloud2', 'LaserScan': 'sensor_msgs/msg/LaserScan'}


@pytest.fixture(scope='module')
def nav_rig(tiny_model: str) -> Iterator[Rig]:
    """A node with the shipped parameters, but for the model; and a scale that fills the range."""
    overrides = nav2_files.node_overrides()
    scale = {'disparity_scale': 0.5, 'disparity_shift': 0.05, 'cloud_edge_threshold': 0.0}
    rig = Rig({**overrides, **scale, 'model': tiny_model, 'cpu_threads': 1})
    try:
        rig.wait_ready()
        rig.send_info(info_of())
        yield rig
        assert rig.node_errors == [], rig.node_errors
    finally:
        rig.close()


def messages(rig: Rig) -> dict[str, object]:
    """One of each topic that the files name, taken as Nav2 takes it: best effort."""
    topics = {s.values['topic'].removeprefix('/depth_node/') for s in SOURCES}
    rig.listen(*topics, 'depth/image', qos=qos_profile_sensor_data)
    depth = pixels(rig.frame(None, 'depth/image'))
    # Whatever the model says: a part of it beyond range.
    assert rig.set(disparity_shift=0.1 - 0.5 * _median_disparity(depth)) == (True, '')
    return rig.frame()


def _median_disparity(depth: np.ndarray) -> float:
    return float(np.median((1.0 / depth[np.isfinite(depth)] - 0.05) / 0.5))


@pytest.fixture(scope='module')
def received(nav_rig: Rig) -> dict[str, object]:
    return messages(nav_rig)


@pytest.mark.parametrize('source', SOURCES, ids=lambda s: f'{s.file}:{s.name}')
def test_a_source_names_a_topic_of_the_node_with_its_type(nav_rig: Rig, source: Source) -> None:
    published = dict(nav_rig.node.get_publisher_names_and_types_by_node('depth_node', '/'))
    assert published[source.values['topic']] == [MESSAGES[source.values['data_type']]]


def test_the_collision_monitor_names_a_topic_with_the_fields_it_asks_for(
    received: dict[str, object],
) -> None:
    cloud = received[MONITORED['topic'].removeprefix('/depth_node/')]
    names = [f.name for f in cloud.fields]  # type: ignore[attr-defined]
    assert names[:3] == ['x', 'y', 'z']
    assert ('height' in names) == MONITORED['use_global_height']


def test_clouds_come_from_the_camera_and_rays_from_its_place(received: dict[str, object]) -> None:
    # Without sensor_frame, Nav2 traces rays from the origin of the cloud's frame.
    assert not [s for s in SOURCES if s.values.get('sensor_frame')]
    for topic in ('points/nav', 'points/clearing'):
        assert received[topic].header.frame_id == FRAME  # type: ignore[attr-defined]
    assert received['scan'].header.frame_id == 'base_footprint'  # type: ignore[attr-defined]


def test_obstacles_end_where_clearing_begins(nav_rig: Rig, received: dict[str, object]) -> None:
    settings = nav_rig.node.settings
    obstacles = points(received['points/nav'])[0, :, :3]  # type: ignore[arg-type]
    clearing = points(received['points/clearing'])[0]  # type: ignore[arg-type]
    assert len(obstacles) <= settings.nav_max_points
    assert settings.min_range <= obstacles[:, 2].min()
    assert obstacles[:, 2].max() <= settings.max_range
    reach = np.linalg.norm(clearing, axis=1)
    for source in SOURCES:
        if source.values['topic'].endswith('/points/clearing'):
            assert source.values['raytrace_max_range'] < reach.min()


def test_the_scan_reaches_as_far_as_it_is_used(received: dict[str, object]) -> None:
    scan = received['scan']
    for source in SOURCES:
        if source.values['topic'].endswith('/scan'):
            assert source.values['raytrace_max_range'] < scan.range_max  # type: ignore
            assert scan.range_min <= source.values['obstacle_min_range']  # type: ignore


def test_topics_that_nav2_expects_regularly_come_with_every_frame(nav_rig: Rig) -> None:
    expected = {s.values['topic'] for s in SOURCES if s.values['expected_update_rate'] > 0}
    topics = sorted(topic.removeprefix('/depth_node/') for topic in expected)
    nav_rig.listen(*topics, qos=qos_profile_sensor_data)
    for seed in range(5):
        stamp = nav_rig.send(image_of(picture(seed=seed)))
        for topic in topics:
            assert nav_rig.get(topic, stamp).header.stamp == stamp


def test_a_topic_falls_silent_and_is_named_when_nothing_valid_is_left(nav_rig: Rig) -> None:
    nav_rig.listen('points/nav', 'points/clearing', qos=qos_profile_sensor_data)
    nav_rig.forget_counts()
    assert nav_rig.set(disparity_shift=1000.0) == (True, '')
    nav_rig.send(image_of(picture()))
    wait_until(lambda: nav_rig.counts().get('nothing valid in points/clearing'))
    assert nav_rig.counts()['nothing valid in points/nav'] == 1
    assert nav_rig.of('points/nav') == []
