"""The model's process: `python -m lotus2_ros.worker.main --fd N`, spawned by the client.

The main thread runs the model, the inbox thread receives. Nothing of ROS is imported here.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import time
from typing import NoReturn

from lotus2_ros.errors import Lotus2Error, WorkerError
from lotus2_ros.settings import ModelSettings
from lotus2_ros.worker.channel import Channel
from lotus2_ros.worker.inbox import EXIT_ORPHANED, EXIT_PROTOCOL, Inbox
from lotus2_ros.worker.messages import Load, LoadFailed, Message, Progress

EXIT_LOAD_FAILED = 3
EXIT_DEVICE = 4

_PROGRESS_PERIOD_S = 0.1
_LOGGER = logging.getLogger(__name__)


def main() -> NoReturn:
    """Serve the client at the other end of the given socket until it is gone."""
    parser = argparse.ArgumentParser(description='The model process of lotus2_ros (internal).')
    parser.add_argument('--fd', type=int, required=True, help='connected Unix stream socket')
    descriptor = parser.parse_args().fd
    _reset_signals()
    os.set_inheritable(descriptor, False)
    logging.basicConfig(level=logging.INFO, format='[lotus2 worker] %(levelname)s %(message)s')
    channel = Channel(socket.socket(fileno=descriptor))
    try:
        load, rest = _receive_load(channel)
        settings = ModelSettings.from_mapping(load.settings)
    except Lotus2Error as err:
        _LOGGER.error('the client does not keep to the protocol: %s', err)
        _exit(EXIT_PROTOCOL)
    inbox = Inbox(channel, rest)
    inbox.start()
    try:
        _serve(channel, inbox, settings)
    except WorkerError as err:
        _LOGGER.info('the client is gone: %s', err)
        _exit(EXIT_ORPHANED)


def _reset_signals() -> None:
    """Undo what the node's process may have passed on.

    Ctrl-C is for the node, which ends its worker in order. SIGTERM must work in the middle of a
    kernel too, when no Python handler would run, so the default action stays.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _receive_load(channel: Channel) -> tuple[Load, list[Message]]:
    while True:
        messages = channel.receive()
        if messages is None:
            _exit(EXIT_ORPHANED)
        if messages:
            first, *rest = messages
            if not isinstance(first, Load):
                raise WorkerError(f'{type(first).__name__} came before Load')
            return first, rest


def _serve(channel: Channel, inbox: Inbox, settings: ModelSettings) -> NoReturn:
    """Load the model and run it for ever.

    Raises:
        WorkerError: the client is gone.
    """
    reporter = _ProgressReporter(channel)
    reporter('importing torch', 0.0)
    # Imported only now, under the eyes of the inbox: it takes seconds, and the client may go.
    try:
        from lotus2_ros.worker.engine import Engine, StickyDeviceError
    except ImportError as err:
        _LOGGER.exception('the model code cannot be imported')
        channel.send(LoadFailed('ImportError', f'{err}; is torch installed for {sys.executable}?'))
        _exit(EXIT_LOAD_FAILED)
    try:
        engine = Engine.load(settings, channel, inbox, reporter)
    except WorkerError:
        raise
    except StickyDeviceError as err:
        _LOGGER.exception('the device failed while loading')
        channel.send(err.farewell)
        _exit(EXIT_DEVICE)
    except Lotus2Error as err:
        channel.send(LoadFailed(type(err).__name__, str(err)))
        _exit(EXIT_LOAD_FAILED)
    except Exception as err:
        _LOGGER.exception('unexpected error while loading')
        channel.send(LoadFailed(type(err).__name__, str(err)))
        _exit(EXIT_LOAD_FAILED)
    try:
        engine.run()
    except StickyDeviceError as err:
        _LOGGER.exception('the device failed')
        channel.send(err.farewell)
        _exit(EXIT_DEVICE)


class _ProgressReporter:
    """Passes on stages of loading, at most ten a second of the same stage."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stage = ''
        self._sent_s = 0.0

    def __call__(self, stage: str, fraction: float) -> None:
        now_s = time.monotonic()
        if stage == self._stage and now_s - self._sent_s < _PROGRESS_PERIOD_S:
            return
        self._stage, self._sent_s = stage, now_s
        self._channel.send(Progress(stage, fraction))


def _exit(code: int) -> NoReturn:
    """End at once: tearing down a broken device context in order may hang."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == '__main__':
    main()
