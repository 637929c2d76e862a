"""The shipped configuration is valid, changes something, and repeats no default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lotus2_ros.settings import NodeSettings

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'config' / 'depth.yaml'
EXAMPLE = re.compile(r'^    # (\w+: \S.*)$', re.MULTILINE)


def overrides() -> dict:
    text = CONFIG.read_text(encoding='utf-8')
    return yaml.safe_load(text)['/**']['ros__parameters']


def examples() -> dict:
    lines = EXAMPLE.findall(CONFIG.read_text(encoding='utf-8'))
    return yaml.safe_load('\n'.join(lines))


def test_overrides_are_valid():
    NodeSettings.from_mapping(overrides())


def test_the_examples_are_valid_one_by_one_and_grouped():
    found = examples()
    assert len(found) > 10
    for name, value in found.items():
        NodeSettings.from_mapping({name: value})
    NodeSettings.from_mapping({k: v for k, v in found.items() if k != 'load_sharpener'})


@pytest.mark.parametrize('values', [overrides(), examples()], ids=['overrides', 'examples'])
def test_no_default_is_repeated(values):
    defaults = NodeSettings.defaults()
    for name, value in values.items():
        assert value != defaults[name], f'{name} has this value anyway'
        wanted = type(defaults[name])
        # rcl refuses an integer for a parameter declared as a float.
        assert isinstance(value, list if wanted is tuple else wanted), name


def test_rviz_shows_what_the_node_publishes():
    config = yaml.safe_load((ROOT / 'config' / 'depth.rviz').read_text(encoding='utf-8'))
    manager = config['Visualization Manager']
    assert manager['Global Options']['Fixed Frame'] == 'camera_optical_frame'
    topics = {
        display['Topic']['Value']: (
            display['Class'].rpartition('/')[2],
            display['Topic']['Reliability Policy'],
        )
        for display in manager['Displays']
        if 'Topic' in display
    }
    assert topics['image'] == ('Image', 'Best Effort')
    assert topics['depth_node/depth/color'] == ('Image', 'Reliable')
    assert topics['depth_node/normals/color'] == ('Image', 'Reliable')
    assert topics['depth_node/points'] == ('PointCloud2', 'Reliable')
    # RViz's Image display refuses 32FC3 and shows little of 32FC1.
    assert 'depth_node/normals/image' not in topics
