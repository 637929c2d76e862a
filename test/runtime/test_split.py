"""One model on several devices: here several portions of it on the CPU, each a device's own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from preparation import prepare_folder
from tiny import make_tiny_model

from lotus2_ros.errors import DeviceError, SettingsError
from lotus2_ros.model.portion import Portion
from lotus2_ros.model.tasks import TASKS
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.runtime.opening import Wanted, open_model
from lotus2_ros.runtime.placement import place
from lotus2_ros.runtime.scheduler import FrameJob, TwoRateScheduler
from lotus2_ros.runtime.stages import Decoding, Stages, Step
from lotus2_ros.settings import ModelSettings

BOTH = ('depth', 'normals')
SHARPENERS_APART = [Portion(BOTH, ()), Portion((), BOTH)]
NORMALS_APART = [Portion(('depth',), ('depth',)), Portion(('normals',), ('normals',))]
DEPTH_CORE_ALONE = [Portion(('depth',), ()), Portion(('normals',), BOTH)]
THREE = [Portion(('depth',), ()), Portion(('normals',), ()), Portion((), BOTH)]
SPLITS = pytest.mark.parametrize(
    'portions',
    [SHARPENERS_APART, NORMALS_APART, DEPTH_CORE_ALONE, THREE],
    ids=['sharpeners apart', 'normals apart', 'depth core alone', 'three'],
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp('tiny'), max_side=64)


@pytest.fixture(scope='module')
def prepared(folder, tmp_path_factory):
    made = tmp_path_factory.mktemp('made') / 'made'
    prepare_folder(folder, made, layout='shared')
    return made


@pytest.fixture(scope='module')
def whole(folder):
    return Lotus2Predictor.from_pretrained(folder, device='cpu')


def split(folder, portions, precision=None):
    opened = [
        open_model(folder, None, Wanted(portion, 'cpu', precision, None, None))
        for portion in portions
    ]
    return Lotus2Predictor(opened, max_side=0, sharpener=True)


def image(seed, height=40, width=56):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def assert_same(found, expected):
    assert found.sharpen_steps == expected.sharpen_steps
    for name in ('disparity', 'normals'):
        a, b = getattr(found, name), getattr(expected, name)
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)


@SPLITS
@pytest.mark.parametrize('steps', [0, 3])
def test_the_same_bytes_as_on_one_device(folder, whole, portions, steps):
    predictor = split(folder, portions)
    images = [image(1), image(2), image(3, 48, 32)]
    for tasks in (None, ['depth'], ['normals']):
        expected = whole.predict(images, sharpen_steps=steps, tasks=tasks)
        found = predictor.predict(images, sharpen_steps=steps, tasks=tasks)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)


@SPLITS
def test_a_prepared_folder_gives_each_device_its_portion(prepared, portions):
    expected = Lotus2Predictor.from_pretrained(prepared, device='cpu')
    predictor = split(prepared, portions)
    for steps in (0, 2):
        assert_same(
            predictor.predict(image(4, 48, 64), sharpen_steps=steps),
            expected.predict(image(4, 48, 64), sharpen_steps=steps),
        )


@SPLITS
def test_a_device_holds_nothing_but_its_portion(folder, portions):
    for portion, part in zip(portions, split(folder, portions)._stages.parts, strict=True):
        assert (part.tasks, part.sharpened_tasks) == tuple(portion)
        for name, network in part.model.tasks.items():
            assert (network.core_transformer is None) == (name not in portion.cores)
            assert (network.lcm is None) == (name not in portion.cores)
            assert (network.sharpener_transformer is None) == (name not in portion.sharpeners)


@SPLITS
def test_an_image_may_be_sharpened_step_by_step(folder, whole, portions):
    predictor = split(folder, portions)
    state = predictor.run_core(image(5))
    job = predictor.sharpen(state, 2)
    for _ in range(job.total):
        job.step()
    assert not job.poll()
    assert job.done
    assert_same(
        job.finish((30, 20)), whole.predict(image(5), sharpen_steps=2, output_size=(30, 20))
    )
    assert_same(predictor.finish(state), whole.predict(image(5)))


def test_devices_that_work_side_by_side_take_as_long_as_the_longest(folder):
    predictor = split(folder, THREE)
    core = predictor.predict(image(6)).timings
    assert {'encode', 'core', 'decode', 'encode on cpu', 'core on cpu', 'total'} <= set(core)
    first = sum(s for name, s in core.items() if ' on ' not in name and name != 'total')
    second = sum(s for name, s in core.items() if ' on ' in name)
    assert core['total'] == pytest.approx(max(first, second))
    sharp = predictor.predict(image(6), sharpen_steps=2).timings
    parts = sum(s for name, s in sharp.items() if name != 'total')
    assert sharp['sharpen on cpu'] < sharp['total'] < parts


def test_what_is_where_is_told(folder, whole):
    assert 'other_devices' not in whole.info()
    predictor = split(folder, THREE)
    about = predictor.info()
    assert about['device'] == 'cpu'
    assert about['tasks'] == ['depth', 'normals']
    assert about['other_devices'] == 'cpu: normals core; cpu: depth sharpener, normals sharpener'
    assert predictor.sharpens_apart
    assert not split(folder, DEPTH_CORE_ALONE).sharpens_apart


# Where it goes


def test_one_device_holds_everything():
    whole = Portion(BOTH, BOTH)
    for settings in ({}, {'normals_device': 'cpu'}, {'sharpener_device': 'cpu'}):
        assert place(BOTH, sharpener=True, device='cpu', **settings) == [('cpu', whole)]
    assert place(BOTH, sharpener=True, device=None) == [(None, whole)]
    assert place(['depth'], sharpener=False, device='cpu') == [('cpu', Portion(('depth',), ()))]


DEVICES = st.sampled_from(['cuda:0', 'cuda:1', 'cuda:2'])
EMPTY = st.sampled_from(['', None])


@given(device=DEVICES, normals=DEVICES | EMPTY, sharp=DEVICES | EMPTY, with_sharpener=st.booleans())
def test_every_stage_is_in_one_place_and_the_first_has_a_core(
    device, normals, sharp, with_sharpener
):
    # No GPU is needed to plan: only whether a device is there is taken for granted.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('lotus2_ros.runtime.placement.choose_device', lambda d, _: torch.device(d))
        places = place(
            BOTH,
            sharpener=with_sharpener,
            device=device,
            normals_device=normals,
            sharpener_device=sharp if with_sharpener else None,
        )
    where = {}
    for word, portion in places:
        for name in portion.cores:
            assert where.setdefault((name, 'core'), word) == word
        for name in portion.sharpeners:
            assert where.setdefault((name, 'sharpener'), word) == word
    expected = {('depth', 'core'): device, ('normals', 'core'): normals or device}
    if with_sharpener:
        expected |= {(name, 'sharpener'): sharp or expected[name, 'core'] for name in BOTH}
    assert where == expected
    assert len({word for word, _ in places}) == len(places)
    assert places[0][1].cores


@pytest.mark.parametrize('name', ['normals_device', 'sharpener_device'])
def test_a_device_that_is_not_there_is_refused(folder, name):
    with pytest.raises(DeviceError, match='cuda:99'):
        Lotus2Predictor.from_pretrained(folder, device='cpu', **{name: 'cuda:99'})


def test_a_device_for_what_is_not_loaded_is_refused(folder):
    cases = (
        ({'tasks': ('depth',)}, {}, 'normals_device'),
        ({}, {'sharpener': False}, 'sharpener_device'),
    )
    for common, more, name in cases:
        with pytest.raises(SettingsError, match=name):
            Lotus2Predictor.from_pretrained(folder, device='cpu', **{name: 'cpu'}, **common, **more)
    for values, name in (
        ({'tasks': ('depth',)}, 'normals_device'),
        ({'load_sharpener': False}, 'sharpener_device'),
    ):
        with pytest.raises(SettingsError, match=name):
            ModelSettings.from_mapping({**values, name: 'cuda:1'})


# Frames while a sharpener that is apart works


class Apart(Stages):
    """Real stages whose steps and decoding end when the test says so."""

    under_way = False

    def begin(self, name, latent, step, clock):
        self.under_way = True
        return Step(super().begin(name, latent, step, clock).latent, lambda: not self.under_way)

    def decode(self, states, size, search=None) -> Decoding:
        self.under_way = True
        begun = super().decode(states, size, search)
        return Held(begun, self)


@dataclasses.dataclass
class Held:
    begun: Decoding
    stages: Apart

    def ended(self):
        return not self.stages.under_way

    def result(self):
        assert self.ended(), 'the frames would wait'
        return self.begun.result()


def test_no_frame_waits_for_a_sharpener_that_is_apart(folder, whole, monkeypatch):
    predictor = split(folder, SHARPENERS_APART)
    stages = predictor._stages
    second = stages.parts[1]
    second.__class__ = Apart
    waiting, results = [], []

    def emit(job, prediction, sharp):
        results.append((job.sequence, sharp, prediction))

    scheduler = TwoRateScheduler(
        predictor, take_frame=lambda: waiting.pop(0) if waiting else None, emit=emit
    )
    scheduler.configure(1.0, 2)

    def run(*sequences):
        """Frames go through, however long the other device takes; then it ends what it does."""
        for sequence in sequences:
            waiting.append(FrameJob(sequence, image(sequence), ('depth',), ('depth',)))
            before = len(results)
            while scheduler.run_once():
                pass
            assert results[before][:2] == (sequence, False)
        assert scheduler.is_waiting
        second.under_way = False

    run(1, 2)  # the first step
    run(3, 4)  # the second one
    run(5, 6)  # decoding
    while scheduler.run_once():
        pass
    assert not scheduler.is_waiting
    assert [(n, sharp) for n, sharp, _ in results] == [
        *((n, False) for n in range(1, 7)),
        (1, True),
    ]
    expected = whole.predict(image(1), sharpen_steps=2, tasks=['depth'])
    np.testing.assert_array_equal(results[-1][2].disparity, expected.disparity)


def test_portions_know_their_tasks_in_the_tables_order():
    assert Portion(('normals',), ('depth',)).tasks == tuple(TASKS)
