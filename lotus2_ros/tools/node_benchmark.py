r"""How late results of the running node are: camera, node and receiver in three processes.

Starts camera_player and depth_node as processes of their own, in a ROS domain of their own on this
machine only, and subscribes to every output here. Two phases, switched by live parameters: the core
alone, then with sharpening; then the node is started a second time. Printed are, for each output,
what came and how long after the camera's stamp, and what the latency of depth is made of. Beyond
the frame's own time is latency less what the model took for that very frame (~/timings).

  lotus2 benchmark node --model models/lotus2-fp8 --size 640x480 --rate 15 --json node.json
  lotus2 benchmark node --tasks depth --no-sharpener --set cloud_color=false --duration 10
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lotus2_ros.errors import Lotus2Error, SettingsError
from lotus2_ros.ros import plan
from lotus2_ros.ros.transports import chosen_transports
from lotus2_ros.settings import NodeSettings, PlayerSettings
from lotus2_ros.tools.json_files import write_json
from lotus2_ros.tools.model_arguments import add_model_arguments, model_settings
from lotus2_ros.tools.node_report import print_node_report
from lotus2_ros.tools.node_run import NodeRun, Stop
from lotus2_ros.tools.processes import Process, demo_environment, ros_command
from lotus2_ros.tools.sizes import parse_size

NODE = '/depth_node'
CAMERA_INFO = '/camera_info'

_METRES = {
    'scale_mode': 'fixed',
    'disparity_scale': 0.7,
    'disparity_shift': 0.3,
    'camera_height': 0.8,
}
"""So that topics in metres are published; the figures chosen do not matter for time."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model_arguments(parser)
    node = NodeSettings()
    group = parser.add_argument_group('node')
    group.add_argument(
        '--no-sharpener', action='store_true', help='do not load it; there is one phase only'
    )
    group.add_argument(
        '--sharpen-rate', type=float, default=1.0, metavar='HZ',
        help='in the second phase (default: %(default)s)',
    )  # fmt: skip
    group.add_argument(
        '--sharpen-steps', type=int, default=node.sharpen_steps, metavar='N',
        help='default: %(default)s',
    )  # fmt: skip
    group.add_argument(
        '--set', action='append', default=[], metavar='NAME=VALUE',
        help='any other parameter of depth_node; may be given several times',
    )  # fmt: skip
    group = parser.add_argument_group('camera')
    group.add_argument('--size', default='640x480', metavar='WxH', help='default: %(default)s')
    group.add_argument(
        '--rate', type=float, default=15.0, metavar='HZ', help='of images (default: %(default)s)'
    )
    group.add_argument(
        '--source', default=PlayerSettings().source,
        help='of images: sample, a folder of photographs or a video file (default: %(default)s)',
    )  # fmt: skip
    group = parser.add_argument_group('measurement')
    group.add_argument(
        '--duration',
        type=float,
        default=20.0,
        metavar='S',
        help='of a phase (default: %(default)s)',
    )
    group.add_argument(
        '--warmup', type=float, default=3.0, metavar='S',
        help='before a phase, not measured (default: %(default)s)',
    )  # fmt: skip
    group.add_argument('--no-restart', action='store_true', help='leave out the second start')
    group.add_argument('--json', type=Path, metavar='FILE', help='write the figures there too')
    group.add_argument('--logs', type=Path, metavar='DIR', help="keep the processes' logs there")


def run(args: argparse.Namespace) -> int:
    """Start everything, measure, print, end everything.

    Returns:
        0 if every output came in every phase, else 1.

    Raises:
        Lotus2Error: ROS is not there, an option cannot be used, a process ended too soon or gave no
            result, or a file cannot be written.
    """
    settings, parameters = node_parameters(args)
    height, width = parse_size(args.size, '--size')
    if min(args.duration, args.rate) <= 0 or args.warmup < 0:
        raise SettingsError('--duration and --rate must be above 0, --warmup from 0')
    _check_ros()
    environment = demo_environment()
    # For this process too: it receives.
    os.environ.update(environment)
    stop = Stop()
    with contextlib.ExitStack() as stack:
        logs = args.logs
        if logs is None:
            logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='lotus2_node_')))
        logs.mkdir(parents=True, exist_ok=True)
        camera = Process(
            'camera_player',
            ros_command(
                'lotus2_ros.ros.player',
                source=args.source, width=width, height=height, rate_hz=args.rate,
                # Reading a photograph takes a while: once a second, not for every image.
                hold_frames=max(1, round(args.rate)),
            ),
            environment, logs / 'camera_player.log',
        )  # fmt: skip
        command = ros_command('lotus2_ros.ros.main', **parameters)
        nodes = [
            Process('depth_node', command, environment, logs / f'depth_node_{number}.log')
            for number in (1, 2)
        ]
        stack.enter_context(camera)
        report = _measure(args, settings, camera, nodes[: 1 if args.no_restart else 2], stop)
    report['camera'] = {'size': [width, height], 'rate': args.rate, 'source': args.source}
    print_node_report(report)
    if args.json is not None:
        write_json(args.json, report)
    missing = _missing(report)
    if missing:
        print(f'nothing came on: {", ".join(missing)}', file=sys.stderr)
    return 1 if missing else 0


def node_parameters(args: argparse.Namespace) -> tuple[NodeSettings, dict[str, Any]]:
    """Settings of the node as the options give them, and those parameters that are no defaults.

    Raises:
        SettingsError: one of them is unknown or out of range.
    """
    model = model_settings(args)
    values: dict[str, Any] = {name: getattr(model, name) for name in model.parameters()}
    values |= _METRES
    values['load_sharpener'] = not args.no_sharpener
    values['sharpen_steps'] = args.sharpen_steps
    values |= dict(_assignment(text) for text in args.set)
    settings = NodeSettings.from_mapping(values)
    if settings.cameras:
        raise SettingsError('--set cameras: one camera is measured')
    if plan.DEPTH_IMAGE not in outputs_of(settings):
        raise SettingsError('depth in metres is measured: --tasks with depth, no --set scale_mode')
    if not args.no_sharpener:
        settings.replaced(sharpen_rate_hz=args.sharpen_rate)
    defaults = NodeSettings.defaults()
    given = {name: getattr(settings, name) for name in values}
    return settings, {name: value for name, value in given.items() if value != defaults[name]}


def _assignment(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition('=')
    if not equals:
        raise SettingsError(f'--set {text}: write NAME=VALUE, such as cloud_normals=true')
    try:
        return name, json.loads(value)
    except ValueError:  # a word
        return name, value


def _check_ros() -> None:
    try:
        import lotus2_ros.ros.latency_listener  # noqa: F401 - before anything is started
    except ImportError as error:
        raise Lotus2Error(
            f'this needs ROS 2 ({error}): source a ROS 2 installation, or install'
            ' requirements-ros-kilted.txt for this Python'
        ) from error


def _measure(
    args: argparse.Namespace,
    settings: NodeSettings,
    camera: Process,
    nodes: Sequence[Process],
    stop: Stop,
) -> dict[str, Any]:
    from lotus2_ros.ros.latency_listener import LatencyListener

    report: dict[str, Any] = {'machine': _machine(), 'starts': [], 'phases': []}
    for number, node in enumerate(nodes):
        started = time.time_ns()
        with node:
            # Only now: a process is not to be started where other threads run.
            domain = int(os.environ['ROS_DOMAIN_ID'])
            listener = LatencyListener(NODE, CAMERA_INFO, outputs_of(settings), domain=domain)
            try:
                measured = NodeRun(listener, (camera, node), settings.load_timeout_s, stop)
                said = 'starting the node' if number == 0 else 'starting the node a second time'
                report['starts'].append(measured.first_depth(started, said))
                if number == 0:
                    report['phases'] = _phases(args, measured, settings)
                    report['node'] = listener.values()
            finally:
                listener.close()
    return report


def _phases(
    args: argparse.Namespace, measured: NodeRun, settings: NodeSettings
) -> list[dict[str, Any]]:
    core = [topic for topic in outputs_of(settings) if not topic.startswith('sharp/')]
    measured.heard(core)
    phases = [measured.phase('core alone', args.warmup, args.duration)]
    if not args.no_sharpener and args.sharpen_rate > 0:
        measured.listener.set_parameter('sharpen_rate_hz', args.sharpen_rate)
        measured.sharpened()
        steps = f'{settings.sharpen_steps} steps at {args.sharpen_rate:g} Hz'
        phases.append(measured.phase(f'sharpening, {steps}', args.warmup, args.duration))
    return phases


def outputs_of(settings: NodeSettings) -> tuple[str, ...]:
    """Every topic that a node with these settings publishes, in the order of publication."""
    deliver = plan.make_plan(plan.TOPICS, settings, '').deliver
    core = tuple(topic for topic in plan.TOPICS if topic in deliver)
    return core + tuple(f'sharp/{topic}' for topic in core if settings.load_sharpener)


def _missing(report: dict[str, Any]) -> list[str]:
    """Outputs without a message in a phase in which there should have been some."""
    return [
        f'~/{topic} ({phase["name"]})'
        for phase in report['phases']
        for topic, figures in phase['outputs'].items()
        if figures['received'] == 0 and not figures['may_be_silent']
    ]


def _machine() -> dict[str, str]:
    from lotus2_ros.tools.benchmark import machine

    return {
        'machine': machine(),
        'python': platform.python_version(),
        'transports': chosen_transports(os.environ),
    }
