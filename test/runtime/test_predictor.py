"""The predictor: what comes back, for which input, from which device, and always the same."""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel
from tiny import make_tiny_model

from lotus2_ros.errors import DeviceError, ImageError, ModelFileError, SettingsError
from lotus2_ros.runtime import Lotus2Predictor


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp('tiny'), seed=1, max_side=64)


@pytest.fixture(scope='module')
def predictor(folder):
    return Lotus2Predictor.from_pretrained(folder, device='cpu')


def image(height=32, width=48, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def same_bytes(a, b):
    return (
        a.disparity.tobytes() == b.disparity.tobytes()
        and a.normals.tobytes() == b.normals.tobytes()
    )


def test_prediction_has_the_promised_types_and_ranges(predictor):
    prediction = predictor.predict(image(50, 75))
    assert prediction.disparity.shape == (50, 75)
    assert prediction.disparity.dtype == np.float32
    assert prediction.disparity.min() >= 0.0
    assert prediction.disparity.max() <= 1.0
    assert prediction.normals.shape == (50, 75, 3)
    assert prediction.normals.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(prediction.normals, axis=2), 1.0, atol=1e-5)
    assert prediction.sharpen_steps == 0
    assert prediction.normals.flags.c_contiguous


@pytest.mark.parametrize('steps', [0, 3])
def test_same_image_gives_the_same_bytes_whatever_ran_before(predictor, steps):
    a, b = image(seed=1), image(64, 32, seed=2)
    first = predictor.predict(a, sharpen_steps=steps)
    predictor.predict(b, sharpen_steps=5)
    torch.rand(3)
    assert same_bytes(predictor.predict(a, sharpen_steps=steps), first)


def test_loading_and_predicting_leave_global_random_states_alone(folder):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    Lotus2Predictor.from_pretrained(folder, device='cpu').predict(image(), sharpen_steps=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    np.testing.assert_array_equal(np.random.get_state()[1], before[2])  # noqa: NPY002


def test_two_processes_agree_to_the_byte(folder, predictor):
    code = (
        'import sys, numpy as np\n'
        'from lotus2_ros.runtime import Lotus2Predictor\n'
        'p = Lotus2Predictor.from_pretrained(sys.argv[1], device="cpu", cpu_threads=1)\n'
        'i = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)\n'
        'sys.stdout.write(p.predict(i, sharpen_steps=2).disparity.tobytes().hex())\n'
    )
    ran = subprocess.run(
        [sys.executable, '-c', code, str(folder)], capture_output=True, text=True, check=True
    )
    assert ran.stdout == predictor.predict(image(), sharpen_steps=2).disparity.tobytes().hex()


def test_list_gives_what_single_images_give_in_order(predictor):
    images = [image(seed=1), image(64, 32, seed=2), image(seed=3), image(70, 40, seed=4)]
    together = predictor.predict(images, sharpen_steps=2)
    assert len(together) == 4
    for one, rgb in zip(together, images, strict=True):
        alone = predictor.predict(rgb, sharpen_steps=2)
        np.testing.assert_allclose(one.disparity, alone.disparity, atol=2e-5)
        assert (one.normals * alone.normals).sum(axis=2).min() > 0.9999


def test_empty_list(predictor):
    assert predictor.predict([]) == []


def test_only_the_tasks_asked_for(predictor):
    assert predictor.predict(image(), tasks=['depth']).normals is None
    assert predictor.predict(image(), tasks=['normals']).disparity is None
    both = predictor.predict(image())
    alone = predictor.predict(image(), tasks=['normals'])
    assert both.normals.tobytes() == alone.normals.tobytes()


def test_loading_one_task_needs_only_its_files(tmp_path):
    make_tiny_model(tmp_path, tasks=['normals'])
    predictor = Lotus2Predictor.from_pretrained(tmp_path, tasks=['normals'], device='cpu')
    assert predictor.tasks == ('normals',)
    assert predictor.predict(image()).disparity is None
    with pytest.raises(SettingsError, match='depth'):
        predictor.predict(image(), tasks=['depth'])
    with pytest.raises(ModelFileError, match='lotus-2_core_predictor_depth'):
        Lotus2Predictor.from_pretrained(tmp_path, device='cpu')


def test_without_sharpener(tmp_path):
    make_tiny_model(tmp_path, sharpener=False)
    predictor = Lotus2Predictor.from_pretrained(tmp_path, device='cpu', sharpener=False)
    assert predictor.info()['sharpener'] is False
    predictor.predict(image())
    with pytest.raises(SettingsError, match='sharpener is not loaded'):
        predictor.predict(image(), sharpen_steps=1)
    with pytest.raises(ModelFileError, match='lotus-2_detail_sharpener_depth'):
        Lotus2Predictor.from_pretrained(tmp_path, device='cpu')


def test_output_size(predictor):
    prediction = predictor.predict(image(), output_size=(20, 31))
    assert prediction.disparity.shape == (20, 31)
    np.testing.assert_allclose(np.linalg.norm(prediction.normals, axis=2), 1.0, atol=1e-5)


def test_max_side_changes_what_the_network_sees(predictor):
    def seen(**about):
        return predictor.run_core(image(96, 128), ['depth'], **about).latents['depth'].shape[2:]

    assert seen() == (6, 8)
    assert seen(max_side=0) == (6, 8)
    assert seen(max_side=128) == (12, 16)
    assert seen(max_side=48) == (4, 4)


def test_max_side_given_when_loading(folder):
    predictor = Lotus2Predictor.from_pretrained(folder, device='cpu', max_side=32)
    assert predictor.info()['max_side'] == 32
    assert predictor.run_core(image(64, 64)).latents['depth'].shape[2:] == (4, 4)
    assert predictor.run_core(image(64, 64), None, 0).latents['depth'].shape[2:] == (8, 8)


@pytest.mark.parametrize(
    ('rgb', 'match'),
    [
        ([[1, 2], [3, 4]], 'NumPy array'),
        (np.zeros((32, 32, 3), np.float32), 'uint8'),
        (np.zeros((32, 32), np.uint8), r'\(32, 32\)'),
        (np.zeros((32, 32, 4), np.uint8), r'\(32, 32, 4\)'),
        (np.zeros((0, 32, 3), np.uint8), 'empty'),
        (np.zeros((15, 200, 3), np.uint8), '15x200.*16 pixels'),
        (np.zeros((20, 200, 3), np.uint8), '6x64 once reduced to max_side 64'),
    ],
)
def test_bad_image(predictor, rgb, match):
    with pytest.raises(ImageError, match=match):
        predictor.predict([rgb] if isinstance(rgb, list) else rgb)
    assert predictor.predict(image()).disparity is not None


def test_smallest_image(predictor):
    assert predictor.predict(image(16, 16), sharpen_steps=1).disparity.shape == (16, 16)


@pytest.mark.parametrize('layout', ['read-only', 'strided', 'flipped', 'fortran'])
def test_memory_layout_of_the_image_does_not_matter(predictor, layout):
    plain = image()
    rgb = plain
    if layout == 'read-only':
        rgb = np.frombuffer(plain.tobytes(), np.uint8).reshape(plain.shape)
    elif layout == 'strided':
        rgb = np.repeat(plain, 2, axis=1)[:, ::2]
    elif layout == 'flipped':
        rgb = plain[::-1].copy()[::-1]
    else:
        rgb = np.asfortranarray(plain)
    assert same_bytes(predictor.predict(rgb), predictor.predict(plain))


def test_image_memory_may_be_reused_after_run_core(predictor):
    rgb = image()
    expected = predictor.predict(rgb)
    state = predictor.run_core(rgb)
    rgb[:] = 0
    assert same_bytes(predictor.finish(state), expected)


def test_job_gives_what_predict_gives(predictor):
    state = predictor.run_core(image())
    job = predictor.sharpen(state, 3)
    assert (job.total, job.completed, job.done) == (6, 0, False)
    with pytest.raises(RuntimeError, match='6 sharpening steps are left'):
        job.finish()
    while not job.done:
        predictor.predict(image(seed=9))
        job.step()
    with pytest.raises(RuntimeError, match='all sharpening steps'):
        job.step()
    assert same_bytes(job.finish(), predictor.predict(image(), sharpen_steps=3))
    assert same_bytes(predictor.finish(state), predictor.predict(image()))


def test_timings_name_every_stage(predictor):
    timings = predictor.predict(image(), sharpen_steps=1).timings
    stages = {'preprocess', 'encode', 'core', 'sharpen', 'decode', 'postprocess'}
    assert set(timings) == stages | {'total'}
    assert timings['total'] == pytest.approx(sum(timings[s] for s in stages))
    assert all(seconds > 0 for seconds in timings.values())


@pytest.mark.parametrize('steps', [-1, 11])
def test_sharpen_steps_out_of_range(predictor, steps):
    with pytest.raises(SettingsError, match='allowed: 0 to 10'):
        predictor.predict(image(), sharpen_steps=steps)


def test_info_is_plain_json(folder, predictor):
    info = json.loads(json.dumps(predictor.info()))
    assert info['model'] == 'tiny'
    assert info['device'] == 'cpu'
    assert info['precision'] == 'float32'
    assert info['tasks'] == ['depth', 'normals']
    assert info['max_side'] == 64
    whole = FluxTransformer2DModel.from_pretrained(folder, subfolder='transformer')
    assert info['parameters'] == whole.num_parameters()


def test_bfloat16_is_near_float32(folder, predictor):
    coarse = Lotus2Predictor.from_pretrained(folder, device='cpu', precision='bfloat16')
    assert coarse.info()['precision'] == 'bfloat16'
    rgb = image()
    value, expected = coarse.predict(rgb).disparity, predictor.predict(rgb).disparity
    assert value.dtype == np.float32
    error = np.abs(value - expected).mean()
    assert 0 < error < 0.05


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a GPU')
@pytest.mark.parametrize('device', ['cuda', 'cuda:1'])
def test_gpu_asked_for_and_not_there(folder, device):
    with pytest.raises(DeviceError, match='no GPU can be used'):
        Lotus2Predictor.from_pretrained(folder, device=device)


@pytest.mark.parametrize('device', ['gpu', 'cpu:x', 'meta'])
def test_unknown_device(folder, device):
    with pytest.raises(DeviceError, match='allowed: auto, cpu, cuda'):
        Lotus2Predictor.from_pretrained(folder, device=device)


def test_unknown_precision(folder):
    with pytest.raises(DeviceError, match='float16'):
        Lotus2Predictor.from_pretrained(folder, device='cpu', precision='float16')


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a GPU')
def test_large_model_does_not_slip_onto_the_cpu(folder, monkeypatch):
    monkeypatch.setattr('lotus2_ros.runtime.device.AUTO_CPU_PARAMETER_LIMIT', 1000)
    with pytest.raises(DeviceError, match="set device to 'cpu'"):
        Lotus2Predictor.from_pretrained(folder)
    Lotus2Predictor.from_pretrained(folder, device='cpu')


def test_unknown_or_no_task(folder):
    with pytest.raises(SettingsError, match="'sound'"):
        Lotus2Predictor.from_pretrained(folder, tasks=['sound'])
    with pytest.raises(SettingsError, match='tasks is empty'):
        Lotus2Predictor.from_pretrained(folder, tasks=[])
    with pytest.raises(SettingsError, match='list of names'):
        Lotus2Predictor.from_pretrained(folder, tasks='depth')


def test_progress_is_told_in_order(folder):
    told = []
    Lotus2Predictor.from_pretrained(folder, device='cpu', progress=lambda *now: told.append(now))
    stages = list(dict.fromkeys(stage for stage, _ in told))
    assert stages == [
        *('vae', 'prompt', 'depth core', 'depth sharpener'),
        *('normals core', 'normals sharpener'),
    ]
    assert all(0.0 <= fraction <= 1.0 for _, fraction in told)
    assert told[-1][1] == 1.0


def test_untouched_weights_are_shared_between_stages(predictor):
    networks = predictor._stages.model.tasks
    places = {
        transformer.singles[0].up.weight.data_ptr()
        for network in networks.values()
        for transformer in (network.core_transformer, network.sharpener_transformer)
    }
    assert len(places) == 1


def test_weights_go_with_the_predictor(folder):
    """At once, without waiting for the garbage collector: a GPU's memory may be needed next."""
    predictor = Lotus2Predictor.from_pretrained(folder, device='cpu')
    predictor.predict(image(), sharpen_steps=2)
    network = predictor._stages.model.tasks['depth']
    weights = [
        weakref.ref(weight)
        for transformer in (network.core_transformer, network.sharpener_transformer)
        for weight in transformer.parameters()
    ]
    del network
    gc.collect()
    gc.disable()
    try:
        del predictor
        left = [weight for weight in weights if weight() is not None]
    finally:
        gc.enable()
    assert weights
    assert left == []


def test_cpu_threads(folder):
    before = torch.get_num_threads()
    try:
        Lotus2Predictor.from_pretrained(folder, device='cpu', cpu_threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
