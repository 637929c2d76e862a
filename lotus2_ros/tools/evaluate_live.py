"""`lotus2 evaluate --live`: a running depth node against the simulated robot's truth."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from tqdm import tqdm

from lotus2_ros.errors import Lotus2Error, SettingsError, WorkerError
from lotus2_ros.settings import NodeSettings
from lotus2_ros.tools.json_files import write_json
from lotus2_ros.tools.live_report import LiveReport, print_summary

_FIRST_S = 60.0
"""How long the first result is waited for."""


def add_live_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group('a running graph with the simulated robot (sim_robot)')
    group.add_argument(
        '--live', action='store_true', help='compare what depth_node publishes with the truth'
    )
    group.add_argument(
        '--seconds', type=float, default=30.0, help='how long to listen (%(default)s)'
    )
    group.add_argument('--node', default='/depth_node', help='name of the node (%(default)s)')
    group.add_argument('--image', default='/image', help='topic of its camera (%(default)s)')
    group.add_argument('--truth', default='/truth', help='namespace of the truth (%(default)s)')


def run_live(args: argparse.Namespace) -> int:
    """Listen, print tables, write live.json, live.csv and live.png into --out.

    Returns:
        0 if metric depth was compared, 1 if only relative results came.

    Raises:
        Lotus2Error: ROS is not there, or no result met its truth.
    """
    if args.seconds <= 0:
        raise SettingsError('--seconds must be above 0')
    try:
        from lotus2_ros.ros.truth_listener import TruthListener
    except ImportError as error:
        raise Lotus2Error(f'--live needs ROS 2: source an installation ({error})') from error
    domain = int(os.environ.get('ROS_DOMAIN_ID', '0'))
    listener = TruthListener(args.node, args.image, args.truth, domain=domain)
    report = LiveReport(NodeSettings())
    try:
        begin: float | None = None
        asked = time.monotonic()
        with tqdm(total=round(args.seconds), unit='s', desc='listening') as bar:
            while begin is None or time.monotonic() - begin < args.seconds:
                if listener.failure:
                    raise WorkerError(f'listening failed: {listener.failure}')
                for moment in listener.take():
                    begin = begin or time.monotonic()
                    report.add(moment)
                if begin is None and time.monotonic() - asked > _FIRST_S:
                    counts = ', '.join(f'{n} on {t}' for t, n in listener.counts.items())
                    msg = f'no result met its truth within {_FIRST_S:g} s; messages: {counts}'
                    raise WorkerError(msg)
                if begin is not None:
                    bar.update(min(bar.total, int(time.monotonic() - begin)) - bar.n)
                time.sleep(0.1)
    finally:
        listener.close()
    summary = report.summary()
    print_summary(summary)
    if args.out is not None:
        for path in write_live(args.out, report):
            print(f'wrote {path}')
    return 0 if 'abs_rel' in summary['figures'] else 1


def write_live(folder: Path, report: LiveReport) -> list[Path]:
    """All files of a run; their paths."""
    paths = report.write(folder)
    write_json(folder / 'live.json', {**report.summary(), 'rows': report.rows})
    return [*paths, folder / 'live.json']
