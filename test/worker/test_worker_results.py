"""One real worker with a real tiny model, shared by all tests of this module."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from recorder import Recorder, ignore, make_client, settle

from lotus2_ros.errors import ImageError, SettingsError, WorkerError
from lotus2_ros.settings import ModelSettings
from lotus2_ros.types import TASKS, EdgeSearch
from lotus2_ros.worker.client import WorkerClient, WorkerResult

Image = NDArray[np.uint8]


@pytest.fixture(scope='module')
def shared(tiny_settings: ModelSettings) -> Iterator[tuple[WorkerClient, Recorder]]:
    recorder = Recorder()
    client = make_client(tiny_settings, recorder)
    client.start()
    recorder.wait_state('ready')
    yield client, recorder
    client.stop()


@pytest.fixture
def worker(shared: tuple[WorkerClient, Recorder]) -> tuple[WorkerClient, Recorder]:
    client, recorder = shared
    client.configure(sharpen_rate_hz=0.0, sharpen_steps=2)
    recorder.forget()
    return shared


def one_result(client: WorkerClient, recorder: Recorder, image: Image, **options: object) -> None:
    count = len(recorder.core()) + len(recorder.errors)
    assert client.submit(image, **{'tasks': TASKS, **options})  # type: ignore[arg-type]
    recorder.wait(lambda: len(recorder.core()) + len(recorder.errors) > count)


def test_flying_pixels_are_those_that_the_predictor_finds(
    worker: tuple[WorkerClient, Recorder], tiny_model: Path, photo: Image
) -> None:
    from lotus2_ros.runtime import Lotus2Predictor

    client, recorder = worker
    search = EdgeSearch(0.05, 1.02, 45.0, 60.0, 60.0, photo.shape[1] / 2, photo.shape[0] / 2)
    predictor = Lotus2Predictor.from_pretrained(str(tiny_model), device='cpu', cpu_threads=1)
    expected = predictor.finish(predictor.run_core(photo), search=search).flying
    assert expected is not None
    assert 0 < expected.sum() < expected.size
    client.configure(sharpen_rate_hz=100.0, sharpen_steps=1)
    for wanted, tasks, found in ((search, TASKS, True), (search, ('normals',), False)):
        one_result(client, recorder, photo, tasks=tasks, search=wanted)
        flying = recorder.core()[-1].flying
        assert (flying is not None) == found
        if flying is not None:
            np.testing.assert_array_equal(flying, expected)
    one_result(client, recorder, photo, sharp_tasks=TASKS, search=search)
    recorder.wait(lambda: any(result.sharp for result in recorder.results))
    # A sharpened disparity has a scale of its own.
    assert [result.flying is None for result in recorder.results if result.sharp] == [True]
    one_result(client, recorder, photo)
    assert recorder.core()[-1].flying is None


@pytest.mark.parametrize('tasks', [TASKS, ('depth',), ('normals',)])
@pytest.mark.parametrize('output_size', [None, (40, 60)])
def test_a_result_has_the_bytes_of_the_predictor_in_process(
    worker: tuple[WorkerClient, Recorder],
    tiny_model: Path,
    photo: Image,
    tasks: tuple[str, ...],
    output_size: tuple[int, int] | None,
) -> None:
    from lotus2_ros.runtime import Lotus2Predictor

    client, recorder = worker
    predictor = Lotus2Predictor.from_pretrained(str(tiny_model), device='cpu', cpu_threads=1)
    expected = predictor.predict(photo, tasks=tasks, output_size=output_size)
    one_result(client, recorder, photo, tasks=tasks, output_size=output_size, context='mine')
    (result,) = recorder.results
    assert result.context == 'mine'
    assert not result.sharp
    for got, wanted in (
        (result.disparity, expected.disparity),
        (result.normals, expected.normals),
    ):
        assert (got is None) == (wanted is None)
        if got is not None and wanted is not None:
            assert got.shape == wanted.shape
            assert got.tobytes() == wanted.tobytes()


def test_timings_say_where_the_time_went(
    worker: tuple[WorkerClient, Recorder], photo: Image
) -> None:
    client, recorder = worker
    one_result(client, recorder, photo)
    timings = recorder.results[0].timings
    assert 0 < timings['worker'] <= timings['total'] < 30


def test_a_flood_of_frames_gets_the_newest_ones_done_and_every_frame_an_end(
    worker: tuple[WorkerClient, Recorder], photo: Image
) -> None:
    client, recorder = worker
    before = client.counters
    sent = []
    for number in range(150):
        image = np.full_like(photo, number)
        if client.submit(image, tasks=('depth',), context=number):
            sent.append(number)
        time.sleep(0.002)
    recorder.wait(lambda: len(recorder.outcomes()) == len(sent))
    assert recorder.outcomes() == sent
    done = [result.context for result in recorder.results]
    assert done == sorted(done)
    assert done[-1] == sent[-1], 'the newest frame is never the one that is dropped'
    assert {cause for _, cause in recorder.dropped} == {'replaced'}
    after = client.counters
    assert after.accepted - before.accepted == len(sent)
    assert after.replaced - before.replaced == len(recorder.dropped)
    assert after.results - before.results == len(done)
    assert after.refused - before.refused == 150 - len(sent)


def test_the_image_size_may_change_at_any_time(worker: tuple[WorkerClient, Recorder]) -> None:
    client, recorder = worker
    random = np.random.default_rng(0)
    shapes = [(64, 64), (200, 300), (33, 71), (300, 400), (480, 640), (64, 64)]
    for height, width in shapes * 2:
        image = random.integers(0, 255, (height, width, 3), np.uint8)
        while not client.submit(image, tasks=TASKS, context=(height, width)):
            time.sleep(0.01)
        time.sleep(0.03)
    recorder.wait(lambda: len(recorder.outcomes()) == 2 * len(shapes))
    assert not recorder.errors
    for result in recorder.results:
        assert result.disparity is not None
        assert result.normals is not None
        assert result.disparity.shape == result.context
        assert result.normals.shape == (*result.context, 3)
        np.testing.assert_allclose(np.linalg.norm(result.normals, axis=-1), 1.0, atol=1e-4)


def test_a_sharpened_result_comes_on_request_while_the_core_goes_on(
    worker: tuple[WorkerClient, Recorder], tiny_model: Path, photo: Image
) -> None:
    from lotus2_ros.runtime import Lotus2Predictor

    client, recorder = worker
    client.configure(sharpen_rate_hz=0.0, sharpen_steps=4)
    one_result(client, recorder, photo, sharp_tasks=('depth',), context=-1)
    assert not recorder.sharp(), 'no sharpening unasked'
    assert client.request_sharpen()
    number = 0
    while not recorder.sharp() and number < 500:
        client.submit(photo, tasks=('normals',), sharp_tasks=('depth',), context=number)
        number += 1
        time.sleep(0.02)
    settle(client)
    (sharp,) = recorder.sharp()
    assert sharp.sharpen_steps == 4
    assert sharp.normals is None
    expected = Lotus2Predictor.from_pretrained(
        str(tiny_model), device='cpu', cpu_threads=1
    ).predict(photo, tasks=('depth',), sharpen_steps=4)
    assert sharp.disparity is not None
    assert expected.disparity is not None
    assert sharp.disparity.tobytes() == expected.disparity.tobytes()
    order = [(result.sharp, result.context) for result in recorder.results]
    own_core, own_sharp = order.index((False, sharp.context)), order.index((True, sharp.context))
    assert own_sharp - own_core > 1, 'core results come between a core result and its sharpening'


def test_sharpening_by_rate_keeps_its_rate(
    worker: tuple[WorkerClient, Recorder], photo: Image
) -> None:
    client, recorder = worker
    client.configure(sharpen_rate_hz=4.0, sharpen_steps=1)
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        client.submit(photo, tasks=('depth',), sharp_tasks=('depth',), context=0)
        time.sleep(0.03)
    client.configure(sharpen_rate_hz=0.0, sharpen_steps=1)
    settle(client)
    assert 4 <= len(recorder.sharp()) <= 10
    assert len(recorder.core()) > 2 * len(recorder.sharp())


def test_a_frame_error_names_its_frame_and_the_worker_lives_on(
    worker: tuple[WorkerClient, Recorder], photo: Image
) -> None:
    client, recorder = worker
    pid, errors = client.pid, client.counters.errors
    one_result(client, recorder, np.zeros((1, 4000, 3), np.uint8), context='bad')
    ((context, message),) = recorder.errors
    assert context == 'bad'
    assert '4000' in message
    assert client.counters.errors == errors + 1
    one_result(client, recorder, photo, context='good')
    assert [result.context for result in recorder.results] == ['good']
    assert client.pid == pid
    assert client.state == 'ready'


def test_running_out_of_memory_costs_a_frame_and_not_the_worker(
    worker: tuple[WorkerClient, Recorder], photo: Image
) -> None:
    client, recorder = worker
    pid, errors = client.pid, client.counters.errors
    assert pid is not None
    large = np.zeros((1440, 1920, 3), np.uint8)
    one_result(client, recorder, large, max_side=64, context='small')
    unlimited = psutil.Process(pid).rlimit(psutil.RLIMIT_AS)
    size = psutil.Process(pid).memory_info().vms
    psutil.Process(pid).rlimit(psutil.RLIMIT_AS, (size + (20 << 20), unlimited[1]))
    try:
        one_result(client, recorder, large, max_side=1920, context='large')
    finally:
        psutil.Process(pid).rlimit(psutil.RLIMIT_AS, unlimited)
    ((context, message),) = recorder.errors
    assert context == 'large'
    assert 'memory' in message
    assert client.counters.errors == errors + 1
    one_result(client, recorder, photo, context='after')
    assert [result.context for result in recorder.results] == ['small', 'after']
    assert client.pid == pid


def test_an_exception_of_the_listener_is_logged_and_goes_no_further(
    worker: tuple[WorkerClient, Recorder], photo: Image, caplog: pytest.LogCaptureFixture
) -> None:
    client, recorder = worker

    def fail(result: WorkerResult) -> None:
        raise ZeroDivisionError('of the listener')

    recorder.during_result = fail
    with caplog.at_level(logging.ERROR):
        assert client.submit(photo, tasks=TASKS)
        deadline = time.monotonic() + 20
        while 'of the listener' not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.02)
    assert 'Traceback' in caplog.text
    recorder.during_result = ignore
    one_result(client, recorder, photo, context='after')
    assert recorder.results[-1].context == 'after'


def test_results_are_read_only_and_come_on_one_thread(
    worker: tuple[WorkerClient, Recorder], photo: Image
) -> None:
    client, recorder = worker
    writeable = []

    def look(result: WorkerResult) -> None:
        assert result.disparity is not None
        assert result.normals is not None
        writeable.extend([result.disparity.flags.writeable, result.normals.flags.writeable])

    recorder.during_result = look
    one_result(client, recorder, photo)
    assert writeable == [False, False]
    assert len(recorder.threads) == 1
    assert threading.get_ident() not in recorder.threads


def test_a_slow_listener_slows_the_worker_and_loses_nothing(
    worker: tuple[WorkerClient, Recorder], photo: Image
) -> None:
    client, recorder = worker

    def dawdle(result: WorkerResult) -> None:
        assert result.disparity is not None
        first = result.disparity.copy()
        time.sleep(0.1)
        assert (result.disparity == first).all(), 'a slot is never written while it is read'

    recorder.during_result = dawdle
    sent = []
    for number in range(40):
        image = np.full_like(photo, 6 * number)
        if client.submit(image, tasks=('depth',), context=number):
            sent.append(number)
        time.sleep(0.01)
    recorder.wait(lambda: len(recorder.outcomes()) == len(sent))
    assert recorder.results[-1].context == sent[-1]
    assert recorder.dropped


def test_a_frame_that_was_begun_may_be_given_up(
    worker: tuple[WorkerClient, Recorder], photo: Image
) -> None:
    client, recorder = worker
    for _ in range(20):
        view = client.begin_frame(*photo.shape[:2])
        assert view is not None
        assert view.shape == photo.shape
    one_result(client, recorder, photo)


def test_misuse_is_refused_with_a_reason(
    worker: tuple[WorkerClient, Recorder], photo: Image
) -> None:
    client, _ = worker
    with pytest.raises(WorkerError, match='begin_frame'):
        client.commit_frame(tasks=TASKS)
    with pytest.raises(SettingsError, match='colour'):
        client.submit(photo, tasks=('colour',))
    with pytest.raises(SettingsError, match='at least one'):
        client.submit(photo, tasks=())
    with pytest.raises(ImageError, match='uint8'):
        client.submit(photo.astype(np.float32), tasks=TASKS)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match='larger than the image'):
        client.submit(photo, tasks=TASKS, output_size=(1000, 1000))
    with pytest.raises(ImageError, match='0x5'):
        client.begin_frame(5, 0)
    with pytest.raises(WorkerError, match='cannot be started'):
        client.start()


def test_the_client_knows_about_its_worker(worker: tuple[WorkerClient, Recorder]) -> None:
    client, _ = worker
    assert client.info['device'] == 'cpu'
    assert client.info['gpu_memory_bytes'] == 0
    assert client.progress == ('ready', 1.0)
    assert client.restarts == 0
    assert client.reason == ''
