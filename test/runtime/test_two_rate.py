"""The two-rate scheduler on a real tiny predictor, by the recorded order of events."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tiny import make_tiny_model

from lotus2_ros.errors import ImageError, SettingsError
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.runtime.scheduler import REQUEST_PERIOD_S, FrameJob, TwoRateScheduler
from lotus2_ros.runtime.stages import Stages, Step

BOTH = ('depth', 'normals')


@pytest.fixture(scope='module')
def predictor(tmp_path_factory):
    folder = make_tiny_model(tmp_path_factory.mktemp('tiny'), max_side=64)
    return Lotus2Predictor.from_pretrained(folder, device='cpu')


def image(seed):
    return np.random.default_rng(seed).integers(0, 256, (32, 48, 3), dtype=np.uint8)


def frame(sequence, *, tasks=('depth',), sharp_tasks=('depth',), **about):
    rgb = about.pop('rgb', image(sequence))
    return FrameJob(sequence, rgb, tasks, sharp_tasks, context=object(), **about)


class Bench:
    """A predictor that notes what it is asked for, a one-frame slot and a clock set by hand."""

    def __init__(self, predictor, *, beside=False):
        self.now_s = 0.0
        self.waiting = None
        self.events = []
        self.results = []
        self._predictor = predictor
        self.scheduler = TwoRateScheduler(
            self,
            take_frame=self._take,
            emit=self._emit,
            beside=beside,
            clock=lambda: self.now_s,
        )

    def run_core(self, rgb, tasks=None, max_side=None):
        self.events.append('core')
        return self._predictor.run_core(rgb, tasks, max_side)

    def finish(self, state, output_size=None, tasks=None, search=None):
        return self._predictor.finish(state, output_size, tasks, search)

    def sharpen(self, state, steps, tasks=None, *, beside=False):
        job = self._predictor.sharpen(state, steps, tasks, beside=beside)
        step = job.step

        def noted():
            self.events.append('step')
            step()

        job.step = noted
        return job

    def _take(self):
        taken, self.waiting = self.waiting, None
        return taken

    def _emit(self, job, prediction, sharp):
        self.events.append(f'{"sharp" if sharp else "out"} {job.sequence}')
        self.results.append((job, prediction, sharp))

    def run(self):
        while self.scheduler.run_once():
            pass


@pytest.fixture
def bench(predictor):
    return Bench(predictor)


def test_nothing_to_do(bench):
    assert bench.scheduler.run_once() is False


def test_core_only_unless_asked(bench):
    for sequence in (1, 2):
        bench.waiting = frame(sequence)
        bench.run()
    assert bench.events == ['core', 'out 1', 'core', 'out 2']


def test_waiting_frame_goes_between_two_steps(bench):
    bench.scheduler.configure(1.0, 4)
    bench.waiting = frame(1)
    bench.scheduler.run_once()
    bench.scheduler.run_once()
    bench.waiting = frame(2)
    bench.run()
    assert bench.events == [
        *('core', 'out 1', 'step'),
        *('core', 'out 2'),
        *('step', 'step', 'step', 'sharp 1'),
    ]


def test_newest_frame_wins(bench):
    bench.waiting = frame(1)
    bench.waiting = frame(2)
    bench.run()
    assert bench.events == ['core', 'out 2']


def test_frames_without_a_pause_do_not_starve_the_sharpener(bench):
    """One step between two frames at most, and no more steps than the rate needs."""
    bench.scheduler.configure(0.5, 4)  # a period of 2 s
    for sequence in range(100):
        bench.waiting = frame(sequence)
        bench.scheduler.run_once()
        while bench.waiting is not None:
            bench.scheduler.run_once()
        bench.now_s += 0.1
    sharp = [e for e in bench.events if e.startswith('sharp')]
    assert 4 <= len(sharp) <= 5
    between = [e for e in bench.events if e in {'core', 'step'} or e.startswith('sharp')]
    for first, second in itertools.pairwise(between):
        assert 'core' in (first, second), 'two pieces of sharpening while a frame waited'
    assert bench.events.count('core') == 100


def test_core_keeps_its_pace_when_frames_leave_time(bench):
    """Steps fill the pauses and none is put before a waiting frame."""
    bench.scheduler.configure(1.0, 4)
    for sequence in range(3):
        bench.waiting = frame(sequence)
        mark = len(bench.events)
        bench.scheduler.run_once()
        assert bench.events[mark] == 'core'
        bench.scheduler.run_once()
        bench.scheduler.run_once()
        bench.now_s += 0.1
    assert [e for e in bench.events if e.startswith('sharp')] == ['sharp 0']


def test_rate_counts_from_start_to_start(bench):
    bench.scheduler.configure(2.0, 1)
    for sequence, now_s in enumerate((0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2)):
        bench.now_s = now_s
        bench.waiting = frame(sequence)
        bench.run()
    assert [e for e in bench.events if e.startswith('sharp')] == ['sharp 0', 'sharp 3', 'sharp 6']


def test_request_sharpens_one_frame_that_wants_it(bench):
    bench.scheduler.configure(0.0, 2)
    bench.scheduler.request_sharpen()
    for sequence, sharp_tasks in enumerate(((), ('depth',), ('depth',))):
        bench.waiting = frame(sequence, sharp_tasks=sharp_tasks)
        bench.run()
    assert [e for e in bench.events if e.startswith('sharp')] == ['sharp 1']


def test_request_under_load_is_ready_in_its_time(bench):
    bench.scheduler.configure(0.0, 10)
    bench.scheduler.request_sharpen()
    while 'sharp 0' not in bench.events:
        bench.waiting = bench.waiting or frame(bench.events.count('core'))
        bench.scheduler.run_once()
        bench.now_s += 0.05
        assert bench.now_s < 2 * REQUEST_PERIOD_S


def test_sharp_result_is_that_of_its_own_frame(bench, predictor):
    bench.scheduler.configure(1.0, 3)
    first = frame(1, tasks=('normals',), sharp_tasks=('depth',), output_size=(20, 30))
    bench.waiting = first
    bench.scheduler.run_once()
    bench.scheduler.run_once()
    bench.waiting = frame(2)
    bench.run()
    core, _, sharp = bench.results
    assert (core[0], core[2]) == (first, False)
    assert core[1].disparity is None
    assert core[1].normals.shape == (20, 30, 3)
    assert sharp[2] is True
    assert sharp[0].context is first.context
    expected = predictor.predict(image(1), sharpen_steps=3, tasks=['depth'], output_size=(20, 30))
    assert sharp[1].sharpen_steps == 3
    assert sharp[1].normals is None
    np.testing.assert_array_equal(sharp[1].disparity, expected.disparity)


def test_core_results_are_the_same_with_and_without_sharpening(bench, predictor):
    bench.scheduler.configure(5.0, 2)
    for sequence in range(3):
        bench.waiting = frame(sequence, tasks=BOTH, sharp_tasks=BOTH)
        bench.scheduler.run_once()
        bench.scheduler.run_once()
    for job, prediction, sharp in bench.results:
        if not sharp:
            expected = predictor.predict(job.rgb)
            np.testing.assert_array_equal(prediction.disparity, expected.disparity)
            np.testing.assert_array_equal(prediction.normals, expected.normals)


def test_frame_that_nobody_wants_is_given_back_uncomputed(bench):
    bench.waiting = frame(1, tasks=())
    bench.run()
    assert bench.events == ['out 1']
    assert bench.results[0][1].disparity is None


def test_failing_frame_leaves_the_sharpening_alone(bench):
    bench.scheduler.configure(1.0, 2)
    bench.waiting = frame(1)
    bench.scheduler.run_once()
    bad = frame(2, rgb=np.zeros((8, 8, 3), np.uint8))
    bench.waiting = bad
    with pytest.raises(ImageError, match='too small'):
        bench.scheduler.run_once()
    assert bench.scheduler.failed.job is bad
    assert bench.scheduler.failed.sharp is False
    bench.run()
    assert bench.events[-1] == 'sharp 1'
    assert bench.scheduler.failed is None


def test_failing_step_names_its_frame(bench):
    bench.scheduler.configure(1.0, 2)
    job = frame(1)
    bench.waiting = job
    bench.scheduler.run_once()

    def broken():
        raise RuntimeError('device lost')

    bench.scheduler._sharp.job.step = broken
    with pytest.raises(RuntimeError, match='device lost'):
        bench.scheduler.run_once()
    assert bench.scheduler.failed == (job, True)
    assert bench.scheduler.sharpening is None
    bench.waiting = frame(2)
    bench.run()
    assert bench.events[-1] == 'out 2'


def test_cancel_drops_the_sharpening(bench):
    bench.scheduler.configure(1.0, 2)
    job = frame(1)
    bench.waiting = job
    bench.scheduler.run_once()
    assert bench.scheduler.cancel_sharpen() is job
    assert bench.scheduler.run_once() is False


@pytest.mark.parametrize(('rate_hz', 'steps'), [(-1.0, 4), (float('nan'), 4), (1.0, 0), (1.0, 11)])
def test_configure_refuses_what_is_out_of_range(bench, rate_hz, steps):
    with pytest.raises(SettingsError):
        bench.scheduler.configure(rate_hz, steps)


# Steps beside frames


class Beside(Stages):
    """Real stages whose steps end when the test says so."""

    runs_beside = True
    under_way = False

    def begin(self, name, latent, step, clock):
        assert not self.under_way, 'two steps at once'
        self.under_way = True
        return Step(super().begin(name, latent, step, clock).latent, lambda: not self.under_way)


@pytest.fixture
def beside(predictor, monkeypatch):
    stages = Beside(predictor._stages.model, predictor.device, predictor._stages.dtype)
    monkeypatch.setattr(predictor, '_stages', stages)
    return stages


@pytest.fixture
def bench_beside(predictor, beside):
    bench = Bench(predictor, beside=True)
    bench.scheduler.configure(1.0, 2)
    return bench


def test_frames_go_on_while_a_step_is_under_way(bench_beside, beside, predictor):
    bench = bench_beside
    expected = predictor.predict  # unsharpened and sharpened, as they would be alone
    for sequence in (1, 2, 3):
        bench.waiting = frame(sequence)
        bench.run()
    assert bench.scheduler.is_waiting
    beside.under_way = False
    bench.run()
    assert bench.scheduler.is_waiting
    beside.under_way = False
    bench.run()
    assert not bench.scheduler.is_waiting
    assert bench.events == [
        *('core', 'out 1', 'step'),
        *('core', 'out 2', 'core', 'out 3'),
        *('step', 'sharp 1'),
    ]
    for (job, found, _), steps in zip(bench.results, (0, 0, 0, 2), strict=True):
        beside.under_way = False
        alone = expected(job.rgb, sharpen_steps=steps, tasks=['depth'])
        np.testing.assert_array_equal(found.disparity, alone.disparity)


def test_a_late_step_begins_before_the_waiting_frame_and_no_second_one_does(bench_beside, beside):
    bench = bench_beside
    bench.waiting = frame(1)
    bench.scheduler.run_once()
    bench.now_s = 0.9
    bench.waiting = frame(2)
    for _ in range(2):
        bench.scheduler.run_once()
    bench.waiting = frame(3)
    bench.run()
    assert bench.events == ['core', 'out 1', 'step', 'core', 'out 2', 'core', 'out 3']


def test_a_step_that_fails_beside_frames_gives_up_its_sharpening_only(
    bench_beside, beside, monkeypatch
):
    def lost():
        raise RuntimeError('device lost')

    bench = bench_beside
    begin = beside.begin
    monkeypatch.setattr(beside, 'begin', lambda *about: Step(begin(*about).latent, lost))
    job = bench.waiting = frame(1)
    bench.scheduler.run_once()
    with pytest.raises(RuntimeError, match='device lost'):
        bench.run()
    assert bench.scheduler.failed == (job, True)
    assert bench.scheduler.sharpening is None
    assert not bench.scheduler.is_waiting
    bench.waiting = frame(2)
    bench.run()
    assert bench.events[-1] == 'out 2'


def test_a_job_takes_one_step_at_a_time(predictor, beside):
    job = predictor.sharpen(predictor.run_core(image(0), ['depth']), 2, beside=True)
    job.step()
    with pytest.raises(RuntimeError, match='under way'):
        job.step()
    assert (job.completed, job.done) == (0, False)
    beside.under_way = False
    assert not job.poll()
    assert job.completed == 1


def test_a_last_step_that_ends_unseen_is_no_error(predictor, beside):
    job = predictor.sharpen(predictor.run_core(image(0), ['depth']), 1, beside=True)
    job.step()
    beside.under_way = False
    assert not job.done  # as far as anyone has looked
    job.step()
    assert (job.completed, job.done) == (1, True)
    with pytest.raises(RuntimeError, match='all sharpening steps are taken'):
        job.step()


def test_beside_is_refused_where_nothing_runs_beside(predictor):
    state = predictor.run_core(image(0), ['depth'])
    with pytest.raises(SettingsError, match='GPU with acceleration'):
        predictor.sharpen(state, 2, beside=True)
