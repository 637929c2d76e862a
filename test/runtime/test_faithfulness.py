"""The predictor against an independent reading of the released model, float32 on the CPU."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from reference import ReferenceModel
from tiny import make_tiny_model

from lotus2_ros.model.latents import decode_latents, encode_images
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.runtime.preprocess import prepare_image

RANK = 4
MAX_SIDE = 96
TOLERANCE = 1e-5
CPU, F32 = torch.device('cpu'), torch.float32


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return make_tiny_model(
        tmp_path_factory.mktemp('tiny'), seed=3, rank=RANK, max_side=MAX_SIDE, lcm_pickle=False
    )


@pytest.fixture(scope='module')
def predictor(folder):
    return Lotus2Predictor.from_pretrained(folder, device='cpu')


@pytest.fixture(scope='module')
def references(folder):
    return {task: ReferenceModel(folder, task, rank=RANK) for task in ('depth', 'normals')}


def relative_error(value, expected):
    return np.linalg.norm(value - expected) / np.linalg.norm(expected)


def photograph(height, width, seed=0):
    """Smooth structure and noise in every channel."""
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(draw.uniform(2, 12) * rows + draw.uniform(2, 12) * columns) for _ in range(3)]
    image = 127 + 90 * np.stack(waves, axis=2) + draw.normal(0, 12, (height, width, 3))
    return image.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize('task', ['depth', 'normals'])
@pytest.mark.parametrize('steps', [0, 1, 4, 10])
@pytest.mark.parametrize('size', [(64, 64), (48, 80)])
def test_decoded_picture_is_that_of_the_reference(predictor, references, task, steps, size):
    pixels = photograph(*size, seed=steps)
    image = torch.tensor(pixels).permute(2, 0, 1)[None] / 127.5 - 1.0
    with torch.inference_mode():
        state = predictor.run_core(pixels, [task])
        latent = state.latents[task]
        if steps:
            for step in predictor._stages.flow_steps(latent, steps):
                latent = predictor._stages.step(task, latent, step)
        decoded = decode_latents(predictor._stages.model.vae, latent)
    expected = references[task].decoded(image, steps)
    assert relative_error(decoded.numpy(), expected.numpy()) <= TOLERANCE


@pytest.mark.parametrize('task', ['depth', 'normals'])
@pytest.mark.parametrize('steps', [0, 1, 4, 10])
@pytest.mark.parametrize(
    'size',
    [
        pytest.param((64, 64), id='square'),
        pytest.param((48, 80), id='wide'),
        pytest.param((53, 75), id='no multiple of 16'),
        pytest.param((113, 70), id='reduced'),
    ],
)
def test_prediction_is_that_of_the_reference(predictor, references, task, steps, size):
    rgb = photograph(*size, seed=steps)
    prediction = predictor.predict(rgb, sharpen_steps=steps, tasks=[task])
    value = prediction.disparity if task == 'depth' else prediction.normals
    expected = references[task].predict(rgb, steps, max_side=MAX_SIDE)
    assert value.shape == expected.shape
    assert expected.std() > 0.02
    assert relative_error(value, expected) <= TOLERANCE


def test_sharpening_changes_the_result(predictor):
    rgb = photograph(64, 64)
    core, sharp = (predictor.predict(rgb, sharpen_steps=n).disparity for n in (0, 4))
    assert relative_error(sharp, core) > 0.05


@pytest.mark.parametrize('steps', [0, 4])
def test_model_without_guidance_and_with_a_fixed_shift(tmp_path, steps):
    """FLUX.1-schnell's kind of base."""
    make_tiny_model(
        tmp_path,
        seed=5,
        rank=RANK,
        guidance_embeds=False,
        tasks=['depth'],
        scheduler={'use_dynamic_shifting': False, 'shift': 1.0},
    )
    predictor = Lotus2Predictor.from_pretrained(tmp_path, tasks=['depth'], device='cpu')
    rgb = photograph(48, 64)
    expected = ReferenceModel(tmp_path, 'depth', rank=RANK).predict(rgb, steps, max_side=1024)
    value = predictor.predict(rgb, sharpen_steps=steps).disparity
    assert relative_error(value, expected) <= TOLERANCE


def test_encoding_takes_the_posterior_mean(predictor):
    vae = predictor._stages.model.vae
    image = torch.tensor(photograph(32, 32)).permute(2, 0, 1)[None] / 127.5 - 1.0
    with torch.inference_mode():
        expected = vae.encode(image).latent_dist.mean
        latent = encode_images(vae, image)
    torch.testing.assert_close(latent, (expected - 0.1159) * 0.3611)


def test_encoding_a_large_image_stays_exact(predictor):
    """Against double precision: sums over many pixels must not lose digits."""
    vae = predictor._stages.model.vae
    image = torch.tensor(photograph(320, 480)).permute(2, 0, 1)[None] / 127.5 - 1.0
    exact = copy.deepcopy(vae).double()
    with torch.inference_mode():
        state = encode_images(vae, prepare_image(photograph(320, 480), [(320, 480)], CPU, F32))
        expected = encode_images(exact, image.double())
    assert relative_error(state.double().numpy(), expected.numpy()) <= TOLERANCE
