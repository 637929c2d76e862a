"""The import rules and the shape of the package, read from its source."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'lotus2_ros'
MODULES = sorted(PACKAGE.rglob('*.py'))

EVERYONE_MAY = {'closing', 'errors', 'freed_memory', 'settings', 'types', 'photographs', ''}
"""Modules at the top of the package, and the package itself."""

MAY_IMPORT = {
    'geometry': {'geometry'},
    'model': {'model'},
    'runtime': {'runtime', 'model', 'geometry'},
    'worker': {'worker', 'runtime'},
    'simulation': {'simulation', 'geometry'},
    'training': {'training', 'model', 'runtime', 'geometry', 'simulation'},
    'ros': {'ros', 'geometry', 'worker'},
    'tools': {'tools', 'geometry', 'model', 'runtime', 'worker', 'training', 'ros', 'simulation'},
}
SIMULATED_ROBOT = {'robot', 'robot_messages'}
"""Modules of `ros` that may import `simulation` too: the node of the simulated robot."""

ROS_PACKAGES = {
    *('rclpy', 'launch', 'launch_ros', 'ament_index_python', 'cv_bridge', 'sensor_msgs_py'),
    *('tf2_ros', 'rclpy_components', 'message_filters', 'diagnostic_updater', 'image_transport'),
    *('rosidl_runtime_py', 'builtin_interfaces', 'rcl_interfaces', 'std_srvs'),
}
TORCH_PACKAGES = {'torch', 'torchvision', 'diffusers', 'transformers', 'accelerate', 'peft'}


def identity(path: Path) -> str:
    return str(path.relative_to(ROOT))


def part(module: str) -> str:
    """lotus2_ros.worker.client -> worker; lotus2_ros.errors -> errors; lotus2_ros -> ''."""
    return [*module.split('.'), ''][1]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def imports(path: Path) -> set[str]:
    """Full names of everything a file imports, wherever in the file, relative imports resolved.

    `from a import b` gives both a and a.b: b may be a module.
    """
    names = set()
    package = module_name(path)
    if path.name != '__init__.py':
        package = package.rpartition('.')[0]
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                base = importlib.util.resolve_name('.' * node.level + base, package)
            names.add(base)
            names.update(f'{base}.{alias.name}' for alias in node.names)
    return names


def top_levels(names: set[str]) -> set[str]:
    return {name.partition('.')[0] for name in names}


def is_ros(name: str) -> bool:
    return name in ROS_PACKAGES or name.endswith(('_msgs', '_srvs', '_interfaces'))


def first_party_closure(module: str) -> set[Path]:
    """Files that are loaded, at the latest on a call, when `module` is imported."""
    seen: set[Path] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        # Importing a.b.c runs a/__init__ and a/b/__init__ too.
        if '.' in name:
            waiting.append(name.rpartition('.')[0])
        base = ROOT.joinpath(*name.split('.'))
        for path in (base.with_suffix('.py'), base / '__init__.py'):
            if path.is_file() and path not in seen:
                seen.add(path)
                waiting.extend(n for n in imports(path) if n.startswith('lotus2_ros'))
    return seen


@pytest.mark.parametrize('path', MODULES, ids=identity)
def test_a_part_imports_only_the_parts_it_may(path):
    own = part(module_name(path))
    if own in EVERYONE_MAY:
        allowed: set[str] = set()
    else:
        assert own in MAY_IMPORT, f'{own} is a new part: say what it may import'
        allowed = MAY_IMPORT[own]
        if own == 'ros' and path.stem in SIMULATED_ROBOT:
            allowed = allowed | {'simulation'}
    wanted = {n for n in imports(path) if n.partition('.')[0] == 'lotus2_ros'}
    # `from lotus2_ros import __version__` names an attribute, not a part.
    wanted = {n for n in wanted if not part(n).startswith('__')}
    forbidden = sorted(n for n in wanted if part(n) not in allowed | EVERYONE_MAY)
    assert not forbidden, f'{identity(path)} must not import {forbidden}'


@pytest.mark.parametrize(
    'path', [p for p in MODULES if part(module_name(p)) != 'ros'], ids=identity
)
def test_ros_is_imported_in_ros_only(path):
    found = sorted(filter(is_ros, top_levels(imports(path))))
    assert not found, f'{identity(path)} imports {found}'


@pytest.mark.parametrize('name', ['geometry', 'ros', 'simulation'])
def test_part_does_not_import_torch(name):
    for path in MODULES:
        if part(module_name(path)) == name:
            assert not top_levels(imports(path)) & TORCH_PACKAGES, identity(path)


def test_worker_client_and_all_it_imports_do_not_import_torch():
    closure = first_party_closure('lotus2_ros.worker.client')
    assert PACKAGE / 'worker' / 'client.py' in closure
    for path in closure:
        assert not top_levels(imports(path)) & TORCH_PACKAGES, identity(path)
        assert part(module_name(path)) not in {'runtime', 'model', 'training'}, identity(path)


def test_node_reaches_the_worker_through_its_client_side_only():
    torch_side = {
        module_name(path)
        for path in MODULES
        if part(module_name(path)) == 'worker'
        and any(part(n) in {'runtime', 'model'} for n in imports(path) if 'lotus2_ros.' in n)
    }
    for path in MODULES:
        if part(module_name(path)) == 'ros':
            assert not imports(path) & torch_side, identity(path)


def test_geometry_reads_and_writes_no_files():
    for path in MODULES:
        if part(module_name(path)) == 'geometry':
            found = top_levels(imports(path)) & {'pathlib', 'os', 'io', 'shutil', 'subprocess'}
            assert not found, f'{identity(path)} imports {found}'


@pytest.mark.parametrize(
    ('module', 'absent'),
    [
        ('lotus2_ros', ('torch', 'rclpy', 'numpy')),
        ('lotus2_ros.settings', ('torch', 'rclpy', 'cv2')),
        ('lotus2_ros.geometry', ('torch', 'rclpy')),
        ('lotus2_ros.simulation', ('torch', 'rclpy', 'mujoco')),
        ('lotus2_ros.worker', ('torch', 'rclpy')),
        ('lotus2_ros.worker.client', ('torch', 'diffusers', 'rclpy')),
        ('lotus2_ros.tools.cli', ('torch', 'rclpy')),
    ],
)
def test_importing_loads_only_what_is_needed(module, absent):
    code = f'import sys, {module}; print([m for m in {absent!r} if m in sys.modules])'
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == '[]'


@pytest.mark.parametrize('path', MODULES, ids=identity)
def test_module_is_not_a_pile(path):
    lines = len(path.read_text(encoding='utf-8').splitlines())
    assert lines < 400, f'{identity(path)} has {lines} lines: it does more than one thing'
    assert path.stem not in {'utils', 'util', 'helpers', 'helper', 'common', 'misc'}


@pytest.mark.parametrize('path', MODULES, ids=identity)
def test_no_error_is_swallowed(path):
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ExceptHandler):
            where = f'{identity(path)}:{node.lineno}'
            assert node.type is not None, f'{where}: a bare except'
            broad = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
            nothing = all(
                isinstance(n, ast.Pass)
                or (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
                for n in node.body
            )
            assert not (nothing and broad & {'Exception', 'BaseException'}), f'{where}: swallowed'
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith('suppress'):
            broad = {ast.unparse(argument) for argument in node.args}
            where = f'{identity(path)}:{node.lineno}'
            assert not broad & {'Exception', 'BaseException'}, f'{where}: swallowed'
