"""Starts the simulated robot and a depth_node on its camera: sim.launch.py scale_mode:=points.

Every parameter of sim_robot is an argument, and those of depth_node that choose model and scale;
where the sensors are, depth_node learns from the robot's parameters.
"""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import LogInfo, OpaqueFunction
from launch_ros.actions import Node

from lotus2_ros.ros.launch_arguments import (
    declare,
    given,
    given_parameters,
    large_data_environment,
    parameter_file,
)
from lotus2_ros.settings import NodeSettings, SimulationSettings

NODE = (
    'scale_mode',
    'scale_sources',
    'steady',
    'model',
    'base',
    'device',
    'precision',
    'cpu_threads',
)
"""Parameters of depth_node that are arguments here; params_file may hold all."""

_ABOUT = NodeSettings.parameters()
ARGUMENTS = {
    'namespace': 'namespace of both nodes and so of their topics',
    'params_file': 'YAML file of parameter overrides for depth_node, see config/depth.yaml',
} | {name: f'parameter of depth_node: {_ABOUT[name].description}' for name in NODE}


def start(context: LaunchContext) -> list[Action]:
    """Actions for the arguments given."""
    transports, why = large_data_environment(context.environment)
    robot = given_parameters(context, SimulationSettings, ARGUMENTS)
    others = {name: '' for name in _ABOUT if name not in NODE}
    node = {
        **SimulationSettings.from_mapping(robot).depth_node_parameters(),
        **given_parameters(context, NodeSettings, others),
    }
    if robot.get('publish_clock'):
        node['use_sim_time'] = True
    namespace = given(context, 'namespace') or None
    return [
        LogInfo(msg=why),
        Node(
            package='lotus2_ros',
            executable='sim_robot',
            namespace=namespace,
            parameters=[robot] if robot else [],
            additional_env=transports,
            output='screen',
        ),
        Node(
            package='lotus2_ros',
            executable='depth_node',
            namespace=namespace,
            parameters=[node, *parameter_file(context)],
            additional_env=transports,
            output='screen',
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """Arguments, then what they ask for."""
    return LaunchDescription(
        [*declare(SimulationSettings, ARGUMENTS), OpaqueFunction(function=start)]
    )
