"""The launch files: what they pass on, and a real launch where ROS's launch is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from colcon_workspace import build_workspace, sourced
from tiny import make_tiny_model

from lotus2_ros.errors import SettingsError
from lotus2_ros.ros.transports import PROFILES, PROFILES_FILE, PROFILES_FILE_BEFORE, TRANSPORTS
from lotus2_ros.settings import NodeSettings, PlayerSettings, SimulationSettings
from lotus2_ros.tools.domains import reserve_domain

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = sorted((ROOT / 'launch').glob('*.launch.py'))

# The folder launch/ of this repository is importable as `launch`, too: ask for more than the name.
HAVE_LAUNCH = all(
    importlib.util.find_spec(name) is not None for name in ('launch_ros', 'rclpy', 'osrf_pycommon')
)
needs_launch = pytest.mark.skipif(not HAVE_LAUNCH, reason="ROS's launch is not installed")


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_file_compiles_and_describes_a_launch(path):
    text = path.read_text(encoding='utf-8')
    compile(text, path.name, 'exec')
    assert 'def generate_launch_description() -> LaunchDescription:' in text


# --- what is passed on


@pytest.fixture
def context():
    from launch import LaunchContext

    return LaunchContext()


def module(name: str):
    path = ROOT / 'launch' / f'{name}.launch.py'
    spec = importlib.util.spec_from_file_location(name, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def description(name: str):
    return module(name).generate_launch_description()


@needs_launch
@pytest.mark.parametrize(
    ('name', 'settings', 'topics'),
    [
        ('depth', NodeSettings, set()),
        ('player', PlayerSettings, {'camera_info'}),
        ('sim', SimulationSettings, set()),
    ],
)
def test_every_parameter_is_an_argument_without_a_default(name, settings, topics):
    arguments = {a.name: a for a in description(name).get_launch_arguments()}
    assert set(settings.parameters()) <= set(arguments)
    for parameter, about in settings.parameters().items():
        if parameter not in topics:
            assert about.description in arguments[parameter].description
    for argument in arguments.values():
        assert ''.join(part.text for part in argument.default_value) == '', argument.name


@needs_launch
def test_only_what_was_given_becomes_a_parameter(context):
    from lotus2_ros.ros.launch_arguments import given_parameters

    assert given_parameters(context, NodeSettings, {}) == {}
    context.launch_configurations.update(
        model='1234',
        max_range='20',
        sharpen_steps='4',
        cloud_color='false',
        tasks='depth',
        image='/camera',
        colormap='',
    )
    assert given_parameters(context, NodeSettings, {}) == {
        'model': '1234',
        'max_range': 20.0,
        'sharpen_steps': 4,
        'cloud_color': False,
        'tasks': ['depth'],
    }
    context.launch_configurations['tasks'] = '[depth, normals]'
    assert given_parameters(context, NodeSettings, {})['tasks'] == ['depth', 'normals']


@needs_launch
@pytest.mark.parametrize(
    ('name', 'value'), [('sharpen_steps', '2.5'), ('cloud_color', '3'), ('max_range', 'far')]
)
def test_value_of_a_wrong_type_is_refused_by_name(context, name, value):
    from lotus2_ros.ros.launch_arguments import given_parameters

    context.launch_configurations[name] = value
    with pytest.raises(SettingsError, match=f'{name}:={value}'):
        given_parameters(context, NodeSettings, {})


@needs_launch
@pytest.mark.parametrize('image', ['/cam/image_raw', '/cam/image_raw/compressed'])
def test_remapping_reaches_the_compressed_topic(context, image):
    from lotus2_ros.ros.launch_arguments import topic_remappings

    context.launch_configurations['image'] = image
    assert topic_remappings(context) == [
        ('image', '/cam/image_raw'),
        ('image/compressed', '/cam/image_raw/compressed'),
    ]


@needs_launch
def test_topics_of_several_cameras_carry_their_names(context):
    from lotus2_ros.ros.launch_arguments import topic_remappings

    context.launch_configurations.update(
        cameras='front,left', image='/{camera}/image_raw', camera_info='/rig/{camera}/info'
    )
    assert topic_remappings(context) == [
        ('front/image', '/front/image_raw'),
        ('front/image/compressed', '/front/image_raw/compressed'),
        ('front/camera_info', '/rig/front/info'),
        ('left/image', '/left/image_raw'),
        ('left/image/compressed', '/left/image_raw/compressed'),
        ('left/camera_info', '/rig/left/info'),
    ]
    context.launch_configurations['image'] = '/image_raw'
    with pytest.raises(SettingsError, match='one topic for 2 cameras'):
        topic_remappings(context)
    context.launch_configurations['cameras'] = 'front'
    assert ('front/image', '/image_raw') in topic_remappings(context)


@needs_launch
def test_several_cameras_must_be_named(context):
    context.launch_configurations['cameras'] = ' '
    with pytest.raises(SettingsError, match='name the cameras'):
        module('multi_camera').check(context)


@needs_launch
def test_missing_parameter_file_is_named(context, tmp_path):
    from lotus2_ros.ros.launch_arguments import parameter_file

    assert parameter_file(context) == []
    context.launch_configurations['params_file'] = str(tmp_path / 'absent.yaml')
    with pytest.raises(SettingsError, match=r'absent\.yaml does not exist'):
        parameter_file(context)


@needs_launch
@pytest.mark.parametrize(
    ('environment', 'added'),
    [
        ({'ROS_DISTRO': 'kilted'}, {'FASTDDS_DEFAULT_PROFILES_FILE': str(PROFILES)}),
        ({'FASTDDS_BUILTIN_TRANSPORTS': 'UDPv4'}, {}),
        ({'FASTRTPS_DEFAULT_PROFILES_FILE': 'mine.xml'}, {}),
    ],
)
def test_transports_are_set_unless_chosen(environment, added):
    from lotus2_ros.ros.launch_arguments import large_data_environment

    found, why = large_data_environment(environment)
    assert found == added
    assert next(iter(added or environment)) in why


# --- a real launch


@pytest.fixture(scope='module')
def environment(tmp_path_factory):
    """The environment of a user who has built and sourced a workspace."""
    if not HAVE_LAUNCH:
        pytest.skip("ROS's launch is not installed")
    root = build_workspace(tmp_path_factory.mktemp('workspace'))
    env = sourced(root)
    for name in (TRANSPORTS, PROFILES_FILE, PROFILES_FILE_BEFORE):
        env.pop(name, None)
    env |= {
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'ROS_LOCALHOST_ONLY': '1',
        'ROS_DOMAIN_ID': str(reserve_domain()),
        'ROS_LOG_DIR': str(root / 'ros_log'),
        'PYTHONUNBUFFERED': '1',
    }
    return env


@contextlib.contextmanager
def launched(env, log: Path, name: str, *arguments: str):
    """A running `ros2 launch lotus2_ros NAME ARGUMENTS`; ends as with Ctrl-C."""
    file = Path(env['AMENT_PREFIX_PATH'].split(os.pathsep)[0]) / 'share/lotus2_ros/launch' / name
    # What `ros2 launch` does, without the need for ros2cli.
    code = (
        'import sys; from launch import LaunchDescription, LaunchService;'
        'from launch.actions import IncludeLaunchDescription as Include;'
        'from launch.launch_description_sources import PythonLaunchDescriptionSource as Source;'
        'service = LaunchService(noninteractive=True);'
        'pairs = [tuple(a.split(":=", 1)) for a in sys.argv[2:]];'
        'service.include_launch_description(LaunchDescription('
        '[Include(Source(sys.argv[1]), launch_arguments=pairs)]));'
        'sys.exit(service.run())'
    )
    with log.open('wb') as output:
        process = subprocess.Popen(
            [sys.executable, '-c', code, str(file), *arguments],
            env=env,
            cwd=log.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        family = []
        try:
            yield process
        finally:
            if process.poll() is None:
                family = psutil.Process(process.pid).children(recursive=True)
                process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
                _, alive = psutil.wait_procs(family, timeout=5)
                assert not alive, f'left running: {alive}'
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def until(condition, log: Path, timeout: float = 60.0):
    """Wait until a condition gives something true, and give that."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    pytest.fail(f'did not happen within {timeout} s; the launch said:\n{log.read_text()}')


def processes(launch: subprocess.Popen, executable: str) -> list[psutil.Process]:
    """Children of the launch that run an executable of the package."""
    found = []
    for child in psutil.Process(launch.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if any(part.endswith(f'/lib/lotus2_ros/{executable}') for part in child.cmdline()):
                found.append(child)
    return found


@pytest.fixture
def observer(environment):
    """A node that looks at the graph of the launch."""
    import rclpy

    context = rclpy.Context()
    before = {name: os.environ.get(name) for name in environment if name.startswith('ROS_')}
    os.environ.update({name: environment[name] for name in before})
    rclpy.init(context=context, domain_id=int(environment['ROS_DOMAIN_ID']))
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    node = rclpy.create_node('observer', context=context)
    yield node
    node.destroy_node()
    context.shutdown()


def parameters(observer, node: str, names: list[str]) -> list:
    """Values of another node's parameters."""
    import rclpy
    from rcl_interfaces.srv import GetParameters
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import parameter_value_to_python

    executor = SingleThreadedExecutor(context=observer.context)
    client = observer.create_client(GetParameters, f'{node}/get_parameters')
    try:
        assert client.wait_for_service(30.0), f'no {node}'
        # A killed node's service is still announced for a while; requests to it are lost.
        for _ in range(20):
            future = client.call_async(GetParameters.Request(names=names))
            rclpy.spin_until_future_complete(observer, future, executor, timeout_sec=2.0)
            if future.done():
                break
        assert future.done()
        return [parameter_value_to_python(value) for value in future.result().values]
    finally:
        observer.destroy_client(client)
        executor.shutdown()


@needs_launch
def test_depth_launch_starts_the_node_as_asked(environment, observer, tmp_path):
    log = tmp_path / 'launch.log'
    file = tmp_path / 'overrides.yaml'
    file.write_text('/**:\n  ros__parameters:\n    max_range: 12.5\n    nav_max_points: 8\n')
    arguments = (
        *('image:=/cam/image_raw', 'camera_info:=/cam/info', 'image_transport:=compressed'),
        *('namespace:=robot', f'params_file:={file}', 'nav_max_points:=2', 'model:=nano'),
        *('autostart:=false', 'rviz:=true', 'log_level:=debug', 'use_sim_time:=false'),
        'respawn_delay:=0.5',
    )
    with launched(environment, log, 'depth.launch.py', *arguments) as launch:
        (first,) = until(lambda: processes(launch, 'depth_node'), log)
        names = ['max_range', 'nav_max_points', 'model', 'image_transport', 'min_range']
        defaults = NodeSettings.defaults()
        assert parameters(observer, '/robot/depth_node', names) == [
            *(12.5, 2, 'nano', 'compressed', defaults['min_range'])
        ]
        given = [first.environ().get(name) for name in (PROFILES_FILE, PROFILES_FILE_BEFORE)]
        assert any(path and path.endswith(PROFILES.name) for path in given)

        # It exits non-zero when only a new process helps; a kill is the hardest such case.
        first.kill()
        (second,) = until(
            lambda: [p for p in processes(launch, 'depth_node') if p.pid != first.pid], log
        )
        assert second.pid != first.pid
        parameters(observer, '/robot/depth_node', names)
    said = log.read_text()
    assert f'{PROFILES.name} is set' in said
    if importlib.util.find_spec('rviz2') is None:
        assert 'rviz2 is not installed' in said


@needs_launch
def test_camera_becomes_disparity_through_both_launch_files(environment, observer, tmp_path):
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import Image

    received: list[Image] = []
    observer.create_subscription(Image, '/depth_node/depth/disparity', received.append, 2)
    executor = SingleThreadedExecutor(context=observer.context)
    executor.add_node(observer)

    def arrived() -> list[Image]:
        executor.spin_once(timeout_sec=0.1)
        return received

    model = make_tiny_model(tmp_path / 'model', max_side=64)
    logs = tmp_path / 'depth.log', tmp_path / 'player.log'
    topics = ('image:=/cam/image_raw', 'camera_info:=/cam/camera_info')
    player = ('source:=sample', 'width:=64', 'height:=48', 'rate_hz:=4')
    with (
        launched(environment, logs[0], 'depth.launch.py', *topics, f'model:={model}'),
        launched(environment, logs[1], 'player.launch.py', *topics, *player),
    ):
        until(arrived, logs[0])
        assert observer.count_publishers('/cam/image_raw') == 1
        assert observer.count_publishers('/image') == 0
        assert observer.count_subscribers('/cam/camera_info') == 1
    assert (received[0].width, received[0].height) == (64, 48)
    assert received[0].encoding == '32FC1'
    executor.shutdown()


@needs_launch
def test_unusable_argument_ends_the_launch_and_says_why(environment, tmp_path):
    log = tmp_path / 'launch.log'
    with launched(environment, log, 'depth.launch.py', 'params_file:=absent.yaml') as launch:
        assert launch.wait(30) != 0
    assert 'absent.yaml does not exist' in log.read_text()


@needs_launch
def test_multi_camera_launch_starts_one_node_for_all(environment, observer, tmp_path):
    log = tmp_path / 'launch.log'
    file = tmp_path / 'overrides.yaml'
    file.write_text('/**:\n  ros__parameters:\n    left:\n      camera_yaw_deg: 90.0\n')
    arguments = (
        *('cameras:=front,left', 'image:=/rig/{camera}/image_raw', f'params_file:={file}'),
        'model:=nano',
    )
    with launched(environment, log, 'multi_camera.launch.py', *arguments) as launch:
        (_,) = until(lambda: processes(launch, 'depth_node'), log)
        names = ['cameras', 'left.camera_yaw_deg']
        assert parameters(observer, '/depth_node', names) == [['front', 'left'], 90.0]

        def subscribed() -> bool:
            topics = ('/rig/front/image_raw', '/front/camera_info', '/rig/left/image_raw')
            return all(observer.count_subscribers(topic) for topic in topics)

        until(subscribed, log)
        assert not observer.count_subscribers('/front/image')
