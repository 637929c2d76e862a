"""Every setting of the node and of the camera player: the only place a default lives.

A setting is a dataclass field whose metadata is a `Parameter`: description, unit, range or choices,
and whether it may change while the node is active. `ros/parameters.py` turns these into ROS
descriptors; launch and YAML files hold overrides only.
"""

from lotus2_ros.settings.base import Parameter
from lotus2_ros.settings.model import (
    AUTO_CPU_PARAMETER_LIMIT,
    CPU_THREAD_ENVIRONMENT,
    DEFAULT_MAX_SIDE,
    ModelSettings,
)
from lotus2_ros.settings.node import NodeSettings
from lotus2_ros.settings.player import PlayerSettings
from lotus2_ros.settings.simulation import SimulationSettings

__all__ = [
    'AUTO_CPU_PARAMETER_LIMIT',
    'CPU_THREAD_ENVIRONMENT',
    'DEFAULT_MAX_SIDE',
    'ModelSettings',
    'NodeSettings',
    'Parameter',
    'PlayerSettings',
    'SimulationSettings',
]
