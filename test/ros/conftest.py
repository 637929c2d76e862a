from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

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
