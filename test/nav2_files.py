"""The shipped Nav2 files, and the names that Nav2 and STVL know (Jazzy, Kilted, and newer)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml

FOLDER = Path(__file__).parents[1] / 'config' / 'nav2'
OBSTACLE = 'nav2_costmap_2d::ObstacleLayer'
VOXEL = 'nav2_costmap_2d::VoxelLayer'
STVL = 'spatio_temporal_voxel_layer/SpatioTemporalVoxelLayer'

_SOURCE = {
    'topic', 'sensor_frame', 'observation_persistence', 'expected_update_rate', 'data_type',
    'min_obstacle_height', 'max_obstacle_height', 'inf_is_valid', 'marking', 'clearing',
}  # fmt: skip
RANGES = {'obstacle_max_range', 'obstacle_min_range', 'raytrace_max_range', 'raytrace_min_range'}
_FRUSTUM = {
    'obstacle_range', 'min_z', 'max_z', 'vertical_fov_angle', 'vertical_fov_padding',
    'horizontal_fov_angle', 'decay_acceleration', 'filter', 'voxel_min_points',
    'clear_after_reading', 'enabled', 'model_type',
}  # fmt: skip
_OBSTACLE_LAYER = {
    'plugin', 'enabled', 'footprint_clearing_enabled', 'min_obstacle_height',
    'max_obstacle_height', 'combination_method', 'observation_sources',
}  # fmt: skip
LAYER_NAMES = {
    OBSTACLE: _OBSTACLE_LAYER,
    VOXEL: _OBSTACLE_LAYER
    | {
        'z_voxels', 'origin_z', 'z_resolution', 'unknown_threshold', 'mark_threshold',
        'publish_voxel_map',
    },
    STVL: {
        'plugin', 'observation_sources', 'transform_tolerance', 'enabled', 'publish_voxel_map',
        'voxel_size', 'combination_method', 'mark_threshold', 'update_footprint_enabled',
        'track_unknown_space', 'decay_model', 'voxel_decay', 'mapping_mode', 'map_save_duration',
    },
}  # fmt: skip
SOURCE_NAMES = {OBSTACLE: _SOURCE | RANGES, VOXEL: _SOURCE | RANGES, STVL: _SOURCE | _FRUSTUM}
MONITOR_NAMES = {
    'base_frame_id', 'odom_frame_id', 'cmd_vel_in_topic', 'cmd_vel_out_topic', 'state_topic',
    'transform_tolerance', 'source_timeout', 'base_shift_correction', 'stop_pub_timeout',
    'polygons', 'observation_sources',
}  # fmt: skip
MONITOR_SOURCE_NAMES = {
    'type', 'topic', 'enabled', 'source_timeout', 'min_height', 'max_height', 'min_range',
    'use_global_height',
}  # fmt: skip
POLYGON_NAMES = {
    'type', 'action_type', 'points', 'min_points', 'visualize', 'polygon_pub_topic', 'enabled',
    'footprint_topic', 'time_before_collision', 'simulation_time_step',
}  # fmt: skip


class Source(NamedTuple):
    """One source of observations.

    file: that it is in; name: its own; values: its parameters; plugin: of its layer;
    layer: parameters of the layer; costmap: parameters of the costmap.
    """

    file: str
    name: str
    values: dict[str, Any]
    plugin: str
    layer: dict[str, Any]
    costmap: dict[str, Any]


def node_overrides() -> dict[str, Any]:
    return _read('depth_node.yaml')['/**']['ros__parameters']


def costmap_files() -> list[str]:
    return sorted(path.name for path in FOLDER.glob('local_costmap_*.yaml'))


def costmap(file: str) -> dict[str, Any]:
    return _read(file)['local_costmap']['local_costmap']['ros__parameters']


def sources() -> list[Source]:
    """Every source of every layer of every costmap file."""
    found = []
    for file in costmap_files():
        parameters = costmap(file)
        for plugin in parameters['plugins']:
            layer = parameters[plugin]
            found += [
                Source(file, name, layer[name], layer['plugin'], layer, parameters)
                for name in layer.get('observation_sources', '').split()
            ]
    return found


def collision_monitor() -> dict[str, Any]:
    return _read('collision_monitor.yaml')['collision_monitor']['ros__parameters']


def _read(file: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / file).read_text(encoding='utf-8'))
