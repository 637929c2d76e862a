"""Asking for the network for GPUs, and what it predicts; on a CPU it does the same arithmetic."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from preparation import SIZES, prepare_folder
from tiny import make_tiny_model

from lotus2_ros.errors import DeviceError, SettingsError
from lotus2_ros.model.inference.eight_bits import EightBitLinear
from lotus2_ros.model.inference.fast.attention import best_backend
from lotus2_ros.model.inference.fast.transformer import FastTransformer
from lotus2_ros.model.inference.quantization import EIGHT_BIT_FORMATS, FP8, INT8
from lotus2_ros.model.inference.transformer import InferenceTransformer
from lotus2_ros.model.prepared import manifest
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.runtime.acceleration import choose_acceleration
from lotus2_ros.runtime.device import PRECISIONS
from lotus2_ros.settings import ModelSettings

CPU, CUDA = torch.device('cpu'), torch.device('cuda', 0)
PICTURE = np.random.default_rng(0).integers(0, 256, (*SIZES[0], 3), dtype=np.uint8)
STEPS = (0, 4)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp('tiny') / 'model', max_side=64)


def load(model, **options):
    return Lotus2Predictor.from_pretrained(model, device='cpu', **options)


def outputs(predictor):
    results = [predictor.predict(PICTURE, sharpen_steps=steps) for steps in STEPS]
    return [values for result in results for values in (result.disparity, result.normals)]


def largest_differences(first, second):
    pairs = zip(outputs(first), outputs(second), strict=True)
    return [float(np.abs(a - b).max()) for a, b in pairs]


@pytest.fixture
def graphics_card(monkeypatch):
    """Answers of a GPU that may not be here, and of Triton's loader."""

    def found(capability, *, triton=True):
        monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda _device=None: capability)
        monkeypatch.setattr(torch.cuda, 'get_device_name', lambda _device=None: 'Some GPU')
        # None makes an import fail; any module makes it succeed.
        monkeypatch.setitem(sys.modules, 'triton', sys if triton else None)

    return found


@pytest.mark.parametrize(
    ('capability', 'eight_bits', 'expected'),
    [
        ((7, 5), None, 'compute capability 7.5, it needs 8.0'),
        ((8, 0), None, ''),
        ((8, 6), FP8, 'compute capability 8.6, products in fp8 need 8.9'),
        ((8, 9), FP8, ''),
        ((9, 0), FP8, ''),
        ((7, 5), INT8, 'compute capability 7.5, it needs 8.0'),
        ((8, 0), INT8, ''),
        ((8, 7), INT8, ''),
        ((12, 0), None, ''),
    ],
)
def test_gpus(graphics_card, capability, eight_bits, expected):
    graphics_card(capability)
    chosen, reason = choose_acceleration('auto', CUDA, eight_bits=eight_bits)
    assert chosen == (not expected)
    assert expected in reason
    if expected:
        with pytest.raises(DeviceError, match=f'acceleration is on, but cuda:0 .*{expected}'):
            choose_acceleration('on', CUDA, eight_bits=eight_bits)
    else:
        assert choose_acceleration('on', CUDA, eight_bits=eight_bits) == (True, '')
    assert not choose_acceleration('off', CUDA, eight_bits=eight_bits)[0]


def test_a_gpu_without_triton(graphics_card):
    graphics_card((9, 0), triton=False)
    assert not choose_acceleration('auto', CUDA, eight_bits=None)[0]
    with pytest.raises(DeviceError, match='Triton cannot be imported'):
        choose_acceleration('on', CUDA, eight_bits=INT8)


def test_on_a_cpu_it_is_on_only_where_asked_for(folder):
    assert choose_acceleration('auto', CPU, eight_bits=None)[0] is False
    assert choose_acceleration('on', CPU, eight_bits=FP8) == (True, '')
    for asked, kind in ((None, InferenceTransformer), ('off', InferenceTransformer),
                        ('on', FastTransformer)):  # fmt: skip
        predictor = load(folder, acceleration=asked)
        for network in predictor._stages.model.tasks.values():
            assert type(network.core_transformer) is kind
            assert type(network.sharpener_transformer) is kind
        assert predictor.info()['acceleration'] == ('on' if kind is FastTransformer else 'off')


def test_an_unknown_word_is_refused(folder):
    with pytest.raises(SettingsError, match=r"acceleration is 'fast'; allowed: auto, off, on"):
        load(folder, acceleration='fast')


def test_float32_takes_a_kernel_that_can():
    assert best_backend(CUDA, torch.float32).name == 'EFFICIENT_ATTENTION'
    assert best_backend(CPU, torch.bfloat16) is None


def test_float32_predicts_the_same_but_for_rounding(folder):
    fast, plain = load(folder, acceleration='on'), load(folder)
    found = largest_differences(fast, plain)
    assert 0 < max(found[::2]) <= 1e-5
    assert max(found[1::2]) <= 1e-3  # short vectors of a random model turn far
    assert largest_differences(fast, fast) == [0] * 4


@pytest.mark.parametrize('layout', ['merged', 'shared'])
@pytest.mark.parametrize('precision', ['float32', 'bfloat16', 'fp8', 'int8'])
def test_prepared_folders(folder, tmp_path, precision, layout):
    prepare_folder(folder, tmp_path / 'made', precision=precision, layout=layout)
    fast, plain = load(tmp_path / 'made', acceleration='on'), load(tmp_path / 'made')
    for predictor, word in ((fast, 'on'), (plain, 'off')):
        info = predictor.info()
        assert (info['precision'], info['acceleration']) == (precision, word)
    core = fast._stages.model.tasks['depth'].core_transformer.plain
    assert isinstance(core.doubles[0].image.out, EightBitLinear) == (precision in EIGHT_BIT_FORMATS)
    errors = [
        float(np.abs(a - b).mean() / b.std())
        for a, b in zip(outputs(fast), outputs(plain), strict=True)
    ]
    limits = {'float32': 1e-5, 'bfloat16': 0.05, 'int8': 0.1, 'fp8': 0.3}
    assert 0 < max(errors) < limits[precision]


@pytest.mark.parametrize('precision', EIGHT_BIT_FORMATS)
def test_eight_bits_are_the_same_prepared_or_not(folder, tmp_path, precision):
    prepare_folder(folder, tmp_path / 'made', precision=precision)
    made = load(tmp_path / 'made', acceleration='on')
    told = {}
    here = load(
        folder, precision=precision, acceleration='on', progress=lambda s, f: told.update({s: f})
    )
    assert largest_differences(made, here) == [0] * 4
    assert here.info() | {'model': made.info()['model']} == made.info()
    assert here.info()['precision'] == precision
    assert told['depth sharpener'] == told['normals core'] == 1.0
    assert 'self-check' in told
    without = load(folder, precision=precision, acceleration='on', sharpener=False)
    assert np.array_equal(without.predict(PICTURE).disparity, outputs(here)[0])


@pytest.mark.parametrize(
    ('acceleration', 'reason'),
    [('off', 'acceleration is off'), ('auto', 'acceleration is auto and cpu is no CUDA GPU')],
)
@pytest.mark.parametrize('precision', EIGHT_BIT_FORMATS)
def test_eight_bits_need_acceleration_where_nothing_is_prepared(
    folder, precision, acceleration, reason
):
    pattern = f'precision is {precision}, .*{reason}; set acceleration to on'
    with pytest.raises(SettingsError, match=pattern):
        load(folder, precision=precision, acceleration=acceleration)


def test_words_of_a_setting_are_those_of_the_device_and_of_folders():
    choices = ModelSettings.parameters()['precision'].choices
    assert choices == ('auto', *PRECISIONS) == ('auto', *manifest.PRECISIONS)
