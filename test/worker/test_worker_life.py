"""Deaths, hangs and ends of real worker processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from recorder import Recorder, make_client, wait_gone

from lotus2_ros.errors import WorkerError
from lotus2_ros.settings import ModelSettings
from lotus2_ros.types import TASKS
from lotus2_ros.worker.channel import Channel
from lotus2_ros.worker.client import WorkerClient, WorkerResult, WorkerState
from lotus2_ros.worker.faults import NON_FINITE_LIMIT
from lotus2_ros.worker.messages import Retired

Image = NDArray[np.uint8]


def resources() -> tuple[int, int, int]:
    """Descriptors, threads and children of this process."""
    me = psutil.Process()
    return me.num_fds(), threading.active_count(), len(me.children(recursive=True))


def test_a_killed_or_hung_worker_is_replaced_and_keeps_its_options(
    tiny_settings: ModelSettings, photo: Image
) -> None:
    before = resources()
    recorder = Recorder()
    client = make_client(tiny_settings, recorder, frame_timeout_s=2.0)
    client.configure(sharpen_rate_hz=50.0, sharpen_steps=3)
    client.start()
    assert client.begin_frame(8, 8) is None, 'no frame is taken while loading'
    recorder.wait_state('ready')

    # Ctrl-C in a terminal is the node's business.
    first = client.pid
    assert first is not None
    os.kill(first, signal.SIGINT)

    # Killed in the middle of a frame: large enough to be still at work.
    large = np.zeros((960, 1280, 3), np.uint8)
    assert client.submit(large, tasks=TASKS, max_side=1280, context='killed')
    time.sleep(0.02)
    os.kill(first, signal.SIGKILL)
    recorder.wait_state('recovering')
    assert 'SIGKILL' in client.reason
    assert ('killed', 'worker lost') in recorder.dropped
    assert client.counters.lost == 1
    recorder.wait_state('ready')
    assert client.restarts == 1

    # Stopped: alive but mute.
    second = client.pid
    assert second is not None
    assert second != first
    os.kill(second, signal.SIGSTOP)
    assert client.submit(photo, tasks=TASKS, context='hung')
    started = time.monotonic()
    recorder.wait_state('recovering')
    assert 1.5 < time.monotonic() - started < 60.0
    assert 'hangs' in client.reason
    recorder.wait_state('ready')
    assert wait_gone(second)

    # The third works, and sharpens as was set before it was born.
    assert client.submit(photo, tasks=TASKS, sharp_tasks=('depth',), context='alive')
    recorder.wait(lambda: bool(recorder.sharp()))
    assert [result.context for result in recorder.results] == ['alive', 'alive']
    assert recorder.sharp()[0].sharpen_steps == 3
    client.stop()
    assert [state for state, _ in recorder.states] == [
        *('loading', 'ready', 'recovering', 'ready', 'recovering', 'ready', 'stopped'),
    ]
    assert resources() == before


def test_a_worker_killed_while_loading_is_replaced_within_a_budget(
    tiny_settings: ModelSettings,
) -> None:
    recorder = Recorder()
    client = make_client(tiny_settings, recorder, max_restarts=2)
    client.start()
    killed = set()
    deadline = time.monotonic() + 30
    while client.state != 'failed' and time.monotonic() < deadline:
        pid = client.pid
        if pid is not None and pid not in killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        time.sleep(0.01)
    assert len(killed) == 3
    assert 'while loading' in client.reason
    assert 'given up after 2 restarts' in client.reason
    with pytest.raises(WorkerError, match='failed'):
        client.start()
    client.stop()
    assert client.state == 'stopped'


def test_loading_that_takes_too_long_has_failed(tiny_settings: ModelSettings) -> None:
    recorder = Recorder()
    client = make_client(tiny_settings, recorder, load_timeout_s=0.3, max_restarts=1)
    client.start()
    recorder.wait_state('failed')
    assert 'loading took longer than 0.3 s' in client.reason
    client.stop()


def test_corrupt_weights_fail_at_once_and_name_the_file(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / 'model')
    broken = tmp_path / 'model' / 'lotus-2_core_predictor_depth.safetensors'
    broken.write_bytes(broken.read_bytes()[:1000])
    recorder = Recorder()
    client = make_client(ModelSettings(model=str(tmp_path / 'model'), device='cpu'), recorder)
    client.start()
    recorder.wait_state('failed')
    assert client.reason.startswith('ModelFileError')
    assert broken.name in client.reason
    assert client.restarts == 0
    assert client.pid is None
    client.stop()


def test_an_accelerated_network_that_is_refused_is_a_failed_load(
    tiny_model: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / 'model'
    shutil.copytree(tiny_model, folder)
    adapter = folder / 'lotus-2_core_predictor_depth.safetensors'
    tensors = load_file(adapter)
    key = next(k for k in tensors if k.endswith('attn.to_out.0.lora_B.weight'))
    tensors[key][0] = np.nan
    save_file(tensors, adapter)
    recorder = Recorder()
    settings = ModelSettings(model=str(folder), device='cpu', cpu_threads=1, acceleration='on')
    client = make_client(settings, recorder)
    client.start()
    recorder.wait_state('failed')
    assert client.reason.startswith('SelfCheckError')
    assert 'depth core' in client.reason
    assert 'set acceleration to off' in client.reason
    assert client.restarts == 0
    client.stop()


@pytest.fixture(scope='module')
def overflowing_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    """A model whose depth overflows: finite weights, which no loader can object to."""
    from safetensors.numpy import load_file, save_file

    folder = tmp_path_factory.mktemp('overflowing') / 'model'
    shutil.copytree(tiny_model, folder)
    lcm = folder / 'lotus-2_lcm_depth.safetensors'
    save_file({key: np.full_like(value, 1e30) for key, value in load_file(lcm).items()}, lcm)
    return ModelSettings(model=str(folder), device='cpu', cpu_threads=1)


@pytest.fixture(scope='module')
def overflowing(overflowing_model: ModelSettings) -> Iterator[tuple[WorkerClient, Recorder]]:
    recorder = Recorder()
    client = make_client(overflowing_model, recorder)
    client.start()
    recorder.wait_state('ready')
    yield client, recorder
    client.stop()


def overflow(client: WorkerClient, recorder: Recorder, photo: Image, times: int) -> None:
    for _ in range(times):
        count = len(recorder.errors)
        assert client.submit(photo, tasks=TASKS, context='overflow')
        recorder.wait(lambda count=count: len(recorder.errors) > count)
        assert recorder.errors[-1] == ('overflow', 'non-finite output')


def test_non_finite_output_is_a_frame_error(
    overflowing: tuple[WorkerClient, Recorder], photo: Image
) -> None:
    client, recorder = overflowing
    for _ in range(2):
        overflow(client, recorder, photo, NON_FINITE_LIMIT - 1)
        count = len(recorder.results)
        client.submit(photo, tasks=('normals',), context='fine')
        recorder.wait(lambda count=count: len(recorder.results) > count)
        assert recorder.results[-1].context == 'fine'
    assert client.restarts == 0


def test_non_finite_output_again_and_again_ends_the_worker_and_at_last_the_client(
    overflowing_model: ModelSettings, photo: Image
) -> None:
    recorder = Recorder()
    client = make_client(overflowing_model, recorder, max_restarts=1)
    client.start()
    for state in ('recovering', 'failed'):
        recorder.wait_state('ready')
        overflow(client, recorder, photo, NON_FINITE_LIMIT)
        recorder.wait_state(state)
        assert f'{NON_FINITE_LIMIT} results in a row were not finite' in client.reason
    assert 'given up after 1 restarts' in client.reason
    assert client.counters.errors == 2 * NON_FINITE_LIMIT
    assert not recorder.results
    client.stop()


def test_a_stuck_listener_does_not_keep_the_worker_alive(
    overflowing: tuple[WorkerClient, Recorder], photo: Image
) -> None:
    client, recorder = overflowing
    go_on, inside = threading.Event(), threading.Event()

    def stick(_: WorkerResult) -> None:
        inside.set()
        go_on.wait(30)

    recorder.during_result = stick
    pid = client.pid
    assert pid is not None
    client.submit(photo, tasks=('normals',))
    assert inside.wait(20)
    with pytest.raises(WorkerError, match='listener'):
        client.stop(timeout_s=0.5)
    assert wait_gone(pid)
    go_on.set()
    client.stop()
    assert client.state == 'stopped'


def test_start_and_stop_leave_nothing_behind(tiny_settings: ModelSettings) -> None:
    client = make_client(tiny_settings, Recorder())
    client.start()
    client.stop()
    before = resources()
    for cycle in range(20):
        client.start()
        time.sleep(0.02 * cycle)
        started = time.monotonic()
        client.stop()
        client.stop()
        assert time.monotonic() - started < 10.0
        assert client.state == 'stopped'
        assert client.pid is None
    assert resources() == before
    assert 'lotus2-ring' not in Path('/proc/self/maps').read_text()


def test_stop_is_prompt_while_waiting_to_restart(tiny_settings: ModelSettings) -> None:
    recorder = Recorder()
    client = make_client(tiny_settings, recorder, load_timeout_s=0.05, max_restarts=20)
    client.start()
    recorder.wait(lambda: len(recorder.states) >= 6)
    started = time.monotonic()
    client.stop()
    assert time.monotonic() - started < 10.0
    assert recorder.states[-1][0] == 'stopped'


def test_stop_from_a_listener_is_refused(tiny_settings: ModelSettings) -> None:
    refused: list[str] = []

    class Stopper(Recorder):
        def on_state(self, state: WorkerState, reason: str) -> None:
            super().on_state(state, reason)
            try:
                client.stop()
            except WorkerError as err:
                refused.append(str(err))

    stopper = Stopper()
    client = make_client(tiny_settings, stopper)
    client.start()
    client.stop()
    assert 'from a listener' in refused[0]


OWNER = """
    import sys, time
    from lotus2_ros.settings import ModelSettings
    from lotus2_ros.worker.client import WorkerClient

    class Listener:
        def on_state(self, state, reason):
            print(state, client.pid, 'torch' in sys.modules, flush=True)
        def on_result(self, result):
            print('result', client.pid, 'torch' in sys.modules, flush=True)
        def on_dropped(self, context, cause): pass
        def on_frame_error(self, context, message): pass

    client = WorkerClient(ModelSettings(model=sys.argv[1], device='cpu'), listener=Listener(),
                          load_timeout_s=60, frame_timeout_s=20, max_restarts=5)
    client.start()
    import numpy
    while True:
        client.submit(numpy.zeros((240, 320, 3), numpy.uint8), tasks=('depth', 'normals'))
        time.sleep(0.01)
"""


def test_the_worker_ends_with_a_client_that_was_killed_which_never_loaded_torch(
    tiny_model: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, '-c', textwrap.dedent(OWNER), str(tiny_model)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as owner:
        assert owner.stdout is not None
        for line in owner.stdout:
            word, pid, torch_loaded = line.split()
            assert torch_loaded == 'False'
            if word == 'result':
                break
        assert psutil.pid_exists(int(pid))
        owner.kill()
        assert wait_gone(int(pid), 2.0)


def test_the_process_refuses_what_is_no_protocol() -> None:
    for garbage in (b'\xff' * 100, b'GET / HTTP/1.1\r\n\r\n'):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            process = subprocess.Popen(
                [sys.executable, '-m', 'lotus2_ros.worker.main', '--fd', str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stderr=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[2],
            )
            theirs.close()
            ours.sendall(garbage)
            _, said = process.communicate(timeout=20)
        assert process.returncode == 2
        assert 'does not keep to the protocol' in said or 'do not keep' in said
        assert 'Traceback' not in said


def test_the_process_wants_to_be_told_what_to_load_first() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, '-m', 'lotus2_ros.worker.main', '--fd', str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
    channel = Channel(ours)
    channel.send(Retired(1))
    _, said = process.communicate(timeout=20)
    channel.close()
    assert process.returncode == 2
    assert 'before Load' in said
