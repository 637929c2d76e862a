"""The lifecycle: legal at any time, answered at once, with nothing left over."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rig import Rig, image_of, info_of, picture, wait_until

SETTINGS = {
    'scale_mode': 'fixed',
    'cpu_threads': 1,
    'diagnostics_rate_hz': 20.0,
    'autostart': False,
}


@pytest.fixture
def rig(tiny_model: str) -> Iterator[Rig]:
    rig = Rig({**SETTINGS, 'model': tiny_model})
    try:
        yield rig
        assert rig.node_errors == []
    finally:
        rig.close()
    assert worker_processes() == []


def all_workers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [c for c in children if 'lotus2_ros.worker' in ' '.join(c.cmdline())]


_others: list[psutil.Process] = []


@pytest.fixture(autouse=True)
def _workers_of_other_tests() -> None:
    _others[:] = all_workers()


def worker_processes() -> list[psutil.Process]:
    """Workers started since the test began."""
    return [process for process in all_workers() if process not in _others]


def change_state(rig: Rig, transition: int) -> bool:
    """Over the service, as a lifecycle manager does."""
    client = rig.peer.create_client(ChangeState, '/depth_node/change_state')
    assert client.wait_for_service(10.0)
    request = ChangeState.Request(transition=Transition(id=transition))
    future = client.call_async(request)
    wait_until(future.done, 20.0, f'an answer to transition {transition}')
    if transition == Transition.TRANSITION_CONFIGURE and future.result().success:
        # It has not waited for the model, which takes longer than lifecycle managers wait.
        assert rig.node.session.client.state == 'loading'
    rig.peer.destroy_client(client)
    return bool(future.result().success)


def state(rig: Rig) -> str:
    client = rig.peer.create_client(GetState, '/depth_node/get_state')
    assert client.wait_for_service(10.0)
    future = client.call_async(GetState.Request())
    wait_until(future.done, 5.0, 'the state')
    rig.peer.destroy_client(client)
    label = str(future.result().current_state.label)
    assert label == rig.node.lifecycle
    return label


def test_a_round_trip_twice_in_one_process_leaves_nothing_behind(rig: Rig) -> None:
    sizes = []
    for _ in range(2):
        assert change_state(rig, Transition.TRANSITION_CONFIGURE)
        assert state(rig) == 'inactive'
        assert change_state(rig, Transition.TRANSITION_ACTIVATE), 'legal while loading'
        assert 'model' in rig.wait_state('LOADING', 10.0)['message']
        assert rig.set(nav_max_points=2000) == (True, ''), 'parameters answer while loading'
        rig.wait_ready()
        rig.send_info(info_of())
        rig.listen('depth/image', 'points')
        rig.frame()
        assert change_state(rig, Transition.TRANSITION_DEACTIVATE)
        assert state(rig) == 'inactive'
        assert 'inactive' in rig.wait_state('WAIT')['message']
        assert rig.peer.count_subscribers('/image') == 0
        rig.received.clear()
        assert change_state(rig, Transition.TRANSITION_ACTIVATE)
        rig.publisher('/image', type(image_of(picture())))
        wait_until(lambda: rig.peer.count_subscribers('/image') == 1)
        rig.frame()
        assert change_state(rig, Transition.TRANSITION_DEACTIVATE)
        assert change_state(rig, Transition.TRANSITION_CLEANUP)
        assert state(rig) == 'unconfigured'
        assert worker_processes() == []
        wait_until(lambda: rig.peer.count_publishers('/depth_node/points') == 0)
        process = psutil.Process()
        sizes.append((process.num_fds(), process.num_threads()))
    assert sizes[1][0] <= sizes[0][0] + 2
    assert sizes[1][1] <= sizes[0][1]
    assert change_state(rig, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert state(rig) == 'finalized'


def test_cleanup_and_shutdown_are_quick_while_loading(rig: Rig) -> None:
    assert change_state(rig, Transition.TRANSITION_CONFIGURE)
    wait_until(worker_processes, what='the worker process')
    loading = rig.node.session.client
    assert change_state(rig, Transition.TRANSITION_CLEANUP)
    assert loading.progress[0] != 'ready', 'the end has not waited for the model'
    assert worker_processes() == []
    assert change_state(rig, Transition.TRANSITION_CONFIGURE)
    assert change_state(rig, Transition.TRANSITION_ACTIVATE)
    assert change_state(rig, Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert state(rig) == 'finalized'
    assert worker_processes() == []


def test_a_transition_that_is_not_legal_is_refused(rig: Rig) -> None:
    assert not change_state(rig, Transition.TRANSITION_ACTIVATE)
    assert not change_state(rig, Transition.TRANSITION_CLEANUP)
    assert state(rig) == 'unconfigured'


def test_an_exception_in_a_transition_is_logged_and_leads_back_to_the_beginning(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from lotus2_ros.ros.session import Session

    def fail(_: Any) -> None:
        raise ZeroDivisionError('a mistake of ours')

    monkeypatch.setattr(Session, 'activate', fail)
    assert change_state(rig, Transition.TRANSITION_CONFIGURE)
    assert not change_state(rig, Transition.TRANSITION_ACTIVATE)
    assert state(rig) == 'unconfigured'
    assert worker_processes() == []
    log = capfd.readouterr().err
    assert 'ZeroDivisionError: a mistake of ours' in log
    assert 'Traceback' in log


def missing_folder(_: Path) -> dict[str, Any]:
    return {'model': '/no/such/folder'}


def not_a_model(folder: Path) -> dict[str, Any]:
    folder.joinpath('empty').mkdir()
    return {'model': str(folder / 'empty')}


def corrupt_weights(folder: Path) -> dict[str, Any]:
    path = folder / 'lotus-2_core_predictor_depth.safetensors'
    path.write_bytes(path.read_bytes()[:-100])
    return {'model': str(folder)}


def no_gpu(folder: Path) -> dict[str, Any]:
    return {'model': str(folder), 'device': 'cuda:7'}


def test_what_cannot_be_loaded_is_a_fault_with_its_reason(
    rig: Rig, tiny_model: str, tmp_path: Path
) -> None:
    cases = [
        (missing_folder, "'/no/such/folder'"),
        (not_a_model, 'no model folder'),
        (corrupt_weights, 'lotus-2_core_predictor_depth.safetensors'),
        (no_gpu, 'cuda:7'),
    ]
    for spoil, reason in cases:
        folder = tmp_path / spoil.__name__
        shutil.copytree(tiny_model, folder)
        assert rig.set(device='auto')[0]
        assert rig.set(**spoil(folder)) == (True, '')
        if change_state(rig, Transition.TRANSITION_CONFIGURE):
            change_state(rig, Transition.TRANSITION_ACTIVATE)
        assert reason in rig.wait_state('FAULT', 60.0)['message'], spoil.__name__
        wait_until(lambda: rig.node.lifecycle == 'unconfigured')
        assert state(rig) == 'unconfigured'
        assert worker_processes() == []
        assert rig.node.exit_code is None


def test_a_worker_killed_in_the_middle_of_a_frame_comes_back_by_itself(rig: Rig) -> None:
    assert change_state(rig, Transition.TRANSITION_CONFIGURE)
    assert change_state(rig, Transition.TRANSITION_ACTIVATE)
    rig.wait_ready()
    rig.send_info(info_of())
    rig.listen('depth/image')
    rig.frame()
    client = rig.node.session.client
    os.kill(client.pid, signal.SIGSTOP)  # so that the frame is surely under way
    stamp = rig.send(image_of(picture(seed=1)))
    wait_until(lambda: client.counters.accepted == 2)
    os.kill(client.pid, signal.SIGKILL)
    assert rig.wait_state('RECOVERING')['worker restarts']
    rig.wait_ready()
    assert rig.counts()['worker lost'] == 1
    rig.frame(picture(seed=2))
    assert stamp not in [m.header.stamp for m in rig.of('depth/image')]
    message, _, values = rig.status()
    assert values['worker restarts'] == '1'
    assert not message.startswith('RECOVERING')
    # And one that hangs in the middle of a frame does not hold up the end.
    os.kill(client.pid, signal.SIGSTOP)
    rig.send(image_of(picture(seed=3)))
    wait_until(lambda: client.counters.accepted == 4)
    assert change_state(rig, Transition.TRANSITION_DEACTIVATE)
    assert change_state(rig, Transition.TRANSITION_CLEANUP)
    assert state(rig) == 'unconfigured'
    assert worker_processes() == []
