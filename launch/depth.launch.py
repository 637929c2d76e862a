"""Starts depth_node on a camera: ros2 launch lotus2_ros depth.launch.py image:=/camera/image_raw.

Every parameter of the node is an argument too (--show-args lists them); one that is not given
keeps what params_file says, and failing that its default.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import LogInfo, OpaqueFunction
from launch_ros.actions import Node

from lotus2_ros.ros.launch_arguments import (
    declare,
    given,
    given_flag,
    given_parameters,
    large_data_environment,
    parameter_file,
    topic_remappings,
)
from lotus2_ros.settings import NodeSettings

ARGUMENTS = {
    'image': 'topic of the camera image, with or without /compressed (see image_transport);'
    ' {camera} in it stands for each name of cameras',
    'camera_info': 'topic of its CameraInfo, likewise',
    'namespace': 'namespace of the node and so of its topics',
    'params_file': 'YAML file of parameter overrides, see config/depth.yaml',
    'use_sim_time': 'true: ROS time comes from /clock',
    'log_level': 'debug, info, warn, error or fatal; or LOGGER:=LEVEL',
    'respawn': 'false: leave the node dead when it has died (it is started again otherwise)',
    'respawn_delay': 'seconds before it is started again (3 if not given)',
    'rviz': 'true: start RViz too, where it is installed',
    'rviz_frame': 'fixed frame of RViz, that of the clouds (see config/depth.rviz)',
}
RESPAWN_DELAY_S = 3.0
RVIZ_CONFIG = Path(__file__).resolve().parents[1] / 'config' / 'depth.rviz'


def start(context: LaunchContext) -> list[Action]:
    """Actions for the arguments given."""
    transports, why = large_data_environment(context.environment)
    parameters = given_parameters(context, NodeSettings, ARGUMENTS)
    if given(context, 'use_sim_time'):
        parameters['use_sim_time'] = given_flag(context, 'use_sim_time', default=False)
    log_level = given(context, 'log_level')
    remappings = topic_remappings(context)
    namespace = given(context, 'namespace') or None
    actions: list[Action] = [
        LogInfo(msg=why),
        Node(
            package='lotus2_ros',
            executable='depth_node',
            namespace=namespace,
            parameters=[*parameter_file(context), *([parameters] if parameters else [])],
            remappings=remappings,
            ros_arguments=['--log-level', log_level] if log_level else None,
            additional_env=transports,
            # The node exits non-zero when only a new process helps. The delay keeps a node that
            # cannot start from filling the log.
            respawn=given_flag(context, 'respawn', default=True),
            respawn_delay=float(given(context, 'respawn_delay') or RESPAWN_DELAY_S),
            output='screen',
        ),
    ]
    if given_flag(context, 'rviz', default=False):
        actions.append(rviz(context, namespace, remappings, transports))
    return actions


def rviz(
    context: LaunchContext,
    namespace: str | None,
    remappings: list[tuple[str, str]],
    transports: dict[str, str],
) -> Action:
    """RViz in the node's namespace, with its image topic, or a line that says why not."""
    try:
        get_package_prefix('rviz2')
    except PackageNotFoundError:
        return LogInfo(
            msg='rviz:=true, but rviz2 is not installed (ros-<distro>-rviz2): going on without it'
        )
    frame = given(context, 'rviz_frame')
    return Node(
        package='rviz2',
        executable='rviz2',
        namespace=namespace,
        arguments=['-d', str(RVIZ_CONFIG), *(['-f', frame] if frame else [])],
        remappings=remappings,
        additional_env=transports,
        output='screen',
    )


def generate_launch_description() -> LaunchDescription:
    """Arguments, then what they ask for."""
    return LaunchDescription([*declare(NodeSettings, ARGUMENTS), OpaqueFunction(function=start)])
