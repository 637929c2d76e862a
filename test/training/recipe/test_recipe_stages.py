"""What a stage computes on a batch, against the formulas written out with peft's own layers."""

from __future__ import annotations

import pytest
import torch
from recipe_runs import random_batch

from lotus2_ros.model.latents import encode_images
from lotus2_ros.model.network import call_transformer
from lotus2_ros.model.tasks import TASKS
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.runtime.preprocess import read_picture
from lotus2_ros.training.recipe.build import make_base, make_stage
from lotus2_ros.training.recipe.objectives import Place, draw_times
from lotus2_ros.training.recipe.stages import new_lcm


def make(name, settings, tmp_path, *changes):
    chosen = settings(*changes)
    return make_stage(name, make_base(chosen, torch.device('cpu')), chosen, tmp_path)


PLACE = Place(0, 0, 0, 2)


def stir(stage):
    """Values that do something in place of those that change nothing."""
    draw = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for value in stage.parameters().values():
            value.add_(torch.randn(value.shape, generator=draw) * 0.1)


def test_core_loss_is_the_clean_data_objective(settings, tmp_path):
    stage = make('core', settings, tmp_path)
    stir(stage)
    batch = random_batch(2)
    found = stage.losses(stage.module, batch, PLACE)
    with torch.no_grad():
        latent = encode_images(stage.base.vae, batch.image)
        truth = encode_images(stage.base.vae, batch.target)
        network = stage.base.transformer
        coarse = call_transformer(network, latent, 1.0, stage.base.conditioning)
        residual = stage.lcm.lcm[2](torch.nn.functional.gelu(stage.lcm.lcm[0](coarse)))
        literal = (truth - (coarse + residual)).square().mean((1, 2, 3))
    torch.testing.assert_close(found.detach(), literal, rtol=1e-4, atol=1e-5)


def test_sharpener_loss_is_the_rectified_flow(settings, tiny_base, tmp_path):
    stage = make('sharpener', settings, tmp_path, f'core={tiny_base}')
    stir(stage)
    batch = random_batch(2)
    found = stage.losses(stage.module, batch, PLACE)
    with torch.no_grad():
        fine = encode_images(stage.base.vae, batch.target)
        coarse = stage.coarse.of(batch.image)
        time = draw_times(2, PLACE, stage.base.schedule, 6, inference=False)
        t = time[:, None, None, None]
        state = t * coarse + (1 - t) * fine
        network = stage.base.transformer
        # Ten timesteps in all, and the transformer divides by a thousand.
        velocity = call_transformer(network, state, 10 * time, stage.base.conditioning)
        literal = ((coarse - fine) - velocity).square().mean((1, 2, 3))
    torch.testing.assert_close(found.detach(), literal, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ['core', 'sharpener'])
def test_every_trained_tensor_gets_a_gradient(settings, tiny_base, tmp_path, name):
    changes = (f'core={tiny_base}',) if name == 'sharpener' else ()
    stage = make(name, settings, tmp_path, *changes)
    stir(stage)
    stage.losses(stage.module, random_batch(2), PLACE).mean().backward()
    for key, value in stage.parameters().items():
        assert value.grad is not None, key
        assert value.grad.any(), key
    own = {id(value) for value in stage.parameters().values()}
    assert not [
        n for n, v in stage.module.named_parameters() if v.requires_grad and id(v) not in own
    ]
    assert any(key.startswith('lcm.') for key in stage.parameters()) == (name == 'core')


def test_pixels_without_truth_do_not_count(settings, tmp_path):
    stage = make('core', settings, tmp_path)
    batch = random_batch(1)
    batch.mask[..., :, 24:] = False
    with torch.no_grad():
        before = stage.losses(stage.module, batch, PLACE)
        batch.mask[..., :, 24:] = True
        assert not torch.allclose(before, stage.losses(stage.module, batch, PLACE))


def test_checkpointing_changes_no_gradient(settings, tmp_path):
    found = []
    for checkpointing in ('true', 'false'):
        stage = make('core', settings, tmp_path, f'checkpointing={checkpointing}')
        assert stage.base.transformer.is_gradient_checkpointing == (checkpointing == 'true')
        stir(stage)
        stage.losses(stage.module, random_batch(2), PLACE).mean().backward()
        found.append({key: value.grad for key, value in stage.parameters().items()})
    for key, value in found[0].items():
        torch.testing.assert_close(value, found[1][key], rtol=1e-5, atol=1e-7)


def test_a_new_lcm_is_the_identity_and_can_learn():
    before = torch.random.get_rng_state()
    module = new_lcm(16, torch.Generator().manual_seed(0))
    assert torch.equal(torch.random.get_rng_state(), before)
    latent = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(module(latent), latent)
    module(latent).square().mean().backward()
    assert module.lcm[2].weight.grad.any()


def test_predictions_of_the_second_stage_are_core_and_sharpened(settings, tiny_base, tmp_path):
    chosen = (f'core={tiny_base}', f'start={tiny_base}')
    stage = make('sharpener', settings, tmp_path, *chosen)
    draw = torch.Generator().manual_seed(0)
    rgb = torch.randint(256, (32, 48, 3), generator=draw, dtype=torch.uint8)
    image = rgb.permute(2, 0, 1)[None].float() / 127.5 - 1
    predictor = Lotus2Predictor.from_pretrained(tiny_base, tasks=('depth',), device='cpu')
    for name, steps in (('core', 0), ('sharpener', 3)):
        latent = stage.predictions(image, 3)[name]
        found = read_picture(stage.base.decode(latent), TASKS['depth'], (32, 48))[0, 0]
        expected = predictor.predict(rgb.numpy(), sharpen_steps=steps).disparity
        torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-3)
