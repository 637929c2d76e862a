from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lotus2_ros.settings import SimulationSettings
from lotus2_ros.simulation.errors import SimulationError

SMALL = {'width': 96, 'height': 72, 'lidar_columns': 72, 'shadows': False}


@pytest.fixture(scope='session')
def robot() -> Iterator[object]:
    """The robot with small pictures; tests skip where MuJoCo or OpenGL is not installed."""
    if 'DISPLAY' not in os.environ:
        os.environ.setdefault('MUJOCO_GL', 'egl')
    pytest.importorskip('mujoco', reason='MuJoCo is not installed', exc_type=Exception)
    from lotus2_ros.simulation.robot import SimulatedRobot

    made = SimulatedRobot(SimulationSettings.from_mapping({**SMALL, 'speed': 1.0}))
    try:
        made.true_depth(0.0)
    except SimulationError as error:
        pytest.skip(str(error))
    yield made
    made.close()
