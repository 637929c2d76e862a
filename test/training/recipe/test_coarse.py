from __future__ import annotations

import shutil

import pytest
import torch
from recipe_runs import random_batch
from tiny import make_tiny_model

from lotus2_ros.runtime.preprocess import prepare_image
from lotus2_ros.runtime.stages import Stages
from lotus2_ros.training.recipe.build import make_base, make_stage
from lotus2_ros.training.recipe.coarse import picture_key


@pytest.fixture
def stage(settings, tiny_base, tmp_path):
    chosen = settings(f'core={tiny_base}')
    return make_stage('sharpener', make_base(chosen, torch.device('cpu')), chosen, tmp_path)


def test_latents_are_those_of_the_predictor(stage, tiny_base):
    from lotus2_ros.runtime import Lotus2Predictor

    draw = torch.Generator().manual_seed(0)
    rgb = torch.randint(256, (32, 48, 3), generator=draw, dtype=torch.uint8).numpy()
    predictor = Lotus2Predictor.from_pretrained(tiny_base, tasks=('depth',), device='cpu')
    stages: Stages = predictor._stages
    expected = stages.core([rgb], [(32, 48)], ['depth'])[0].latents['depth']
    image = prepare_image(rgb, [(32, 48)], torch.device('cpu'), torch.float32)
    torch.testing.assert_close(stage.coarse.of(image), expected, rtol=1e-4, atol=1e-4)


def test_a_latent_does_not_depend_on_its_neighbours(stage):
    batch = random_batch(3)
    together = stage.coarse.of(batch.image)
    for i in range(3):
        assert torch.equal(stage.coarse.compute(batch.image[i : i + 1])[0], together[i])


def test_a_known_picture_is_not_computed_again(stage):
    batch = random_batch(2)
    first = stage.coarse.of(batch.image)
    before = stage.base.transformer
    stage.base.transformer = None  # the core can no longer run
    assert torch.equal(stage.coarse.of(batch.image), first)
    with pytest.raises(AttributeError):
        stage.coarse.of(batch.image.flip(-1))  # mirrored, it is another picture
    stage.base.transformer = before


def test_the_next_run_finds_the_latents_and_another_core_does_not(
    stage, settings, tiny_base, tmp_path
):
    batch = random_batch(2)
    first = stage.coarse.of(batch.image)
    stage.flush()

    def again(core):
        chosen = settings(f'core={core}')
        return make_stage('sharpener', make_base(chosen, torch.device('cpu')), chosen, tmp_path)

    same = again(tiny_base)
    assert len(same.coarse._store) == 2
    assert torch.equal(same.coarse.of(batch.image), first)
    other = tmp_path / 'other'
    make_tiny_model(other, seed=1)
    shutil.copytree(tiny_base / 'transformer', other / 'transformer', dirs_exist_ok=True)
    assert len(again(other).coarse._store) == 0


def test_the_key_is_the_picture():
    batch = random_batch(2)
    assert picture_key(batch.image[0]) == picture_key(batch.image[0].clone())
    keys = {
        picture_key(image)
        for image in (
            batch.image[0],
            batch.image[1],
            batch.image[0].flip(-1),
            batch.image[0, :, :16],
            batch.image[0].reshape(3, 48, 32),
        )
    }
    assert len(keys) == 5
