from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rig import Rig


if importlib.util.find_spec('rclpy') is None:
    collect_ignore_glob = ['test_*.py']
else:
    # Before anything imports rclpy: talk to this machine only, under both names of the setting.
    os.environ['ROS_LOCALHOST_ONLY'] = '1'
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


SAME_EVERYWHERE = frozenset(
    {
        # Arithmetic and texts of ours; of ROS they see the classes of messages, if anything.
        'test_camera',
        'test_diagnostics',
        'test_image_content',
        'test_lanes',
        'test_live_figures',
        'test_monitor',
        'test_plan',
        'test_products',
        'test_robot_schedule',
        'test_shared_memory',
        'test_stamps',
        # Programs of ours around nodes that are tested by themselves on each distribution.
        'test_demo',
        'test_demo_world',
        'test_node_benchmark',
        'test_sim_robot',
        # What the model's process and the references' geometry do to the content of topics.
        'test_camera_pose',
        'test_frame_timings',
        'test_node_endurance',
        'test_node_prepared',
        'test_node_sharpening',
        'test_scale_bad_input',
        'test_scale_topics',
    }
)
"""Modules that a second distribution of ROS cannot fail differently from the first.

What differs between them is rclpy (lifecycle, parameters, events, executors), the middleware, and
how messages are converted: codecs, topics, the node's life, its parameters, its process and its
inputs are tested on each.
"""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line('markers', 'once: the same on every ROS distribution')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if '/test/ros/' in item.path.as_posix():
            item.add_marker(pytest.mark.ros)
            if item.path.stem in SAME_EVERYWHERE:
                item.add_marker(pytest.mark.once)


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A complete model folder of the real classes at tiny size."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tiny import make_tiny_model

    return str(make_tiny_model(tmp_path_factory.mktemp('models') / 'tiny'))


@pytest.fixture(scope='session')
def shared_rig(tiny_model: str) -> Iterator[Rig]:
    """One running node for all tests that need no other: starting a worker takes seconds."""
    from rig import Rig

    rig = Rig(
        {
            'model': tiny_model,
            'scale_mode': 'fixed',
            'disparity_scale': 0.5,
            'disparity_shift': 0.2,
            'cloud_edge_threshold': 0.0,
            'camera_height': 0.5,
            'sharpen_steps': 2,
            'cpu_threads': 1,
            'stale_timeout_s': 20.0,  # a busy machine is no fault here
            'diagnostics_rate_hz': 20.0,
        }
    )
    try:
        rig.wait_ready()
        yield rig
        assert rig.node_errors == [], rig.node_errors
    finally:
        rig.close()


@pytest.fixture
def rig(shared_rig: Rig) -> Iterator[Rig]:
    """The shared node with a valid CameraInfo and no subscriber; settings are put back after."""
    from rig import info_of

    before = shared_rig.node.settings
    shared_rig.listen()
    shared_rig.send_info(info_of())
    shared_rig.forget_counts()
    yield shared_rig
    after = shared_rig.node.settings
    names = [n for n in before.parameters() if getattr(before, n) != getattr(after, n)]
    if names:
        assert shared_rig.set(**{name: getattr(before, name) for name in names}) == (True, '')
