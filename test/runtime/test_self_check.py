"""The golden check: what an accelerated network must not do goes no further than loading."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import torch
from preparation import prepare_folder
from tiny import make_tiny_model

from lotus2_ros.errors import SelfCheckError
from lotus2_ros.model.inference.fast.transformer import FastTransformer
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.runtime.self_check import (
    LAYER_TOLERANCES,
    TOLERANCES,
    check_model,
    golden_picture,
    relative_error,
)

EIGHT_BITS = ('fp8', 'int8')
PRECISIONS = ('float32', 'bfloat16', *EIGHT_BITS)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp('tiny') / 'model', max_side=64)


def load(folder, precision='fp8', tasks=('depth',), **options):
    predictor = Lotus2Predictor.from_pretrained(
        folder, tasks=tasks, device='cpu', precision=precision, acceleration='on', **options
    )
    return predictor._stages


def check(stages):
    return check_model(stages.model, stages.device, stages.dtype)


def refused(stages, stage):
    """The refusal names stage, figure, tolerance and remedy."""
    pattern = rf'self-check: the accelerated {stage} .* by \S+ of its norm on cpu; \S+ is allowed'
    with pytest.raises(SelfCheckError, match=f'{pattern}.*acceleration to off'):
        check(stages)


def overwrite(path, key, value):
    """Change the first number of a float32 tensor in a safetensors file, and nothing else."""
    content = bytearray(path.read_bytes())
    (length,) = struct.unpack_from('<Q', content)
    about = json.loads(content[8 : 8 + length])[key]
    assert about['dtype'] == 'F32'
    struct.pack_into('<f', content, 8 + length + about['data_offsets'][0], value)
    path.write_bytes(content)


def test_the_picture_is_the_same_everywhere():
    picture = golden_picture()
    assert (picture.shape, picture.dtype) == ((240, 320, 3), np.uint8)
    assert np.array_equal(picture, golden_picture())
    assert picture.std(axis=(0, 1)).min() > 20
    assert int(picture.astype(int).sum()) == 30473930


@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('seed', [0, 1])
def test_sound_networks_stay_far_below_the_tolerance(tmp_path, precision, seed):
    model = make_tiny_model(tmp_path / 'tiny', seed=seed, max_side=64)
    found = check(load(model, precision, ('depth', 'normals')))
    kinds = [f'{task} {kind}' for task in ('depth', 'normals') for kind in ('core', 'sharpener')]
    assert [agreement.stage for agreement in found] == kinds
    assert all(agreement.tolerance == TOLERANCES[precision] for agreement in found)
    assert all(0 < agreement.error < 0.4 * agreement.tolerance for agreement in found)


def test_nano_passes_in_every_precision():
    for precision in PRECISIONS:
        for agreement in check(load('nano', precision)):
            assert 0 < agreement.error < 0.4 * agreement.tolerance, precision


def test_tolerances_are_tighter_where_less_is_rounded():
    order = 'float32', 'bfloat16', 'int8', 'fp8'
    tolerances = [TOLERANCES[precision] for precision in order]
    assert tolerances == sorted(set(tolerances))
    assert tolerances[-1] < 0.2
    assert set(TOLERANCES) == set(LAYER_TOLERANCES) == set(PRECISIONS)


@pytest.mark.parametrize('precision', EIGHT_BITS)
def test_a_corrupted_scale_is_refused(folder, precision):
    stages = load(folder, precision)
    # Not of queries or keys, whose norm would take it back.
    layer = stages.model.tasks['depth'].core_transformer._doubles[0]._image.down
    layer.scale = layer.scale.clone()  # the plain network keeps the right one
    layer.scale[0, :16] *= 4
    refused(stages, 'depth core')


def test_a_swapped_weight_is_refused(folder):
    stages = load(folder, 'bfloat16')
    stream = stages.model.tasks['depth'].sharpener_transformer._doubles[0]
    stream._image.down, stream._text.down = stream._text.down, stream._image.down
    refused(stages, 'depth sharpener')


def test_one_wrong_number_in_float32_is_refused(folder):
    """A broken kernel may be off by little in few places."""
    stages = load(folder, 'float32')
    layer = stages.model.tasks['depth'].core_transformer._doubles[0]._image.down
    layer.weight = layer.weight.clone()
    layer.weight[0] *= 1.05
    refused(stages, 'depth core')


def test_a_network_of_another_stage_is_refused(folder):
    stages = load(folder, 'bfloat16', ('depth', 'normals'))
    wrong = FastTransformer(stages.model.tasks['normals'].core_transformer.plain)
    wrong._network = stages.model.tasks['depth'].core_transformer.plain
    stages.model.tasks['depth'].core_transformer = wrong
    refused(stages, 'depth core')


@pytest.mark.parametrize('precision', EIGHT_BITS)
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_what_is_not_finite_is_refused_while_loading(folder, tmp_path, value, precision):
    """Also where both networks agree about it."""
    prepare_folder(folder, tmp_path / 'made', precision=precision)
    weights = tmp_path / 'made/depth_core/weights.safetensors'
    overwrite(weights, 'doubles.0.image.down.weight_scale', value)
    with pytest.raises(SelfCheckError, match=r'depth core .* by nan of its norm'):
        load(tmp_path / 'made', None)


def test_a_plain_model_is_passed_over(folder):
    stages = Lotus2Predictor.from_pretrained(folder, device='cpu', acceleration='off')._stages
    assert check(stages) == []


def test_the_check_leaves_no_trace(folder):
    stages = load(folder)
    latent = torch.randn(1, 16, 6, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    core = stages.model.tasks['depth'].core_transformer
    before = core(latent, 1.0)
    check(stages)
    assert torch.equal(core(latent, 1.0), before)


def test_relative_error():
    assert relative_error(torch.tensor([3.0, 5.0]), torch.tensor([3.0, 4.0])) == pytest.approx(0.2)
    assert np.isnan(relative_error(torch.tensor([1.0]), torch.tensor([float('nan')])))


def test_wrong_sums_of_a_weight_are_named(folder):
    """They count where the numbers of a row lie to one side of zero."""
    stages = load(folder, 'int8')
    layer = stages.model.tasks['depth'].core_transformer._singles[1]._down
    layer.sums[:2] += 40
    with pytest.raises(SelfCheckError, match=r'accelerated depth core in singles\.1\.down differs'):
        check(stages)


@pytest.mark.parametrize('precision', PRECISIONS)
def test_one_wrong_layer_of_a_deep_network_is_named(precision):
    """It changes nano's latent by less than the tolerance of fp8."""
    stages = load('nano', precision)
    layer = stages.model.tasks['depth'].core_transformer._singles[5]._up
    if precision in EIGHT_BITS:
        layer.scale = layer.scale.clone()
        layer.scale[0, :8] *= 2
    else:
        layer.weight = layer.weight.clone()
        layer.weight[:8] *= 2
    with pytest.raises(SelfCheckError, match=r'accelerated depth core in singles\.5\.up differs'):
        check(stages)
