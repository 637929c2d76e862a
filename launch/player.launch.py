"""Starts camera_player: pictures, a video, a webcam or the bundled photographs as a camera.

Every parameter of the player but `camera_info` (here: a topic) is an argument too.
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
    topic_remappings,
)
from lotus2_ros.settings import PlayerSettings

ARGUMENTS = {
    'image': 'topic to publish the images on, with or without /compressed (see image_transport)',
    'camera_info': 'topic to publish CameraInfo on',
    'namespace': 'namespace of the player and so of its topics',
    'params_file': 'YAML file of parameter overrides',
}


def start(context: LaunchContext) -> list[Action]:
    """Actions for the arguments given."""
    transports, why = large_data_environment(context.environment)
    parameters = given_parameters(context, PlayerSettings, ARGUMENTS)
    return [
        LogInfo(msg=why),
        Node(
            package='lotus2_ros',
            executable='camera_player',
            namespace=given(context, 'namespace') or None,
            parameters=[*parameter_file(context), *([parameters] if parameters else [])],
            remappings=topic_remappings(context),
            additional_env=transports,
            output='screen',
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """Arguments, then what they ask for."""
    return LaunchDescription([*declare(PlayerSettings, ARGUMENTS), OpaqueFunction(function=start)])
