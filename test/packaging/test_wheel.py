"""What an installation holds: looks into a wheel built as pip builds it."""

from __future__ import annotations

import configparser
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from colcon_workspace import copy_source

import lotus2_ros

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'lotus2_ros'
NOT_PACKAGED = {'__pycache__'}


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The wheel of a copy of the source, so that the build leaves nothing in the repository."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    copy_source(source)
    subprocess.run(
        [
            *(sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-index'),
            *('--no-build-isolation', '--wheel-dir', str(folder), str(source)),
        ],
        check=True,
        timeout=120,
    )
    (path,) = folder.glob('*.whl')
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_every_file_of_the_package_is_in_it(wheel):
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob('*')
        if path.is_file() and not NOT_PACKAGED & set(path.parts)
    }
    assert wanted
    assert not wanted - set(wheel.namelist())
    assert 'lotus2_ros/py.typed' in wheel.namelist()


def test_the_bundled_model_is_in_it(wheel):
    inside = [name for name in wheel.namelist() if name.startswith('lotus2_ros/models/nano/')]
    assert any(name.endswith('.safetensors') for name in inside)
    assert any(name.endswith('.json') for name in inside)


def test_every_folder_with_modules_is_a_package():
    for path in PACKAGE.rglob('*.py'):
        assert (path.parent / '__init__.py').is_file(), path


def test_nothing_else_is_installed_as_a_package(wheel):
    (top,) = (n for n in wheel.namelist() if n.endswith('.dist-info/top_level.txt'))
    assert wheel.read(top).decode().split() == ['lotus2_ros']


def test_share_holds_what_ros_looks_for(wheel):
    share = {n.partition('.data/data/share/')[2] for n in wheel.namelist() if '.data/' in n}
    wanted = {'ament_index/resource_index/packages/lotus2_ros', 'lotus2_ros/package.xml'}
    wanted |= {f'lotus2_ros/launch/{p.name}' for p in (ROOT / 'launch').glob('*.launch.py')}
    wanted |= {
        f'lotus2_ros/{p.relative_to(ROOT)}' for p in (ROOT / 'config').rglob('*') if p.is_file()
    }
    assert {'lotus2_ros/launch/depth.launch.py', 'lotus2_ros/config/depth.rviz'} <= wanted
    assert share == wanted


def test_commands_exist_and_can_be_found(wheel):
    (name,) = (n for n in wheel.namelist() if n.endswith('entry_points.txt'))
    parser = configparser.ConfigParser()
    parser.read_string(wheel.read(name).decode())
    commands = dict(parser['console_scripts'])
    assert set(commands) == {'depth_node', 'camera_player', 'sim_robot', 'lotus2'}
    for target in commands.values():
        module, _, function = target.partition(':')
        source = ROOT.joinpath(*module.split('.')).with_suffix('.py').read_text(encoding='utf-8')
        assert f'def {function}(' in source, target


def test_metadata_says_who_and_what(wheel):
    (name,) = (n for n in wheel.namelist() if n.endswith('.dist-info/METADATA'))
    metadata = Parser().parsestr(wheel.read(name).decode())
    assert metadata['Version'] == lotus2_ros.__version__
    assert metadata['License'] == 'Apache-2.0'
    assert 'Apache License' in (ROOT / 'LICENSE').read_text(encoding='utf-8')
    for requirement in metadata.get_all('Requires-Dist'):
        # An upper bound or a pin would fight with what a ROS user already has.
        assert not {'==', '<', '~='} & set(requirement.replace('>=', '').split(';')[0]), requirement
