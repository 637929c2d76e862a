"""Whole runs on a tiny base: curves, files, pictures, validation, and what stops a run."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from recipe_runs import DATA, SETTINGS, curve
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lotus2_ros.errors import Lotus2Error, SettingsError
from lotus2_ros.model.tasks import TASKS
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.runtime.preprocess import read_picture
from lotus2_ros.training.recipe.errors import TrainingError
from lotus2_ros.training.recipe.settings_files import load_settings
from lotus2_ros.training.recipe.trainer import Trainer

WATCHED = (
    *(f'validation.data={DATA}', 'validation.every=6', 'validation.count=2'),
    *('validation.sharpen_steps=2', 'pictures.every=6', 'pictures.count=2'),
)


def photograph():
    return np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def runs(tmp_path_factory, tiny_base):
    """Both stages of depth, one after the other."""
    folder = tmp_path_factory.mktemp('runs')
    shared = [f'base={tiny_base}', *SETTINGS, *WATCHED]
    for stage in ('core', 'sharpener'):
        core = [f'core={folder / "core" / "model"}'] if stage == 'sharpener' else []
        trainer = Trainer(stage, load_settings(changes=shared + core), folder / stage, shown=False)
        assert trainer.run()
    return folder


@pytest.mark.parametrize('stage', ['core', 'sharpener'])
def test_training_lowers_the_loss(runs, stage):
    losses = [row['loss'] for row in curve(runs / stage)]
    assert len(losses) == 12
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


def test_nano_learns_four_pictures_by_heart(tmp_path):
    """The bundled base at its full size, adapters from nothing."""
    chosen = load_settings(
        preset='nano',
        changes=[
            *('device=cpu', 'workers=0', 'steps=24', 'flip=false', 'optimiser.lr=2e-3'),
            *('batch.total=4', 'batch.per_device=4', 'pictures.every=0'),
            'data=[{kind: synthetic, size: [32, 48], count: 4}]',
        ],
    )
    assert Trainer('core', chosen, tmp_path / 'run', shown=False).run()
    losses = [row['loss'] for row in curve(tmp_path / 'run')]
    assert np.mean(losses[-4:]) < 0.5 * losses[0]
    predictor = Lotus2Predictor.from_pretrained(
        tmp_path / 'run' / 'model', base='nano', tasks=('depth',), device='cpu', sharpener=False
    )
    assert predictor.predict(photograph()).disparity.std() > 0


def test_the_result_has_the_published_names_and_predicts(runs, tiny_base):
    model = runs / 'sharpener' / 'model'
    assert sorted(path.name for path in model.iterdir()) == [
        'lotus-2_core_predictor_depth.safetensors',
        'lotus-2_detail_sharpener_depth.safetensors',
        'lotus-2_lcm_depth.safetensors',
        'lotus2_model.json',
        'prompt_embeds.safetensors',
    ]
    predictor = Lotus2Predictor.from_pretrained(
        model, base=tiny_base, tasks=('depth',), device='cpu'
    )
    result = predictor.predict(photograph(), sharpen_steps=3)
    assert result.disparity.shape == (32, 48)
    assert result.disparity.std() > 0


def test_the_core_alone_predicts_what_training_predicted(runs, tiny_base, settings, tmp_path):
    """The written files, merged by the predictor, against the adapters that were trained."""
    trainer = Trainer('core', settings(*WATCHED), runs / 'core', shown=False)  # resumed: finished
    assert trainer.step == 12
    image = torch.from_numpy(photograph()).permute(2, 0, 1)[None].float() / 127.5 - 1
    latent = trainer.stage.predictions(image, 1)['core']
    expected = read_picture(trainer.stage.base.decode(latent), TASKS['depth'], (32, 48))[0, 0]
    predictor = Lotus2Predictor.from_pretrained(
        runs / 'core' / 'model', base=tiny_base, tasks=('depth',), device='cpu', sharpener=False
    )
    found = torch.from_numpy(predictor.predict(photograph()).disparity)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_curves_are_in_tensorboard(runs):
    events = EventAccumulator(str(runs / 'sharpener' / 'tensorboard')).Reload()
    losses = [event.value for event in events.Scalars('train/loss')]
    assert losses == pytest.approx([row['loss'] for row in curve(runs / 'sharpener')])
    assert [event.step for event in events.Scalars('validation/sharpener abs_rel')] == [6, 12]
    assert [event.step for event in events.Images('samples')] == [6, 12]


def test_pictures_show_image_truth_core_and_sharpened(runs):
    for stage, columns in (('core', 3), ('sharpener', 4)):
        picture = cv2.imread(str(runs / stage / 'pictures' / 'step-00000012.png'))
        assert picture.shape == (2 * 32 + 4, columns * 48 + (columns - 1) * 4, 3)
        tiles = [picture[:32, i * 52 : i * 52 + 48] for i in range(columns)]
        assert all(tile.std() > 0 for tile in tiles)
        assert not np.array_equal(tiles[-1], tiles[-2])


def test_validation_is_logged_and_chooses_the_best(runs):
    rows = [json.loads(line) for line in (runs / 'core' / 'log.jsonl').read_text().splitlines()]
    found = {row['step']: row['validation'] for row in rows if 'validation' in row}
    assert sorted(found) == [6, 12]
    assert set(found[6]) == {'core abs_rel', 'core delta1'}
    state = json.loads((runs / 'core/checkpoints/step-00000012/state.json').read_text())
    assert state['metric'] == found[12]['core abs_rel']


def test_the_sharpener_leaves_the_core_alone(runs):
    names = ('lotus-2_core_predictor_depth.safetensors', 'lotus-2_lcm_depth.safetensors')
    for name in names:
        first, second = (runs / stage / 'model' / name for stage in ('core', 'sharpener'))
        assert first.read_bytes() == second.read_bytes()


def test_normals_are_trained_too(settings, tmp_path, tiny_base):
    chosen = settings('task=normals', 'steps=4', *WATCHED)
    trainer = Trainer('core', chosen, tmp_path / 'run', shown=False)
    assert trainer.run()
    predictor = Lotus2Predictor.from_pretrained(
        trainer.model_folder, base=tiny_base, tasks=('normals',), device='cpu', sharpener=False
    )
    normals = predictor.predict(photograph()).normals
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    rows = [json.loads(line) for line in (tmp_path / 'run/log.jsonl').read_text().splitlines()]
    assert 0 < rows[-1]['validation']['core mean_angle'] < 180


def test_schnells_kind_trains_both_stages_and_predicts(settings, tmp_path, tiny_schnell):
    chosen = (f'base={tiny_schnell}', 'steps=4')
    core = Trainer('core', settings(*chosen), tmp_path / 'core', shown=False)
    assert not core.stage.base.transformer.config.guidance_embeds
    assert core.run()
    second = settings(*chosen, f'core={core.model_folder}', 'flow.inference_times=true')
    sharpener = Trainer('sharpener', second, tmp_path / 'sharpener', shown=False)
    assert sharpener.run()
    predictor = Lotus2Predictor.from_pretrained(
        sharpener.model_folder, base=tiny_schnell, tasks=('depth',), device='cpu'
    )
    assert predictor.predict(photograph(), sharpen_steps=2).disparity.std() > 0


def test_a_rounded_base_trains_float32_masters(settings, tmp_path, tiny_schnell):
    chosen = (f'base={tiny_schnell}', 'precision=bfloat16', 'steps=8')
    core = Trainer('core', settings(*chosen), tmp_path / 'core', shown=False)
    assert core.stage.base.transformer.proj_out.weight.dtype == torch.bfloat16
    assert core.run()
    second = settings(*chosen, f'core={core.model_folder}')
    sharpener = Trainer('sharpener', second, tmp_path / 'sharpener', shown=False)
    assert sharpener.run()
    for trainer in (core, sharpener):
        assert {v.dtype for v in trainer.stage.parameters().values()} == {torch.float32}
        losses = [row['loss'] for row in curve(trainer.out)]
        assert np.mean(losses[-2:]) < np.mean(losses[:2])
    predictor = Lotus2Predictor.from_pretrained(
        sharpener.model_folder, base=tiny_schnell, tasks=('depth',), device='cpu'
    )
    assert predictor.predict(photograph(), sharpen_steps=2).disparity.std() > 0


def test_full_training_writes_a_model_that_is_its_own_base(settings, tmp_path, tiny_base):
    chosen = settings('adapter.full=true', 'steps=4', 'optimiser.lr=1e-3')
    trainer = Trainer('core', chosen, tmp_path / 'run', shown=False)
    assert trainer.run()
    losses = [row['loss'] for row in curve(tmp_path / 'run')]
    assert losses[-1] < losses[0]
    model = trainer.model_folder
    name = 'diffusion_pytorch_model.safetensors'
    before = load_file(tiny_base / 'transformer' / name)
    after = load_file(model / 'transformer' / name)
    assert before.keys() == after.keys()
    assert not torch.equal(before['proj_out.weight'], after['proj_out.weight'])
    predictor = Lotus2Predictor.from_pretrained(
        model, tasks=('depth',), device='cpu', sharpener=False
    )
    assert predictor.predict(photograph()).disparity.std() > 0
    sharpener = settings('steps=2', f'base={model}', f'core={model}')
    assert Trainer('sharpener', sharpener, tmp_path / 'second', shown=False).run()


def test_a_start_is_gone_on_from(settings, tmp_path, runs):
    start = runs / 'core' / 'model'
    fresh = Trainer('core', settings(), tmp_path / 'fresh', shown=False)
    tuned = Trainer('core', settings(f'start={start}'), tmp_path / 'tuned', shown=False)
    for trainer in (fresh, tuned):
        assert trainer.run()
    assert curve(tmp_path / 'tuned')[0]['loss'] < 0.8 * curve(tmp_path / 'fresh')[0]['loss']
    with pytest.raises(SettingsError, match=r'adapter.rank is 8.* has rank 4'):
        Trainer('core', settings(f'start={start}', 'adapter.rank=8'), tmp_path / 'x', shown=False)


def poison(trainer: Trainer, step: int) -> list[str]:
    """Put a NaN into one sample of a step, as a broken file would."""
    stream = trainer.data.stream
    batch = stream.batch(step * 2 + 1)
    batch.target[1, :, :8, :8] = float('nan')
    genuine = stream.batch
    stream.batch = lambda place: batch if place == step * 2 + 1 else genuine(place)
    trainer.data.batches = lambda first, _workers: (stream.batch(first + i) for i in range(99))
    return list(batch.names)


def test_a_loss_that_is_not_finite_stops_the_run_by_name(settings, tmp_path):
    trainer = Trainer('core', settings('checkpoints.every=2'), tmp_path / 'run', shown=False)
    names = poison(trainer, 5)
    with pytest.raises(TrainingError) as caught:
        trainer.run()
    assert 'step 6' in str(caught.value)
    assert names[1] in str(caught.value)
    assert 'not finite' in str(caught.value)
    # No weight has seen it, and the run can go on from before.
    assert all(value.isfinite().all() for value in trainer.stage.parameters().values())
    assert [row['step'] for row in curve(tmp_path / 'run')] == [1, 2, 3, 4, 5]
    assert Trainer('core', settings(), tmp_path / 'run', shown=False).step == 4


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (('optimiser.lr=1e-2',), 'optimiser.lr = 0.003, now 0.01'),
        (('seed=1',), 'seed = 0, now 1'),
        (('task=normals',), "task = 'depth', now 'normals'"),
    ],
)
def test_another_training_does_not_go_on_in_the_same_folder(runs, settings, changes, words):
    with pytest.raises(TrainingError) as caught:
        Trainer('core', settings(*WATCHED, *changes), runs / 'core', shown=False)
    assert words in str(caught.value)
    assert '--out' in str(caught.value)


@pytest.mark.parametrize(
    ('stage', 'changes', 'words'),
    [
        ('sharpener', (), 'core: the sharpener stage refines'),
        ('sharpener', ('core=nowhere', 'adapter.full=true'), 'adapter.full'),
        ('core', ('core=nano',), 'only the sharpener stage'),
        ('core', ('adapter.full=true', 'start=nano'), 'start'),
        ('core', ('data=[]',), 'no datasets'),
        ('core', ('batch.total=5',), 'batch.total 5 is no multiple'),
        ('core', ('base=nowhere',), 'nowhere is no folder'),
        ('sharpener', ('core=nowhere',), 'nowhere is no folder'),
        ('core', ('data=[{kind: nonsense}]',), 'nonsense'),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings, tmp_path: Path, stage, changes, words
):
    with pytest.raises(Lotus2Error) as caught:
        Trainer(stage, settings(*changes), tmp_path / 'run', shown=False)
    assert words in str(caught.value)
    assert not (tmp_path / 'run').exists()
