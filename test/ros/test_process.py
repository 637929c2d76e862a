"""`depth_node` as a process: signals, exit codes, no torch, and no worker that outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.context import Context
from rclpy.node import Node
from rig import Spinner, image_of, picture, wait_until
from sensor_msgs.msg import Image

from lotus2_ros.tools.domains import reserve_domain

ROOT = Path(__file__).parents[2]


class Running:
    """One node process and a peer."""

    def __init__(self, model: str, *parameters: str, inside: tuple[str, ...] = ()) -> None:
        domain = reserve_domain()
        self.context = Context()
        self.context.init(domain_id=domain)
        self.peer = Node('peer', context=self.context)
        self.statuses: list[str] = []
        self.results: list[Image] = []
        self.peer.create_subscription(
            DiagnosticArray, '/diagnostics', lambda m: self.statuses.append(m.status[0].message), 10
        )
        topic = '/depth_node/depth/disparity'
        self.peer.create_subscription(Image, topic, self.results.append, 5)
        self.images = self.peer.create_publisher(Image, '/image', 5)
        self.spinner = Spinner(self.peer, self.context)
        options = [
            *(f'model:={model}', 'cpu_threads:=1', 'diagnostics_rate_hz:=20.0'),
            *('frozen_timeout_s:=0.0', *parameters),
        ]
        arguments = [item for option in options for item in ('-p', option)]
        self.process = subprocess.Popen(
            [*inside, sys.executable, '-m', 'lotus2_ros.ros.main', '--ros-args', *arguments],
            cwd=ROOT,
            env={**os.environ, 'ROS_DOMAIN_ID': str(domain)},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.node = psutil.Process(self.process.pid)

    def wait_state(self, state: str, timeout: float = 60.0) -> None:
        count = len(self.statuses)
        wait_until(
            lambda: any(s.startswith(state) for s in self.statuses[count:]),
            timeout,
            lambda: f'{state}; last: {self.statuses[-1:]}',
        )

    def worker(self) -> psutil.Process:
        def find() -> Any:
            return [c for c in self.node.children() if 'lotus2_ros.worker' in str(c.cmdline())]

        return wait_until(find, what='the worker')[0]

    def wait_result(self) -> None:
        count = len(self.results)

        def sent() -> bool:
            message = image_of(picture())
            message.header.stamp = self.peer.get_clock().now().to_msg()
            self.images.publish(message)
            time.sleep(0.05)
            return len(self.results) > count

        wait_until(sent, 30.0, 'a result')

    def send_impossible_parameter(self) -> None:
        """A type that does not exist: rclpy's own service may raise, and then never answers."""
        service = '/depth_node/set_parameters_atomically'
        client = self.peer.create_client(SetParametersAtomically, service)
        assert client.wait_for_service(20.0)
        bad = Parameter(name='max_range', value=ParameterValue(type=77))
        client.call_async(SetParametersAtomically.Request(parameters=[bad]))

    def end(self, timeout: float = 15.0) -> tuple[int, str]:
        """Exit code and log."""
        _, log = self.process.communicate(timeout=timeout)
        return self.process.returncode, log

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.spinner.close()
        self.peer.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def running(tiny_model: str, request: pytest.FixtureRequest) -> Iterator[Running]:
    running = Running(tiny_model, *getattr(request, 'param', ()))
    try:
        yield running
    finally:
        running.close()


def gone(process: psutil.Process, timeout: float) -> None:
    wait_until(
        lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE,
        timeout,
        'the worker has ended',
    )


def test_the_node_never_loads_torch_and_ends_cleanly_on_sigint(running: Running) -> None:
    running.wait_state('WAIT')
    running.wait_result()
    mapped = Path(f'/proc/{running.process.pid}/maps').read_text()
    assert 'rclpy' in mapped
    assert 'torch' not in mapped
    worker = running.worker()
    assert 'torch' in Path(f'/proc/{worker.pid}/maps').read_text()
    running.process.send_signal(signal.SIGINT)
    code, log = running.end()
    assert code == 0, log
    assert 'Traceback' not in log
    gone(worker, 0.1)


def test_sigterm_while_loading_ends_both_processes(running: Running) -> None:
    running.wait_state('LOADING')
    worker = running.worker()
    running.process.send_signal(signal.SIGTERM)
    code, log = running.end()
    assert code == 0, log
    assert 'Traceback' not in log
    gone(worker, 0.1)


def test_a_request_that_breaks_a_callback_does_not_end_the_node_and_a_kill_leaves_no_worker(
    running: Running,
) -> None:
    running.wait_state('WAIT')
    running.wait_result()
    running.send_impossible_parameter()
    running.wait_result()
    worker = running.worker()
    running.process.kill()
    running.end()
    gone(worker, 5.0)


@pytest.mark.parametrize('running', [('max_worker_restarts:=0',)], indirect=True)
def test_a_worker_that_dies_too_often_ends_the_node_with_an_error(running: Running) -> None:
    running.wait_state('WAIT')
    running.wait_result()
    running.worker().kill()
    code, log = running.end()
    assert code == 1
    assert 'giving up' in log


@pytest.mark.parametrize('running', [('no_such_parameter:=1',)], indirect=True)
def test_an_unknown_parameter_fails_the_start_and_is_named(running: Running) -> None:
    code, log = running.end()
    assert code == 1
    assert 'unknown parameter no_such_parameter' in log


SMALL_SHM = (
    'unshare',
    '-Urm',
    'sh',
    '-c',
    'mount -t tmpfs -o size=64k t /dev/shm && exec "$@"',
    '-',
)


@pytest.mark.skipif(
    subprocess.run([*SMALL_SHM, 'true'], capture_output=True, check=False).returncode != 0,
    reason='this machine does not let a user mount',
)
def test_a_dev_shm_that_is_too_small_is_told_and_survived(tiny_model: str) -> None:
    running = Running(tiny_model, 'scale_mode:=fixed', inside=SMALL_SHM)
    try:
        running.wait_state('WAIT')
        running.wait_result()
        running.wait_state('OK: running; /dev/shm has')
        running.process.send_signal(signal.SIGINT)
        code, log = running.end()
    finally:
        running.close()
    assert code == 0, log
    assert '1024 KiB are needed' in log
    assert '--shm-size' in log
