from __future__ import annotations

import json
import shutil

import pytest
import torch

from lotus2_ros.training.recipe.checkpoints import (
    Checkpoint,
    CheckpointFolder,
    adam_tensors,
    restore,
)
from lotus2_ros.training.recipe.errors import TrainingError


def checkpoint(step, metric=None):
    weights = {'a': torch.full((2, 3), float(step))}
    adam = {f'a.{moment}': torch.full((2, 3), step + 0.5) for moment in ('exp_avg', 'exp_avg_sq')}
    adam['a.step'] = torch.tensor(float(step))
    return Checkpoint(step, weights, adam, metric, {'stage': 'core'})


def test_what_is_saved_is_loaded(tmp_path):
    folder = CheckpointFolder(tmp_path / 'run', keep=2)
    assert folder.steps() == []
    folder.save(checkpoint(7, metric=0.25))
    loaded = folder.load(7)
    assert loaded.step == 7
    assert loaded.metric == 0.25
    assert loaded.about['stage'] == 'core'
    assert torch.equal(loaded.weights['a'], torch.full((2, 3), 7.0))
    assert torch.equal(loaded.adam['a.exp_avg'], torch.full((2, 3), 7.5))


def test_the_last_few_and_the_best_are_kept(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    for step, metric in ((1, 0.5), (2, 0.1), (3, None), (4, 0.3), (5, None)):
        folder.save(checkpoint(step, metric))
    assert folder.steps() == [2, 4, 5]
    assert folder.best() == 2
    folder.save(checkpoint(6, 0.05))
    assert folder.steps() == [5, 6]


def test_an_unfinished_checkpoint_is_none_and_is_cleared_away(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    folder.save(checkpoint(1))
    shutil.copytree(folder.path(1), tmp_path / 'step-00000002.partial')
    assert folder.steps() == [1]
    folder.save(checkpoint(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['step-00000001', 'step-00000003']


@pytest.mark.parametrize('name', ['trained.safetensors', 'adam.safetensors'])
def test_a_damaged_checkpoint_is_named(tmp_path, name):
    folder = CheckpointFolder(tmp_path, keep=2)
    path = folder.save(checkpoint(1))
    (path / name).write_bytes((path / name).read_bytes()[:20])
    with pytest.raises(TrainingError, match='step-00000001 is damaged'):
        folder.load(1)


def trained_adam(steps):
    draw = torch.Generator().manual_seed(0)
    value = torch.nn.Parameter(torch.randn(3, 4, generator=draw))
    adam = torch.optim.Adam([value], lr=0.1)
    for step in range(steps):
        go_on(value, adam, step)
    return value, adam


def go_on(value, adam, step):
    value.grad = torch.randn(3, 4, generator=torch.Generator().manual_seed(100 + step))
    adam.step()


def test_adam_goes_on_to_the_last_bit(tmp_path):
    straight, _ = trained_adam(9)
    value, adam = trained_adam(5)
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.save(Checkpoint(5, {'w': value}, adam_tensors(adam, {'w': value}), None, {}))
    resumed = torch.nn.Parameter(torch.zeros(3, 4))
    again = torch.optim.Adam([resumed], lr=0.1)
    restore(folder.load(5), again, {'w': resumed})
    for step in range(5, 9):
        go_on(resumed, again, step)
    assert torch.equal(resumed, straight)


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    value, adam = trained_adam(1)
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.save(Checkpoint(1, {'w': value}, adam_tensors(adam, {'w': value}), None, {}))
    with pytest.raises(TrainingError, match=r'of another training: v, w differ'):
        restore(folder.load(1), adam, {'v': value})
    other = torch.nn.Parameter(torch.zeros(5))
    with pytest.raises(TrainingError, match='another shape of w'):
        restore(folder.load(1), torch.optim.Adam([other]), {'w': other})


def test_the_description_is_plain_json(tmp_path):
    path = CheckpointFolder(tmp_path, keep=1).save(checkpoint(4))
    assert json.loads((path / 'state.json').read_text()) == {
        'stage': 'core',
        'step': 4,
        'metric': None,
    }
