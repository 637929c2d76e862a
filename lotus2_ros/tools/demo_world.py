"""`lotus2 demo --world`: the simulated robot and the depth node, judged by the truth."""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lotus2_ros.errors import WorkerError
from lotus2_ros.geometry.colormap import colorize_disparity
from lotus2_ros.geometry.render import render_cloud
from lotus2_ros.photographs import write_picture
from lotus2_ros.ros import plan
from lotus2_ros.settings import NodeSettings, SimulationSettings
from lotus2_ros.tools.evaluate_live import write_live
from lotus2_ros.tools.live_report import LiveReport, print_summary
from lotus2_ros.tools.processes import Process, ros_command
from lotus2_ros.tools.robot_arguments import robot_settings
from lotus2_ros.tools.sheet import contact_sheet, sheet_row
from lotus2_ros.tools.world_modes import modes_of, run_modes, scale_parameters
from lotus2_ros.types import Float32Array, UInt8Array

if TYPE_CHECKING:
    from lotus2_ros.ros.truth_listener import Moment, TruthListener

TILE = (320, 240)
TITLES = ('image', 'true depth', 'metric depth', 'cloud')
_PICTURES = 4
_SHOWN = {plan.DEPTH_IMAGE, plan.POINTS}
_NEAR, _FAR = 0.7, 12.0
"""Depths at the ends of the colours [m]."""


def run_world(args: argparse.Namespace, environment: dict[str, str]) -> int:
    """Run the demo in the simulated world, once ROS is known to be there.

    Args:
        args: of the command.
        environment: of the processes, and of this one already.

    Returns:
        0 if metric depth came and was compared with the truth, in every scale mode; else 1.

    Raises:
        Lotus2Error: MuJoCo is not there, a setting cannot be used, or a process ended too soon.
    """
    # Equal rates: every image has its references.
    rates = dict.fromkeys(('camera_rate_hz', 'depth_rate_hz', 'lidar_rate_hz'), args.rate)
    settings = robot_settings(args.robot, **rates)

    def drive(mode: str, out: Path) -> dict[str, Any]:
        return _drive(args, settings, mode, out, environment)

    results = run_modes(modes_of(args.scale_mode), args.out, drive)
    return 0 if all('abs_rel' in summary['figures'] for summary in results.values()) else 1


def _drive(
    args: argparse.Namespace,
    settings: SimulationSettings,
    mode: str,
    out: Path,
    environment: dict[str, str],
) -> dict[str, Any]:
    """Robot and node from their start, in one scale mode; the summary."""
    from lotus2_ros.ros.truth_listener import TruthListener

    defaults = SimulationSettings.defaults()
    chosen = {k: v for k, v in dataclasses.asdict(settings).items() if v != defaults[k]}
    robot = Process(
        'sim_robot',
        ros_command('lotus2_ros.ros.robot', **chosen),
        environment,
        out / 'sim_robot.log',
    )
    node = Process(
        'depth_node',
        ros_command(
            'lotus2_ros.ros.main',
            model=args.model,
            base=args.base,
            device=args.device,
            **scale_parameters(mode),
            **settings.depth_node_parameters(),
            # Where the world is drawn on the same cores as the model runs, images come late.
            max_image_age_s=10.0,
        ),
        environment,
        out / 'depth_node.log',
    )
    print(f'{mode}: the simulated robot, and the depth node with model {args.model}; a minute')
    with node, robot:
        listener = TruthListener(
            '/depth_node', '/image', '/truth', domain=int(os.environ['ROS_DOMAIN_ID'])
        )
        try:
            report, shown = _listen(listener, (node, robot), args.seconds)
        finally:
            listener.close()
    summary = report.summary()
    print_summary(summary)
    for path in (*write_live(out, report), write_sheet(shown, out)):
        print(f'wrote {path}')
    return summary


def _listen(
    listener: TruthListener, processes: tuple[Process, ...], seconds: float
) -> tuple[LiveReport, list[Moment]]:
    """Judge what comes; keep a few moments, spread over the run, for the pictures."""
    report = LiveReport(NodeSettings())
    shown: list[Moment] = []
    limit = NodeSettings().load_timeout_s
    asked, begin, said = time.monotonic(), 0.0, ''
    while not begin or time.monotonic() - begin < seconds:
        for process in processes:
            process.check()
        if listener.fault or listener.failure:
            raise WorkerError(f'the demo cannot go on: {listener.fault or listener.failure}')
        if not begin and time.monotonic() - asked > limit:
            raise WorkerError(f'no result within {limit:g} s; the node said last: {said}')
        if listener.state and listener.state != said:
            said = listener.state
            print(f'  depth_node: {said}', flush=True)
        for moment in listener.take():
            begin = begin or time.monotonic()
            report.add(moment)
            since = time.monotonic() - begin
            complete = moment.image is not None and moment.results.keys() >= _SHOWN
            if complete and since >= len(shown) * seconds / _PICTURES:
                shown.append(moment)
        time.sleep(0.1)
    return report, shown


def write_sheet(moments: list[Moment], out: Path) -> Path:
    """Image, true and metric depth and cloud of each moment, on one sheet; its path."""
    rows = [
        sheet_row(
            (
                moment.image,
                None if moment.depth is None else depth_picture(moment.depth),
                depth_picture(moment.results[plan.DEPTH_IMAGE]),
                _cloud(moment),
            ),
            f'{(moment.stamp - moments[0].stamp) / 1e9:.1f} s',
            tile_size=TILE,
        )
        for moment in moments
    ] or [sheet_row((None,) * len(TITLES), 'no metric depth came', tile_size=TILE)]
    path = out / 'world.png'
    write_picture(path, contact_sheet(rows, TITLES, tile_size=TILE))
    return path


def depth_picture(depth: Float32Array) -> UInt8Array:
    """(H, W, 3) uint8 RGB of inverse depth; black where unknown."""
    with np.errstate(divide='ignore'):
        inverse = np.reciprocal(depth)
    known = ~np.isnan(inverse)
    picture = colorize_disparity(
        np.where(known, inverse, 0).astype(np.float32),
        colormap=NodeSettings().colormap,
        low=1 / _FAR,
        high=1 / _NEAR,
    )
    picture[~known] = 0
    return picture


def _cloud(moment: Moment) -> UInt8Array | None:
    points = moment.results.get(plan.POINTS)
    if points is None or moment.image is None or points.shape != moment.image.shape:
        return None
    return render_cloud(points, moment.image, width=2 * TILE[0], height=2 * TILE[1], splat=3)
