"""Runs the tests in their environments, one part after the other, and adds up the results.

All parts run, whatever fails. The last line is the sum: 'N passed, N failed[, N skipped]'.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PROCESSES = 2
"""That the tests are spread over, one thread each. Every test with ROS has a domain of its own."""


@dataclass(frozen=True)
class Part:
    """Some tests and the interpreter that runs them."""

    name: str
    python: str
    arguments: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Count:
    """Outcomes of a part. An error in a fixture or in collection counts as a failure."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        skipped = f', {self.skipped} skipped' if self.skipped else ''
        return f'{self.passed} passed, {self.failed} failed{skipped}'


def environment() -> dict[str, str]:
    """Environment of the tests: as found, but alone on the network.

    Tests of two machines on one network must not see each other's topics.
    """
    env = dict(os.environ)
    env.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    if env.get('AMENT_PREFIX_PATH'):
        # A sourced ROS brings pytest plugins written for the distribution's pytest, not for ours.
        env['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'
        env['PYTEST_PLUGINS'] = 'pytest_timeout,xdist.plugin,_hypothesis_pytestplugin'
    return env


def count(report: Path) -> Count:
    """Read pytest's JUnit report."""
    suite = next(ElementTree.parse(report).iter('testsuite'))  # noqa: S314 (our own file)
    failed = int(suite.get('failures', 0)) + int(suite.get('errors', 0))
    skipped = int(suite.get('skipped', 0))
    return Count(int(suite.get('tests', 0)) - failed - skipped, failed, skipped)


def run(part: Part, report: Path) -> Count:
    """Run one part; whatever keeps it from reporting counts as one failure."""
    command = [part.python, '-m', 'pytest', *part.arguments, f'--junit-xml={report}']
    print(f'\n== {part.name}: {" ".join(command[1:-1])}', flush=True)
    status = subprocess.run(
        command, cwd=ROOT, env=environment() | part.environment, check=False
    ).returncode
    try:
        result = count(report)
    except (OSError, ElementTree.ParseError, StopIteration):
        print(f'{part.name}: pytest ended with status {status} and left no report')
        return Count(failed=1)
    if status != 0 and not result.failed:
        # 5: no test was found; 2 to 4: pytest itself went wrong.
        print(f'{part.name}: pytest ended with status {status}')
        result.failed = 1
    return result


def main() -> int:
    """Run all parts; 0 only if every one of them passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--base', required=True, metavar='PYTHON', help='runs all but test/ros')
    parser.add_argument(
        '--ros',
        action='append',
        default=[],
        metavar='DISTRO=PYTHON',
        help='runs test/ros; all of it on the first, what may differ on the others',
    )
    given = parser.parse_args()
    common = ('-q', '--durations=8', '-n', str(PROCESSES), '--dist', 'loadfile')
    threads = {'OMP_NUM_THREADS': '1'}
    parts = [Part('base', given.base, ('test', '--ignore=test/ros', *common), threads)]
    for number, item in enumerate(given.ros):
        name, _, python = item.partition('=')
        # Further distributions run what can differ from the first: see test/ros/conftest.py.
        chosen = ('-m', 'not once') if number else ()
        parts.append(Part(name, python, ('test/ros', 'test/launch', *chosen, *common), threads))

    results = []
    with tempfile.TemporaryDirectory() as folder:
        for part in parts:
            start = time.monotonic()
            result = run(part, Path(folder) / f'{part.name}.xml')
            results.append((part, result, time.monotonic() - start))
    print()
    for part, result, seconds in results:
        print(f'{part.name}: {result} in {seconds:.0f} s')
    total = Count(
        sum(r.passed for _, r, _ in results),
        sum(r.failed for _, r, _ in results),
        sum(r.skipped for _, r, _ in results),
    )
    print(total, flush=True)
    return 1 if total.failed or not total.passed else 0


if __name__ == '__main__':
    sys.exit(main())
