"""What is imported is declared: ROS packages in package.xml, Python ones in requirements.txt."""

from __future__ import annotations

import ast
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import lotus2_ros

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'lotus2_ros'

ROSDEP = {'numpy': 'python3-numpy', 'cv2': 'python3-opencv', 'yaml': 'python3-yaml'}
"""rosdep keys of what a ROS installation gets from the distribution."""

DISTRIBUTION = {
    'cv2': 'opencv-python-headless',
    'yaml': 'pyyaml',
    'huggingface_hub': 'huggingface-hub',
    'skimage': 'scikit-image',
    'sklearn': 'scikit-learn',
}
"""Names on the package index of modules that are called otherwise."""

OPTIONAL = {
    *('skimage', 'sklearn', 'scipy', 'transformers', 'sentencepiece', 'peft', 'matplotlib'),
    *('h5py', 'mujoco'),
    'triton',  # comes with torch where it is built for CUDA, and runs nowhere else
}
"""Brought by an extra or by torch; imported where they are used and missed with a message."""


def imported(folder: Path) -> set[str]:
    """Top-level names of everything that the files below a folder import."""
    names = set()
    for path in folder.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition('.')[0])
    return names - set(sys.stdlib_module_names) - {'lotus2_ros'}


def is_ros(name: str) -> bool:
    known = {'rclpy', 'cv_bridge', 'sensor_msgs_py', 'tf2_ros', 'ament_index_python'}
    known |= {'launch', 'launch_ros'}
    return name in known or name.endswith(('_msgs', '_srvs', '_interfaces'))


@pytest.fixture(scope='module')
def manifest():
    return ElementTree.parse(ROOT / 'package.xml').getroot()  # noqa: S314 (our own file)


@pytest.fixture(scope='module')
def requirements():
    names = {}
    for line in (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines():
        if line and not line.startswith('#'):
            names[re.split('[<>=~! ]', line)[0]] = line
    return names


def declared(manifest) -> set[str]:
    return {e.text for tag in ('depend', 'exec_depend') for e in manifest.findall(tag)}


def test_manifest_is_a_format_3_ament_python_package(manifest):
    assert manifest.tag == 'package'
    assert manifest.get('format') == '3'
    assert manifest.findtext('name') == 'lotus2_ros'
    assert manifest.findtext('license') == 'Apache-2.0'
    assert manifest.find('maintainer').get('email')
    assert manifest.findtext('export/build_type') == 'ament_python'
    assert (ROOT / 'resource' / 'lotus2_ros').read_bytes() == b''


def test_version_is_the_same_everywhere(manifest):
    assert manifest.findtext('version') == lotus2_ros.__version__


def test_manifest_names_every_ros_package_that_is_imported(manifest):
    names = {n for n in imported(PACKAGE / 'ros') | imported(ROOT / 'launch') if is_ros(n)}
    assert {'rclpy', 'sensor_msgs', 'launch_ros'} <= names
    assert not names - declared(manifest)


def test_manifest_names_what_the_distribution_packages(manifest):
    names = imported(PACKAGE / 'ros') | imported(PACKAGE / 'geometry')
    assert {ROSDEP[n] for n in names if n in ROSDEP} <= declared(manifest)


def test_requirements_name_every_python_package_that_is_imported(requirements):
    names = {n for n in imported(PACKAGE) if not is_ros(n)} - OPTIONAL
    missing = {n for n in names if DISTRIBUTION.get(n, n) not in requirements}
    assert not missing, f'imported but not in requirements.txt: {sorted(missing)}'


def test_requirements_are_lower_bounds_with_a_reason(requirements):
    for line in requirements.values():
        assert re.fullmatch(r'[a-z-]+>=[0-9.]+ +# .+', line), line


@pytest.mark.parametrize(
    'name',
    [
        'requirements-test.txt',
        'requirements-colcon.txt',
        'requirements-ros-jazzy.txt',
        'requirements-ros-kilted.txt',
    ],
)
def test_what_tests_rely_on_is_pinned(name, requirements):
    lines = [
        line
        for line in (ROOT / name).read_text(encoding='utf-8').splitlines()
        if line and not line.startswith('#')
    ]
    for line in lines:
        assert re.fullmatch(r'[a-z0-9-]+==[0-9a-z.]+', line), line
    if name == 'requirements-test.txt':
        assert set(requirements) <= {line.partition('==')[0] for line in lines}
