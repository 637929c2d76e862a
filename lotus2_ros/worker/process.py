"""Starting and ending the model's process: what the client does to its child."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from lotus2_ros.errors import WorkerError
from lotus2_ros.settings import CPU_THREAD_ENVIRONMENT
from lotus2_ros.worker.channel import Channel

_TERMINATE_GRACE_S = 1.0
_POLL_S = 0.005
_SEND_TIMEOUT_S = 1.0


class WorkerProcess:
    """One running worker and the client's end of its channel."""

    def __init__(self) -> None:
        """Spawn a fresh interpreter; never a fork, which CUDA does not survive.

        It gets a session of its own, so that Ctrl-C in a terminal reaches the node alone, which
        then ends it in order. However the node dies, the channel closes, and that ends it too.

        Raises:
            WorkerError: the process cannot be started.
        """
        if not sys.executable:
            raise WorkerError('the Python interpreter is unknown (sys.executable is empty)')
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    [
                        sys.executable,
                        '-m',
                        'lotus2_ros.worker.main',
                        '--fd',
                        str(theirs.fileno()),
                    ],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    # What libraries print must not mix with the output of the node's program.
                    stdout=2,
                    env=_environment(),
                    start_new_session=True,
                )
        except OSError as err:
            ours.close()
            msg = f'the worker process cannot be started: {err}'
            raise WorkerError(msg) from err
        self.channel = Channel(ours, send_timeout_s=_SEND_TIMEOUT_S)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL; harmless on a process that has ended."""
        self._process.kill()

    def wait(self, timeout_s: float) -> bool:
        """True if the process has ended within the time."""
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def end(self, grace_s: float = _TERMINATE_GRACE_S) -> None:
        """SIGTERM, then SIGKILL after the grace; close the channel.

        Blocks until the kernel has taken the process down.
        """
        self._process.terminate()
        if not self.wait(grace_s):
            self.kill()
        self._process.wait()
        self.channel.close()

    @property
    def exit_reason(self) -> str:
        """How the process ended: its exit code or signal, or that it still runs."""
        code = self._process.poll()
        if code is None:
            return 'still running'
        if code < 0:
            try:
                return f'killed by {signal.Signals(-code).name}'
            except ValueError:
                return f'killed by signal {-code}'
        return f'exited with code {code}'


def _environment() -> dict[str, str]:
    """This process's environment, such that the child imports what this process imports."""
    environment = dict(os.environ)
    for name in ('PYTHONSTARTUP', 'PYTHONINSPECT'):
        environment.pop(name, None)
    # An overlay or a source tree may be on sys.path by means the child does not share.
    environment['PYTHONPATH'] = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    # -m would put the working directory in front of all that.
    environment['PYTHONSAFEPATH'] = '1'
    for name, value in CPU_THREAD_ENVIRONMENT.items():
        environment.setdefault(name, value)
    return environment
