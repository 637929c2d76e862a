"""A colcon workspace with this package, for tests of what a ROS user has after `colcon build`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PINNED_COLCON = ROOT / '.venv-colcon' / 'bin' / 'colcon'
IN_PACKAGE = ('lotus2_ros', 'launch', 'config', 'resource')


def copy_source(target: Path) -> None:
    """Copy what a build reads, so that it leaves nothing in the repository."""
    target.mkdir(parents=True)
    for name in IN_PACKAGE:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns('__pycache__'))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, target)


def build_workspace(root: Path, *options: str) -> Path:
    """Build the package below `root` with the pinned colcon, or with that of a ROS user."""
    colcon = str(PINNED_COLCON) if PINNED_COLCON.exists() else shutil.which('colcon')
    if colcon is None:
        pytest.skip('colcon is not installed')
    copy_source(root / 'src' / 'lotus2_ros')
    done = subprocess.run(
        [colcon, 'build', *options],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def sourced(root: Path) -> dict[str, str]:
    """The environment after sourcing the workspace, with this Python as the first one."""
    env = dict(os.environ)
    env['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{env["PATH"]}'
    done = subprocess.run(
        ['sh', '-ec', '. install/setup.sh; env -0'],
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return dict(item.split('=', 1) for item in done.stdout.split('\0') if item)
