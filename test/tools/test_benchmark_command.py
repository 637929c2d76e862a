"""`lotus2 benchmark`: what it measures, compares and writes; never how fast anything is."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from preparation import prepare_folder
from tiny import JOINT_DIM, POOLED_DIM, TRANSFORMER, VAE

from lotus2_ros.model.lora import LORA_TARGETS
from lotus2_ros.model.tasks import TASKS
from lotus2_ros.tools import random_predictor
from lotus2_ros.tools.benchmark_runs import deviation, summarize
from lotus2_ros.tools.cli import main
from lotus2_ros.tools.released_baseline import BaselineShape, ReleasedBaseline
from lotus2_ros.types import Prediction

QUICK = ['--repeats', '2', '--warmup', '1', '--device', 'cpu']
STAGES = {'encode', 'core', 'decode', 'total'}
CPU = torch.device('cpu')


def baseline_of_tiny(**changes):
    config = {**TRANSFORMER, 'guidance_embeds': True}
    return BaselineShape.like(config, VAE, **{'tokens': 8, 'rank': 4, 'max_side': 64, **changes})


def report_of(command, path):
    assert main(['benchmark', *command, *QUICK, '--json', str(path)]) == 0
    return json.loads(path.read_text())


def test_every_stage_of_every_case(tiny_model, tmp_path, capsys):
    command = ['--model', str(tiny_model), '--sizes', '64x48', '48x32', '--steps', '0', '1']
    command += ['--task-sets', 'depth', 'depth+normals']
    report = report_of(command, tmp_path / 'figures.json')
    assert report['device'] == 'cpu'
    assert report['machine']
    assert report['torch'] == torch.__version__
    (mode,) = report['modes']
    assert mode['memory']['gib'] > 0
    cases = [(tuple(c['image']), tuple(c['tasks']), c['sharpen_steps']) for c in mode['cases']]
    tasks = ('depth',), ('depth', 'normals')
    assert cases == [(i, t, s) for i in ((64, 48), (48, 32)) for t in tasks for s in (0, 1)]
    for case in mode['cases']:
        stages = case['stages_ms']
        assert set(stages) >= STAGES | ({'sharpen'} if case['sharpen_steps'] else set())
        for figures in stages.values():
            assert 0 < figures['p50'] <= figures['p95']
        assert case['frames_per_second'] == pytest.approx(1e3 / stages['total']['p50'])
    text = capsys.readouterr().out
    assert '64x48 depth+normals, 1 steps' in text
    assert 'GiB' in text


def test_width_and_height_give_one_size(tiny_model, tmp_path):
    command = ['--model', str(tiny_model), '--width', '80', '--height', '32', '--tasks', 'depth']
    report = report_of(command, tmp_path / 'figures.json')
    (case,) = report['modes'][0]['cases']
    assert (case['image'], case['tasks']) == ([80, 32], ['depth'])


def test_modes_are_compared_with_the_first(tiny_model, tmp_path, capsys):
    """A prepared folder that is exact, and one in 8 bits that is not."""
    prepare_folder(tiny_model, tmp_path / 'exact', precision='float32')
    prepare_folder(tiny_model, tmp_path / 'small', precision='fp8')
    command = ['--model', str(tiny_model), '--width', '64', '--height', '48', '--steps', '0', '1']
    command += ['--photographs', '1', '--also', str(tmp_path / 'exact'), str(tmp_path / 'small')]
    command += [f'{tiny_model}@bfloat16']
    report = report_of(command, tmp_path / 'figures.json')
    first, exact, small, half = report['modes']
    assert [mode['precision'] for mode in report['modes']] == [
        *('float32', 'float32', 'fp8', 'bfloat16'),
    ]
    assert 'deviation' not in first
    assert exact['deviation'] == {
        steps: {'disparity': 0.0, 'normals_deg': 0.0} for steps in ('0', '1')
    }
    for mode in (small, half):
        assert all(value > 0 for d in mode['deviation'].values() for value in d.values())
    assert 'of its spread' in capsys.readouterr().out


def test_random_models_are_compared_in_every_precision(tmp_path, monkeypatch):
    monkeypatch.setattr(random_predictor, 'FLUX_TRANSFORMER', TRANSFORMER)
    monkeypatch.setattr(random_predictor, 'FLUX_VAE', VAE)
    command = ['--model', 'random-merged', '--also', 'random-merged@fp8', 'random-merged@int8']
    command += [
        '--width',
        '64',
        '--height',
        '48',
        '--precision',
        'bfloat16',
        '--acceleration',
        'on',
    ]
    report = report_of(command, tmp_path / 'figures.json')
    _, fp8, int8 = report['modes']
    assert [mode['precision'] for mode in report['modes']] == ['bfloat16', 'fp8', 'int8']
    errors = [mode['deviation']['0']['disparity'] for mode in (fp8, int8)]
    assert 0 < errors[1] < errors[0]


def test_baseline_and_plot(tiny_model, tmp_path, capsys):
    picture = tmp_path / 'speed.png'
    command = ['--model', str(tiny_model), '--width', '64', '--height', '48', '--steps', '0', '2']
    command += ['--baseline', 'model', '--plot', str(picture)]
    report = report_of(command, tmp_path / 'figures.json')
    mode, baseline = report['modes']
    assert {tuple(case['tasks']) for case in baseline['cases']} == {('depth',)}
    assert 'text' in baseline['cases'][0]['stages_ms']
    assert 'text' not in mode['cases'][0]['stages_ms']
    assert set(baseline['parameters']) == {'transformer', 'vae', 'clip', 't5'}
    assert "released code's costs" in capsys.readouterr().out
    image = cv2.imread(str(picture))
    assert image.std() > 10


def test_baseline_keeps_adapters_apart_and_samples():
    baseline = ReleasedBaseline(baseline_of_tiny(), CPU, torch.float32)
    names = {name for name, _ in baseline.transformer.named_parameters() if 'lora_A' in name}
    plain = {n for n, m in baseline.transformer.named_modules() if n.endswith(LORA_TARGETS)}
    assert {n.partition('.lora_A')[0] for n in names} == plain
    assert len(names) == 2 * len(plain)
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    seen = []
    for network in (baseline.clip, baseline.t5):
        network.register_forward_hook(lambda module, *_: seen.append(type(module).__name__))
    before, stages = baseline.predict(image, steps=0)
    assert before.shape == (48, 64)
    assert np.isfinite(before).all()
    assert set(stages) >= {'text', 'encode', 'core', 'sharpen', 'decode'}
    after, _ = baseline.predict(image, steps=0)
    assert not np.array_equal(before, after)  # the posterior is sampled anew
    assert sorted(seen) == ['CLIPTextModel', 'CLIPTextModel', 'T5EncoderModel', 'T5EncoderModel']


def test_baseline_takes_as_many_transformer_calls_as_the_released_code():
    baseline = ReleasedBaseline(baseline_of_tiny(), CPU, torch.bfloat16)
    calls = []
    baseline.transformer.register_forward_hook(lambda *_: calls.append(1))
    image = np.zeros((32, 32, 3), np.uint8)
    for steps in (0, 1, 10):
        calls.clear()
        baseline.predict(image, steps=steps)
        assert len(calls) == 1 + steps


def test_baseline_by_default_has_the_published_shapes():
    """On the meta device, so that nothing of it takes memory."""
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    shape = BaselineShape()
    with torch.device('meta'):
        clip = CLIPTextModel(CLIPTextConfig(**shape.clip))
        t5 = T5EncoderModel(T5Config(**shape.t5))
    assert sum(p.numel() for p in clip.parameters()) == 123_060_480
    assert sum(p.numel() for p in t5.parameters()) == 4_762_310_656
    assert (shape.clip_tokens, shape.t5_tokens) == (77, 512)
    assert shape.transformer['joint_attention_dim'] == shape.t5['d_model']
    assert shape.transformer['pooled_projection_dim'] == shape.clip['hidden_size']


def test_like_takes_the_widths_of_the_model():
    shape = baseline_of_tiny()
    assert (shape.t5['d_model'], shape.clip['hidden_size']) == (JOINT_DIM, POOLED_DIM)
    assert (shape.t5_tokens, shape.rank, shape.max_side) == (8, 4, 64)


def test_percentiles_are_those_of_the_runs():
    runs = [{'core': value / 1e3} for value in range(1, 102)]
    assert summarize(runs) == {'core': pytest.approx({'p50': 51.0, 'p95': 96.0})}


def test_deviation_is_in_spreads_and_degrees():
    exact = Prediction(np.array([[0.0, 1.0]], np.float32), np.array([[[0, 0, -1.0]]], np.float32))
    turned = np.array([[[0, np.sin(0.01), -np.cos(0.01)]]], np.float32)
    found = Prediction(exact.disparity + np.float32(0.05), turned)
    expected = {'disparity': 0.1, 'normals_deg': np.degrees(0.01)}
    assert deviation([found], [exact]) == pytest.approx(expected, rel=1e-4)
    assert deviation([exact], [exact]) == {'disparity': 0.0, 'normals_deg': 0.0}
    assert set(deviation([Prediction(exact.disparity, None)], [exact])) == {'disparity'}


@pytest.mark.parametrize(
    'options',
    [
        ['--repeats', '0'],
        ['--steps', '0', '11'],
        ['--width', '3'],
        ['--sizes', '640'],
        ['--tasks', 'depth', '--task-sets', 'normals'],
        ['--photographs', '99'],
    ],
)
def test_what_cannot_be_measured_is_refused(options, tiny_model, capsys):
    assert main(['benchmark', '--model', str(tiny_model), *options]) == 1
    assert options[-2 if '--task-sets' in options else 0] in capsys.readouterr().err


def test_baseline_of_a_prepared_folder_needs_the_unprepared(tiny_model, tmp_path, capsys):
    prepare_folder(tiny_model, tmp_path / 'made', precision='float32')
    command = ['benchmark', '--model', str(tmp_path / 'made'), '--width', '32', '--height', '32']
    assert main([*command, *QUICK, '--baseline', 'model']) == 1
    assert TASKS['depth'].core_file in capsys.readouterr().err
