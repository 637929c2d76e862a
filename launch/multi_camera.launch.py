"""Starts one depth_node for several cameras: multi_camera.launch.py cameras:=front,left,right.

All arguments of depth.launch.py, with which it shares everything, and two topics by name; what
differs between the cameras goes into params_file as <camera>.<parameter>.
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource

from lotus2_ros.errors import SettingsError
from lotus2_ros.ros.launch_arguments import given

DEPTH = Path(__file__).resolve().parent / 'depth.launch.py'
TOPICS = {
    'image': ('/{camera}/image_raw', 'topics of the images; {camera} is each camera by name'),
    'camera_info': ('/{camera}/camera_info', 'topics of their CameraInfo'),
}


def check(context: LaunchContext) -> list[Action]:
    """Nothing, if there is a camera.

    Raises:
        SettingsError: there is none.
    """
    if not given(context, 'cameras'):
        raise SettingsError('name the cameras, for example cameras:=front,left,right')
    return []


def generate_launch_description() -> LaunchDescription:
    """Topics by name, then depth.launch.py."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=pattern, description=text)
                for name, (pattern, text) in TOPICS.items()
            ),
            DeclareLaunchArgument('cameras', description='names of the cameras: front,left,right'),
            OpaqueFunction(function=check),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(DEPTH))),
        ]
    )
