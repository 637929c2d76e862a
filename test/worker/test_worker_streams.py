"""Several streams of images share one real worker: each keeps its newest image, all take turns."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from recorder import Recorder, make_client, settle

from lotus2_ros.errors import WorkerError
from lotus2_ros.settings import ModelSettings
from lotus2_ros.worker.client import WorkerClient


@pytest.fixture(scope='module')
def shared(tiny_settings: ModelSettings) -> Iterator[tuple[WorkerClient, Recorder]]:
    recorder = Recorder()
    client = make_client(tiny_settings, recorder, streams=3)
    client.start()
    recorder.wait_state('ready')
    yield client, recorder
    client.stop()


@pytest.fixture
def worker(shared: tuple[WorkerClient, Recorder]) -> tuple[WorkerClient, Recorder]:
    settle(shared[0])
    shared[1].forget()
    return shared


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 255, (height, width, 3), dtype=np.uint8)


def test_an_image_replaces_older_ones_of_its_own_stream_only(
    worker: tuple[WorkerClient, Recorder],
) -> None:
    client, recorder = worker
    small, large = picture(48, 64), picture(96, 128)
    assert client.submit(small, tasks=('depth',), stream=0, context='first')
    recorder.wait(lambda: len(recorder.core()) == 1)
    pid = client.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        for stream, image, context in (
            (0, small, 'a1'), (0, small, 'a2'), (1, large, 'b1'), (2, small, 'c1'),
        ):  # fmt: skip
            assert client.submit(image, tasks=('depth',), stream=stream, context=context)
    finally:
        os.kill(pid, signal.SIGCONT)
    recorder.wait(lambda: len(recorder.outcomes()) == 5)
    done = {r.context: r.disparity for r in recorder.core()}
    assert {'a2', 'b1', 'c1'} <= set(done)
    assert {context for context, _ in recorder.dropped} <= {'a1'}
    assert done['b1'].shape == (96, 128)
    assert done['c1'].shape == (48, 64)


def test_a_fast_stream_does_not_keep_a_slow_one_waiting(
    worker: tuple[WorkerClient, Recorder],
) -> None:
    client, recorder = worker
    image = picture(48, 64)
    numbers = itertools.count()
    slow = 0
    while slow < 8:
        assert next(numbers) < 20_000, 'the slow stream is served at all'
        client.submit(image, tasks=('depth',), stream=0, context=('fast', 0))
        if sum(kept.context[0] == 'slow' for kept in recorder.core()) == slow:
            slow += client.submit(image, tasks=('depth',), stream=2, context=('slow', slow))
        time.sleep(0.001)
    settle(client)
    assert not [context for context, _ in recorder.dropped if context[0] == 'slow']
    order = [kept.context[0] for kept in recorder.core()]
    waits = [len(list(run)) for name, run in itertools.groupby(order) if name == 'fast']
    # One with the model when the slow one came, one that the turn went to meanwhile.
    assert max(waits[:-1]) <= 3


def test_a_stream_that_nobody_announced_is_refused(worker: tuple[WorkerClient, Recorder]) -> None:
    client, _ = worker
    with pytest.raises(WorkerError, match='stream 3 of a frame: there are 3'):
        client.submit(picture(48, 64), tasks=('depth',), stream=3)
