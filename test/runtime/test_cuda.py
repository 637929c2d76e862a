"""What only a GPU can show; the rest of the suite needs none."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from comparing import relative_error
from tiny import make_tiny_model

from lotus2_ros.errors import DeviceError, SelfCheckError
from lotus2_ros.model.inference.fast.linear import QuantizedLinear
from lotus2_ros.model.inference.fast.operations import quantize
from lotus2_ros.model.inference.fast.rows import QuantizedRows, Rows
from lotus2_ros.model.inference.quantization import EIGHT_BIT_FORMATS, INT8
from lotus2_ros.model.portion import Portion
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.runtime.opening import Wanted, open_model
from lotus2_ros.runtime.preprocess import working_sizes
from lotus2_ros.runtime.recorded_stages import RecordedStages
from lotus2_ros.runtime.recording import GraphMemory, Recording
from lotus2_ros.runtime.stages import Stages

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp('tiny'), seed=1, max_side=96)


def image(height=70, width=110, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_auto_takes_the_gpu_and_bfloat16(folder):
    info = Lotus2Predictor.from_pretrained(folder).info()
    assert info['device'].startswith('cuda:0 (')
    assert info['precision'] == 'bfloat16'
    assert info['gpu_memory_bytes'] > 0


def test_auto_accelerates_where_it_can(folder):
    pytest.importorskip('triton')
    capable = torch.cuda.get_device_capability() >= (8, 0)
    info = Lotus2Predictor.from_pretrained(folder, device='cuda').info()
    assert info['acceleration'] == ('on' if capable else 'off')


def needs_capability(precision):
    least = EIGHT_BIT_FORMATS[precision].capability if precision in EIGHT_BIT_FORMATS else (8, 0)
    if torch.cuda.get_device_capability() < least:
        pytest.skip(f'{precision} needs compute capability {least}')


@pytest.fixture
def accelerated(folder):
    """Makes predictors on the network for GPUs, which are checked when they are loaded."""
    pytest.importorskip('triton')

    def load(precision):
        needs_capability(precision)
        return Lotus2Predictor.from_pretrained(
            folder, device='cuda', precision=precision, acceleration='on'
        )

    return load


@pytest.mark.parametrize(
    ('precision', 'tolerance'),
    [('float32', 1e-4), ('bfloat16', 0.02), ('fp8', 0.05), ('int8', 0.05)],
)
@pytest.mark.parametrize('steps', [0, 4])
def test_accelerated_is_near_the_same_arithmetic_on_a_cpu(
    accelerated, folder, precision, tolerance, steps
):
    theirs = Lotus2Predictor.from_pretrained(
        folder, device='cpu', precision=precision, acceleration='on'
    )
    value, expected = (
        p.predict(image(), sharpen_steps=steps).disparity for p in (accelerated(precision), theirs)
    )
    assert np.linalg.norm(value - expected) / np.linalg.norm(expected) < tolerance


@pytest.mark.parametrize('steps', [0, 4])
def test_float32_agrees_with_the_cpu(folder, steps):
    on_gpu = Lotus2Predictor.from_pretrained(folder, device='cuda', precision='float32')
    on_cpu = Lotus2Predictor.from_pretrained(folder, device='cpu')
    value, expected = (p.predict(image(), sharpen_steps=steps) for p in (on_gpu, on_cpu))
    error = np.linalg.norm(value.disparity - expected.disparity)
    assert error / np.linalg.norm(expected.disparity) < 1e-4
    error = np.linalg.norm(value.normals - expected.normals)
    assert error / np.linalg.norm(expected.normals) < 1e-3


def test_bfloat16_is_near_float32(folder):
    coarse = Lotus2Predictor.from_pretrained(folder, device='cuda')
    fine = Lotus2Predictor.from_pretrained(folder, device='cpu')
    error = np.abs(coarse.predict(image()).disparity - fine.predict(image()).disparity).mean()
    assert 0 < error < 0.05


@pytest.mark.parametrize('precision', ['float32', 'bfloat16', 'fp8', 'int8'])
@pytest.mark.parametrize('size', [(70, 110), (200, 301)])
def test_recorded_stages_give_the_bytes_of_unrecorded_ones(accelerated, precision, size):
    predictor = accelerated(precision)
    recorded = predictor._stages
    assert isinstance(recorded, RecordedStages)
    plain = Stages(recorded.model, recorded.device, recorded.dtype)
    for seed in range(2):
        picture = image(*size, seed=seed)
        sizes = working_sizes(size, 96)
        states = [s.core([picture], sizes, predictor.tasks) for s in (recorded, plain)]
        for steps in (0, 3):
            moved = [
                s.sharpen(state, steps) if steps else state
                for s, state in zip((recorded, plain), states, strict=True)
            ]
            first, second = (
                s.decode(state, size).result()[0]
                for s, state in zip((recorded, plain), moved, strict=True)
            )
            assert first.disparity.tobytes() == second.disparity.tobytes()
            assert first.normals.tobytes() == second.normals.tobytes()
            assert ('recorded' in first.timings) == (seed == 0)


@pytest.mark.parametrize('precision', ['bfloat16', 'fp8', 'int8'])
def test_frames_and_steps_beside_them_give_the_bytes_that_each_gives_alone(accelerated, precision):
    predictor = accelerated(precision)
    pictures = [image(seed=seed) for seed in range(3)]
    alone = [predictor.predict(picture).disparity.tobytes() for picture in pictures]
    sharp = predictor.predict(pictures[0], sharpen_steps=10)
    job = predictor.sharpen(predictor.run_core(pictures[0]), 10, beside=True)
    while not job.done:
        if not job.poll() and not job.done:
            job.step()
        for picture, expected in zip(pictures, alone, strict=True):
            assert predictor.predict(picture).disparity.tobytes() == expected
        job.poll()
    found = job.finish()
    assert found.disparity.tobytes() == sharp.disparity.tobytes()
    assert found.normals.tobytes() == sharp.normals.tobytes()
    assert found.timings['sharpen'] > 0


@pytest.mark.parametrize('skipped', range(5))
@pytest.mark.parametrize('kind', EIGHT_BIT_FORMATS.values(), ids=EIGHT_BIT_FORMATS)
def test_products_in_8_bits_of_rows_that_begin_anywhere(skipped, kind):
    needs_capability(kind.name)
    generator = torch.Generator().manual_seed(skipped)
    values, weight = (torch.randn(n, 64, generator=generator).cuda() for n in (300, 48))
    bias = torch.randn(48, generator=generator).cuda().to(torch.bfloat16)
    rows = quantize(values, kind)
    part = QuantizedRows(*(None if some is None else some[skipped:] for some in rows))
    found = QuantizedLinear.rounded(weight, bias, kind)(Rows(None, part))
    exact = values[skipped:].double() @ weight.double().t() + bias.double()
    assert relative_error(found, exact) < 0.06


@pytest.mark.parametrize(('outputs', 'inputs'), [(21504, 3072), (3072, 15360), (3000, 3088)])
@pytest.mark.parametrize('count', [1, 64, 512, 1712])
def test_whole_numbers_give_the_bytes_that_they_give_on_a_cpu(count, outputs, inputs):
    """At FLUX's widths, and with every choice of tiles: their sums are exact."""
    needs_capability(INT8.name)
    pytest.importorskip('triton')
    generator = torch.Generator('cuda').manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, device='cuda')

    fast = QuantizedLinear.rounded(draw(outputs, inputs), draw(outputs).to(torch.bfloat16), INT8)
    values = draw(count, inputs)
    values[::2].abs_()
    rows = quantize(values, INT8)
    for found, expected in zip(rows, quantize(values.cpu(), INT8), strict=True):
        assert torch.equal(found.cpu(), expected)
    found = fast(Rows(None, rows))
    # As elsewhere, but that the products are taken here: float64 holds every sum.
    sums = rows.values.double() @ fast.weight.double().t()
    sums += rows.offsets.double()[:, None] * fast.sums.double()
    expected = sums.float() * rows.scales[:, None] * fast.scale + fast.bias.float()
    assert torch.equal(found, expected.to(torch.bfloat16))


def test_memory_may_be_freed_while_a_step_is_under_way(accelerated):
    predictor = accelerated('bfloat16')
    expected = predictor.predict(image()).disparity.tobytes()
    job = predictor.sharpen(predictor.run_core(image()), 4, beside=True)
    job.step()
    del job
    predictor.free_memory()
    assert predictor.predict(image()).disparity.tobytes() == expected


def test_forgotten_recordings_are_made_again(accelerated):
    predictor = accelerated('bfloat16')
    first = predictor.predict(image())
    predictor.free_memory()
    again = predictor.predict(image())
    assert 'recorded' in again.timings
    assert 'recorded' not in predictor.predict(image()).timings
    assert first.disparity.tobytes() == again.disparity.tobytes()


def test_a_recording_that_computes_something_else_is_refused():
    device = torch.device('cuda')
    calls = []

    def drifts(values):
        calls.append(1)
        return values * len(calls)

    with pytest.raises(SelfCheckError, match='recorded as a CUDA graph'):
        Recording('a test', drifts, [torch.ones(4, device=device)], GraphMemory(device))


@pytest.mark.parametrize('acceleration', ['off', 'on'])
@pytest.mark.parametrize('precision', ['float32', 'bfloat16', 'fp8', 'int8'])
def test_same_bytes_whatever_ran_before(folder, accelerated, precision, acceleration):
    if acceleration == 'on':
        predictor = accelerated(precision)
    elif precision in EIGHT_BIT_FORMATS:
        pytest.skip(f'{precision} needs acceleration')
    else:
        predictor = Lotus2Predictor.from_pretrained(
            folder, device='cuda', precision=precision, acceleration='off'
        )
    first = predictor.predict(image(), sharpen_steps=2)
    predictor.predict(image(64, 96, seed=1), sharpen_steps=1)
    again = predictor.predict(image(), sharpen_steps=2)
    assert first.disparity.tobytes() == again.disparity.tobytes()
    assert first.normals.tobytes() == again.normals.tobytes()


def test_settings_of_cudnn_are_left_as_they_were(folder):
    names = ('benchmark', 'deterministic', 'allow_tf32')
    before = [getattr(torch.backends.cudnn, name) for name in names]
    Lotus2Predictor.from_pretrained(folder, device='cuda').predict(image())
    assert [getattr(torch.backends.cudnn, name) for name in names] == before


def test_stage_times_come_from_the_stream(folder):
    timings = (
        Lotus2Predictor.from_pretrained(folder, device='cuda', acceleration='off')
        .predict(image(), sharpen_steps=1)
        .timings
    )
    assert set(timings) == {
        *('preprocess', 'encode', 'core', 'sharpen', 'decode', 'postprocess', 'total')
    }
    assert all(seconds > 0 for seconds in timings.values())


def test_gpu_that_is_not_there(folder):
    with pytest.raises(DeviceError, match='only'):
        Lotus2Predictor.from_pretrained(folder, device=f'cuda:{torch.cuda.device_count()}')


# Several devices


@pytest.mark.parametrize('acceleration', ['off', 'on'])
def test_portions_on_a_gpu_give_the_bytes_of_the_whole(folder, acceleration):
    """Two portions on one GPU, each with graphs, streams and an autoencoder of its own."""
    if acceleration == 'on':
        pytest.importorskip('triton')
    both = ('depth', 'normals')
    opened = [
        open_model(folder, None, Wanted(portion, 'cuda', 'bfloat16', acceleration, None))
        for portion in (Portion(both, ()), Portion((), both))
    ]
    split = Lotus2Predictor(opened, max_side=0, sharpener=True)
    whole = Lotus2Predictor.from_pretrained(
        folder, device='cuda', precision='bfloat16', acceleration=acceleration
    )
    assert split.sharpens_apart
    for seed, steps in ((0, 0), (1, 3), (2, 0), (0, 3)):
        found, expected = (p.predict(image(seed=seed), sharpen_steps=steps) for p in (split, whole))
        assert found.disparity.tobytes() == expected.disparity.tobytes()
        assert found.normals.tobytes() == expected.normals.tobytes()
    job = split.sharpen(split.run_core(image(seed=1)), 3)
    while not job.done:
        if not job.poll() and not job.done:  # what is polled may have been the last step
            job.step()
    job.decode()
    while job.poll():
        split.predict(image(seed=2))  # frames go on
    expected = whole.predict(image(seed=1), sharpen_steps=3)
    assert job.finish().disparity.tobytes() == expected.disparity.tobytes()
    assert job.finish().normals.tobytes() == expected.normals.tobytes()


@pytest.mark.parametrize(
    'places',
    [
        {'sharpener_device': 'cpu'},
        {'normals_device': 'cpu'},
        {'normals_device': 'cpu', 'sharpener_device': 'cpu'},
    ],
)
def test_a_gpu_and_the_cpu_share_a_model(folder, places):
    settings = {'precision': 'float32', 'acceleration': 'off'}
    split = Lotus2Predictor.from_pretrained(folder, device='cuda', **settings, **places)
    alone = Lotus2Predictor.from_pretrained(folder, device='cpu', **settings)
    for steps in (0, 2):
        found, expected = (p.predict(image(), sharpen_steps=steps) for p in (split, alone))
        np.testing.assert_allclose(found.disparity, expected.disparity, atol=1e-3)
        np.testing.assert_allclose(found.normals, expected.normals, atol=1e-2)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='needs two GPUs')
@pytest.mark.parametrize('acceleration', ['off', 'on'])
@pytest.mark.parametrize(
    'places',
    [
        {'device': 'cuda:1'},
        {'sharpener_device': 'cuda:1'},
        {'normals_device': 'cuda:1'},
        {'normals_device': 'cuda:1', 'sharpener_device': 'cuda:1'},
    ],
)
def test_two_gpus_give_the_bytes_of_one(folder, acceleration, places):
    if acceleration == 'on':
        pytest.importorskip('triton')
    settings = {'device': 'cuda:0', 'precision': 'bfloat16', 'acceleration': acceleration}
    split = Lotus2Predictor.from_pretrained(folder, **settings | places)
    whole = Lotus2Predictor.from_pretrained(folder, **settings)
    for seed, steps in ((0, 0), (1, 3), (2, 0), (0, 3)):
        found, expected = (p.predict(image(seed=seed), sharpen_steps=steps) for p in (split, whole))
        assert found.disparity.tobytes() == expected.disparity.tobytes()
        assert found.normals.tobytes() == expected.normals.tobytes()
    split.free_memory()


LOAD_WITH_NO_MEMORY = """
import sys, torch
from lotus2_ros.runtime import Lotus2Predictor
torch.cuda.set_per_process_memory_fraction(1e-6)
Lotus2Predictor.from_pretrained(sys.argv[1], device='cuda')
"""


def test_too_little_memory_to_load_says_so(folder):
    # A process of its own: in this one the allocator has room left over from other tests.
    done = subprocess.run(
        [sys.executable, '-c', LOAD_WITH_NO_MEMORY, str(folder)], capture_output=True, text=True
    )
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('lotus2_ros.errors.DeviceError')
    assert 'too little free memory to load' in last


def test_memory_comes_back(folder):
    # Work space of matrix products belongs to the process: 32 MB for each stream that had one.
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    predictor = Lotus2Predictor.from_pretrained(folder, device='cuda')
    predictor.predict(image(), sharpen_steps=1)
    free = predictor.free_memory
    del predictor
    free()
    del free
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() == before
