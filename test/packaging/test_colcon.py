"""colcon builds the package, and what it installs starts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from colcon_workspace import build_workspace, sourced


@pytest.fixture(scope='module', params=['copied', 'symlinked'])
def workspace(request, tmp_path_factory):
    options = ['--symlink-install'] if request.param == 'symlinked' else []
    return build_workspace(tmp_path_factory.mktemp(request.param), *options)


def run_in(workspace: Path, *command: str) -> str:
    """Output of a command in the sourced workspace, as a user runs it."""
    done = subprocess.run(
        command,
        cwd=workspace,
        env=sourced(workspace),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def executable(workspace: Path, name: str) -> Path:
    return workspace / 'install' / 'lotus2_ros' / 'lib' / 'lotus2_ros' / name


def test_sourcing_puts_the_package_where_python_and_ros_look(workspace):
    code = 'import os, lotus2_ros; print(os.path.realpath(lotus2_ros.__file__))'
    assert Path(run_in(workspace, 'python3', '-c', code)).is_relative_to(workspace.resolve())
    prefix = Path(sourced(workspace)['AMENT_PREFIX_PATH'].split(os.pathsep)[0])
    assert prefix == workspace / 'install' / 'lotus2_ros'
    share = prefix / 'share'
    assert (share / 'ament_index/resource_index/packages/lotus2_ros').exists()
    for path in ('package.xml', 'launch/depth.launch.py', 'config/depth.rviz'):
        assert (share / 'lotus2_ros' / path).is_file(), path


@pytest.mark.parametrize('name', ['depth_node', 'camera_player', 'sim_robot', 'lotus2'])
def test_executable_is_where_ros2_run_looks(workspace, name):
    assert os.access(executable(workspace, name), os.X_OK)


def test_executable_runs_with_the_first_python_on_the_path(workspace):
    path = executable(workspace, 'lotus2')
    first_line = path.read_text(encoding='utf-8').splitlines()[0]
    if 'symlinked' in workspace.name:
        # There colcon writes its own interpreter, whatever setup.cfg says: it must run in the
        # environment that has torch. The script itself is plain Python.
        assert first_line.startswith('#!/')
        assert 'usage' in run_in(workspace, 'python3', str(path), '--help').lower()
    else:
        assert first_line == '#!/usr/bin/env python3'
        assert 'usage' in run_in(workspace, str(path), '--help').lower()
