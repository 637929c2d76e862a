"""colcon builds the package, and what it installs starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLCON = ROOT / '.venv-colcon' / 'bin' / 'colcon'


def colcon() -> str:
    """The pinned colcon, or the one on PATH of a ROS user."""
    found = str(COLCON) if COLCON.exists() else shutil.which('colcon')
    if found is None:
        pytest.skip('colcon is not installed')
    return found


@pytest.fixture(scope='module', params=['copied', 'symlinked'])
def workspace(request, tmp_path_factory):
    """A workspace with this package, built."""
    root = tmp_path_factory.mktemp(request.param)
    source = root / 'src' / 'lotus2_ros'
    source.mkdir(parents=True)
    for name in ('lotus2_ros', 'launch', 'config', 'resource'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    options = ['--symlink-install'] if request.param == 'symlinked' else []
    subprocess.run(
        [colcon(), 'build', '--event-handlers', 'console_direct+', *options],
        cwd=root,
        check=True,
        timeout=120,
    )
    return root


def in_workspace(workspace: Path, script: str) -> str:
    """Output of shell lines after sourcing the workspace, as a user does."""
    env = dict(os.environ)
    env.pop('PYTHONPATH', None)
    # The first python3 on PATH is the one that has the requirements.
    env['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{env["PATH"]}'
    done = subprocess.run(
        ['sh', '-ec', f'. install/setup.sh\n{script}'],
        cwd=workspace,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_sourcing_puts_package_and_share_where_ros_looks(workspace):
    found = in_workspace(
        workspace,
        'python3 -c "import os, lotus2_ros; print(os.path.realpath(lotus2_ros.__file__))"\n'
        'echo "$AMENT_PREFIX_PATH"',
    ).split()
    assert Path(found[0]).is_relative_to(workspace.resolve())
    prefix = Path(found[1].split(os.pathsep)[0])
    assert prefix == workspace / 'install' / 'lotus2_ros'
    share = prefix / 'share'
    assert (share / 'ament_index/resource_index/packages/lotus2_ros').exists()
    for path in ('package.xml', 'launch/depth.launch.py', 'config/depth.rviz'):
        assert (share / 'lotus2_ros' / path).is_file(), path


@pytest.mark.parametrize('name', ['depth_node', 'camera_player', 'lotus2'])
def test_executable_is_where_ros2_run_looks(workspace, name):
    path = workspace / 'install' / 'lotus2_ros' / 'lib' / 'lotus2_ros' / name
    assert os.access(path, os.X_OK)


def test_executable_runs_with_the_python_that_has_the_requirements(workspace):
    path = workspace / 'install' / 'lotus2_ros' / 'lib' / 'lotus2_ros' / 'lotus2'
    if 'symlinked' in workspace.name:
        # colcon writes its own interpreter into the first line there, whatever setup.cfg says.
        assert path.read_text(encoding='utf-8').startswith('#!/')
        in_workspace(workspace, 'python3 -m lotus2_ros.tools.cli --help')
        return
    assert path.read_text(encoding='utf-8').startswith('#!/usr/bin/env python3\n')
    assert 'usage' in in_workspace(workspace, f'{path} --help').lower()
