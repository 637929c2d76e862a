"""Settings validate alone and together, and their documentation cannot drift from them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lotus2_ros.errors import SettingsError
from lotus2_ros.settings import ModelSettings, NodeSettings, PlayerSettings, SimulationSettings
from lotus2_ros.tools.parameter_table import page

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    'settings', [ModelSettings, NodeSettings, PlayerSettings, SimulationSettings]
)
def test_defaults_are_valid(settings):
    settings.from_mapping({})


@pytest.mark.parametrize('settings', [NodeSettings, PlayerSettings, SimulationSettings])
def test_every_parameter_is_described_and_every_number_bounded(settings):
    for name, about in settings.parameters().items():
        assert about.description, name
        default = settings.defaults()[name]
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert about.minimum is not None, name
            assert about.maximum is not None, name
            assert about.minimum <= default <= about.maximum, name


def test_unknown_name_is_refused_and_known_ones_are_listed():
    with pytest.raises(SettingsError, match=r'unknown parameter modell.*scale_mode'):
        NodeSettings.from_mapping({'modell': 'nano'})


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('output_scale', 0.0),
        ('output_scale', float('nan')),
        ('max_range', float('inf')),
        ('nav_max_points', 0),
        ('nav_max_points', 2.0),
        ('nav_max_points', True),
        ('cloud_color', 1),
        ('scale_mode', 'metric'),
        ('tasks', ('depth', 'flow')),
        ('tasks', ()),
        ('tasks', 'depth'),
        ('tasks', ('depth', 'depth')),
        ('model', ''),
        ('max_side', 8),
    ],
)
def test_bad_value_is_refused_by_name(name, value):
    with pytest.raises(SettingsError, match=name):
        NodeSettings.from_mapping({name: value})


@pytest.mark.parametrize(
    'values',
    [
        {'min_range': 5.0, 'max_range': 5.0},
        {'color_min': 0.5, 'color_max': 0.2},
        {'sharpen_rate_hz': 1.0, 'load_sharpener': False},
    ],
)
def test_contradictions_are_refused(values):
    with pytest.raises(SettingsError, match=next(iter(values))):
        NodeSettings.from_mapping(values)


def test_integer_is_accepted_where_a_float_is_meant():
    assert NodeSettings.from_mapping({'max_range': 10}).max_range == 10


@pytest.mark.parametrize(('value', 'expected'), [(True, 'on'), (False, 'off'), ('auto', 'auto')])
def test_on_and_off_are_words_where_yaml_reads_them_as_true_and_false(value, expected):
    first = NodeSettings.from_mapping({'acceleration': value})
    assert first.acceleration == first.replaced(max_range=5.0).acceleration == expected
    with pytest.raises(SettingsError, match='precision must be str'):
        NodeSettings.from_mapping({'precision': True})


def test_replaced_changes_only_what_was_named_and_checks_the_whole():
    first = NodeSettings.from_mapping({'max_range': 3.0})
    second = first.replaced(min_range=1.0)
    assert dataclasses.asdict(second) == {**dataclasses.asdict(first), 'min_range': 1.0}
    with pytest.raises(SettingsError, match='min_range'):
        first.replaced(min_range=4.0)
    assert first.min_range == NodeSettings.defaults()['min_range']


def test_model_settings_are_the_part_the_worker_needs():
    node = NodeSettings.from_mapping({'model': 'x', 'cpu_threads': 3, 'tasks': ['depth']})
    model = node.model_settings()
    assert type(model) is ModelSettings
    assert (model.model, model.cpu_threads, model.tasks) == ('x', 3, ('depth',))


def test_parameter_page_is_current():
    assert (ROOT / 'docs/parameters.md').read_text() == page()


def test_frames_of_the_simulated_robot_must_differ():
    with pytest.raises(SettingsError, match=r'odom.*must all differ'):
        SimulationSettings.from_mapping({'world_frame': 'odom'})


def test_what_the_simulated_robot_tells_the_node_are_parameters_of_the_node():
    told = SimulationSettings.from_mapping({'camera_height': 0.9}).depth_node_parameters()
    assert NodeSettings.from_mapping(told).camera_height == 0.9
