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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if '/test/ros/' in item.path.as_posix():
            item.add_marker(pytest.mark.ros)


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
