"""Child processes with a log each, which end when their with block does."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Self

from lotus2_ros.closing import Closing
from lotus2_ros.errors import WorkerError
from lotus2_ros.ros.transports import transport_environment
from lotus2_ros.tools.domains import reserve_domain

_PATIENCE_S = 15.0
"""How long a process may take to end in order after a signal."""

_TAIL_LINES = 40

_PR_SET_PDEATHSIG = 1
# Looked up here: a new process between fork and exec must do as little as it can.
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == 'linux' else None


class Process(Closing):
    """A process that starts with the with block and ends with it.

    Args:
        name: for messages.
        command: what to run.
        environment: its whole environment.
        log: file for its stdout and stderr; overwritten.
    """

    def __init__(
        self, name: str, command: list[str], environment: dict[str, str], log: Path
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open('wb') as output:
            self._process = subprocess.Popen(  # noqa: S603 (our own modules)
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches it through us, once, and in order.
                start_new_session=True,
                preexec_fn=partial(
                    _end_with_parent, os.getpid()
                ),  # safe here: no other thread runs yet
            )
        return self

    def close(self) -> None:
        """End it: by SIGINT, by SIGTERM, at last by SIGKILL."""
        process = self._process
        if process is None:
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            if process.poll() is None:
                process.send_signal(number)
                try:
                    process.wait(_PATIENCE_S)
                except subprocess.TimeoutExpired:
                    continue
        if process.poll() is None:
            process.kill()
            process.wait()

    def check(self) -> None:
        """Hold that it runs.

        Raises:
            WorkerError: it has ended; with the end of its log.
        """
        if self._process is not None and self._process.poll() is not None:
            raise WorkerError(
                f'{self.name} ended by itself with exit code {self._process.returncode}; '
                f'the end of {self.log}:\n{self.tail()}'
            )

    def tail(self) -> str:
        """The last lines of its log."""
        lines = self.log.read_text(encoding='utf-8', errors='replace').splitlines()
        return '\n'.join(lines[-_TAIL_LINES:])


def _end_with_parent(parent: int) -> None:
    """Runs in the new process: if its parent is killed, nothing may be left running."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # killed already, before it was asked for
        os._exit(1)


def package_environment() -> dict[str, str]:
    """This process's environment, with the package importable wherever it was started from."""
    environment = dict(os.environ)
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, environment.get('PYTHONPATH', '')]
    environment['PYTHONPATH'] = os.pathsep.join(path for path in paths if path)
    # Log lines as they are written, not in blocks.
    environment['PYTHONUNBUFFERED'] = '1'
    return environment


def demo_environment() -> dict[str, str]:
    """Environment of the demo's processes: a domain of their own, this machine only.

    Raises:
        Lotus2Error: all domains are taken.
    """
    environment = package_environment()
    environment['ROS_DOMAIN_ID'] = str(reserve_domain())
    environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    # Large messages get lost with the default transports; the user's own choice stands.
    return environment | transport_environment(environment)


def ros_command(module: str, **parameters: object) -> list[str]:
    """Command line of a node with parameters; empty ones are left to their default."""
    command = [sys.executable, '-m', module, '--ros-args']
    for name, value in parameters.items():
        if value != '':
            # Quoted, or YAML takes a folder named 1.5 for a number.
            command += ['-p', f'{name}:={json.dumps(value)}']
    return command
