"""The shipped Nav2 parameters agree with Nav2's names, with each other and with our settings."""

from __future__ import annotations

import math
import re

import nav2_files
import pytest
from nav2_files import FOLDER, OBSTACLE, STVL, VOXEL, Source

from lotus2_ros.settings import NodeSettings, PlayerSettings

SETTINGS = NodeSettings.from_mapping(nav2_files.node_overrides())
SOURCES = nav2_files.sources()
MARKING = [s for s in SOURCES if s.values['marking']]
CLEARING = [s for s in SOURCES if s.values['clearing']]
RAYTRACED = [s for s in SOURCES if s.plugin != STVL]
MAY_BE_SILENT = '/points/clearing'


def each(found: list[Source]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize('source', found, ids=lambda s: f'{s.file}:{s.name}')


def test_all_files_are_looked_at():
    names = {path.name for path in FOLDER.iterdir()}
    assert names == {'depth_node.yaml', 'collision_monitor.yaml', *nav2_files.costmap_files()}
    assert {s.plugin for s in SOURCES} == {OBSTACLE, VOXEL, STVL}


def test_the_node_file_repeats_no_default_and_its_examples_are_valid():
    defaults = NodeSettings.defaults()
    for name, value in nav2_files.node_overrides().items():
        assert value != defaults[name], name
        assert type(value) is type(defaults[name]), name
    text = (FOLDER / 'depth_node.yaml').read_text()
    examples = re.findall(r'^    # (\w+): (-?[\d.]+)$', text, re.MULTILINE)
    assert len(examples) >= 4
    for name, value in examples:
        SETTINGS.replaced(**{name: float(value)})


@pytest.mark.parametrize('file', nav2_files.costmap_files())
def test_layers_have_names_that_exist(file):
    parameters = nav2_files.costmap(file)
    for name in parameters['plugins']:
        layer = parameters[name]
        if layer['plugin'] in nav2_files.LAYER_NAMES:
            own = set(layer) - set(layer['observation_sources'].split())
            assert own <= nav2_files.LAYER_NAMES[layer['plugin']]


@each(SOURCES)
def test_sources_have_names_that_exist(source):
    assert set(source.values) <= nav2_files.SOURCE_NAMES[source.plugin]


def test_the_collision_monitor_has_names_that_exist():
    monitor = nav2_files.collision_monitor()
    parts = {*monitor['polygons'], *monitor['observation_sources']}
    assert set(monitor) - parts <= nav2_files.MONITOR_NAMES
    assert parts <= set(monitor)
    for name in monitor['polygons']:
        assert set(monitor[name]) <= nav2_files.POLYGON_NAMES
    for name in monitor['observation_sources']:
        assert set(monitor[name]) <= nav2_files.MONITOR_SOURCE_NAMES


@pytest.mark.parametrize('path', sorted(FOLDER.iterdir()), ids=lambda p: p.name)
def test_every_choice_of_ours_has_its_reason(path):
    lines = path.read_text().splitlines()
    assert sum(line.lstrip().startswith('#') for line in lines) >= 8


# Ranges: what is marked can be cleared, and nothing is asked for that the node does not give.


@each(MARKING)
def test_whatever_is_marked_lies_in_the_node_s_range_and_in_the_costmap(source):
    values = source.values
    farthest = values.get('obstacle_max_range', values.get('obstacle_range'))
    assert farthest <= SETTINGS.max_range
    assert values.get('obstacle_min_range', SETTINGS.min_range) >= SETTINGS.min_range
    assert 2 * farthest <= min(source.costmap['width'], source.costmap['height'])
    if source.values['topic'].endswith('/scan'):
        assert farthest < SETTINGS.scan_max_range


@each([s for s in MARKING if s.plugin != STVL])
def test_whatever_is_marked_can_be_cleared_by_every_clearing_source(source):
    # The voxel layer ends a ray two cells before its point.
    spare = 2 * source.costmap['resolution']
    others = [s for s in CLEARING if s.file == source.file]
    assert others
    for other in others:
        reach = other.values['raytrace_max_range']
        assert reach >= source.values['obstacle_max_range'] + spare
        if other.values['topic'].endswith(MAY_BE_SILENT):
            assert min(SETTINGS.clearing_range, SETTINGS.max_range) >= reach + spare
    assert min(SETTINGS.scan_max_range, SETTINGS.max_range) >= source.values['raytrace_max_range']


@each([s for s in CLEARING if s.plugin == STVL])
def test_the_frustum_holds_whatever_is_marked_and_no_more_than_the_camera_sees(source):
    values = source.values
    [marking] = [s for s in MARKING if s.file == source.file]
    half = [0.5 * values['horizontal_fov_angle'], 0.5 * values['vertical_fov_angle']]
    far_plane = values['max_z'] * math.cos(half[0]) * math.cos(half[1])
    assert marking.values['obstacle_range'] < far_plane < SETTINGS.max_range
    width = math.radians(PlayerSettings().hfov_deg)
    height = 2 * math.atan(math.tan(width / 2) * 3 / 4)
    assert width - 0.02 <= values['horizontal_fov_angle'] <= width + 0.001
    assert height - 0.02 <= values['vertical_fov_angle'] <= height + 0.001


# Heights


@each(MARKING)
def test_the_band_that_marks_is_open_and_the_floor_is_below_it(source):
    values, layer = source.values, source.layer
    assert values['min_obstacle_height'] < values['max_obstacle_height']
    low, high = values['min_obstacle_height'], values['max_obstacle_height']
    if source.plugin != STVL:
        low = max(low, layer['min_obstacle_height'])
        high = min(high, layer['max_obstacle_height'])
    if source.values['topic'].endswith('/scan'):
        assert low < -0.5 < 0.5 < high, 'points of a scan lie on the ground, give or take a tilt'
        return
    assert high > 1.0
    error = 0.1 * SETTINGS.camera_height + SETTINGS.ground_tolerance
    assert error <= low <= 0.15


@each([s for s in CLEARING if s.plugin == VOXEL])
def test_rays_in_three_dimensions_clear_whatever_their_height(source):
    reach = SETTINGS.clearing_range if source.name == 'far' else source.values['raytrace_max_range']
    half_view = math.radians(30)
    assert source.values['min_obstacle_height'] <= -0.5
    if source.name == 'far':
        assert source.values['max_obstacle_height'] > SETTINGS.camera_height + reach * math.sin(
            half_view
        )


@each([s for s in SOURCES if s.plugin == VOXEL])
def test_the_voxel_grid_holds_the_camera_and_the_band(source):
    layer = source.layer
    assert layer['z_voxels'] <= 16
    top = layer['origin_z'] + layer['z_voxels'] * layer['z_resolution']
    assert layer['max_obstacle_height'] <= top
    assert layer['origin_z'] < SETTINGS.camera_height < top
    assert layer['z_resolution'] >= SETTINGS.nav_voxel


@each(SOURCES)
def test_cells_are_no_finer_than_the_cloud(source):
    if source.values['topic'].endswith('/points/nav'):
        assert source.costmap['resolution'] >= SETTINGS.nav_voxel
        assert source.layer.get('voxel_size', SETTINGS.nav_voxel) >= SETTINGS.nav_voxel
    if source.values['topic'].endswith('/scan'):
        beam = math.radians(SETTINGS.scan_increment_deg) * source.values['obstacle_max_range']
        assert source.costmap['resolution'] >= beam


# Time


@each(SOURCES)
def test_a_silent_node_is_noticed_and_a_topic_that_may_be_silent_is_not_missed(source):
    rate, kept = source.values['expected_update_rate'], source.values['observation_persistence']
    if source.values['topic'].endswith(MAY_BE_SILENT):
        assert (rate, kept > 0.0) == (0.0, True)
    elif source.plugin == STVL and not source.values['marking']:
        assert (rate, kept) == (0.0, 0.0)
        assert source.values['clear_after_reading']
    else:
        assert 0.0 < rate < SETTINGS.stale_timeout_s


def test_the_collision_monitor_stops_for_a_silent_node_and_sees_what_the_costmap_sees():
    monitor = nav2_files.collision_monitor()
    assert 0.0 < monitor['source_timeout'] < SETTINGS.stale_timeout_s
    assert monitor['approach']['time_before_collision'] > monitor['source_timeout']
    source = monitor['nav']
    assert source['type'] == 'pointcloud'
    assert source['use_global_height'] == SETTINGS.nav_height
    assert SETTINGS.camera_height > 0.0
    layers = [s.layer for s in MARKING if s.plugin == VOXEL]
    assert {source['min_height']} == {layer['min_obstacle_height'] for layer in layers}
    assert {source['max_height']} == {layer['max_obstacle_height'] for layer in layers}
    assert source['min_range'] >= SETTINGS.min_range


def test_all_files_mean_the_same_base():
    frames = {nav2_files.costmap(file)['robot_base_frame'] for file in nav2_files.costmap_files()}
    frames.add(nav2_files.collision_monitor()['base_frame_id'])
    assert frames == {SETTINGS.base_frame}


@each([s for s in SOURCES if s.values['topic'].endswith('/scan')])
def test_free_beams_of_the_scan_clear(source):
    assert source.values['data_type'] == 'LaserScan'
    assert source.values['inf_is_valid']
