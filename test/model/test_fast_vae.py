"""The accelerated autoencoder against diffusers' own at tiny size."""

from __future__ import annotations

import copy

import pytest
import torch
from comparing import normal, relative_error
from diffusers import AutoencoderKL
from tiny import VAE, tiny_module

from lotus2_ros.model.inference.fast.vae import FastAutoencoder
from lotus2_ros.model.latents import decode_latents, encode_images


def vae(dtype=torch.float32, **config):
    generator = torch.Generator().manual_seed(0)
    return tiny_module(AutoencoderKL, {**VAE, **config}, generator, dtype)


@pytest.mark.parametrize(
    'config',
    [
        pytest.param({}, id='attention in the middle, as in FLUX'),
        pytest.param({'mid_block_add_attention': False}, id='no attention'),
        pytest.param({'block_out_channels': [8, 16, 24, 32], 'layers_per_block': 2}, id='wider'),
        pytest.param({'norm_num_groups': 8}, id='groups of one'),
    ],
)
@pytest.mark.parametrize('size', [(1, 6, 8), (2, 8, 4), (3, 2, 2)])
@torch.no_grad()
def test_agrees_with_diffusers(config, size):
    original = vae(**config)
    fast = FastAutoencoder(copy.deepcopy(original))
    batch, height, width = size
    images, latents = normal(batch, 3, 8 * height, 8 * width), normal(batch, 16, height, width)
    before = images.clone(), latents.clone()
    encoded, decoded = encode_images(fast, images), decode_latents(fast, latents)
    assert relative_error(encoded, encode_images(original, images)) <= 1e-5
    assert relative_error(decoded, decode_latents(original, latents)) <= 1e-5
    assert torch.equal(images, before[0])
    assert torch.equal(latents, before[1])
    assert torch.equal(decode_latents(fast, latents), decoded)


@torch.no_grad()
def test_bfloat16_is_as_near_to_float32_as_diffusers():
    exact, rounded = vae(), vae(torch.bfloat16)
    latents = normal(2, 16, 6, 8)
    expected = decode_latents(exact, latents)
    error = relative_error(decode_latents(rounded, latents.bfloat16()), expected)
    fast = FastAutoencoder(copy.deepcopy(rounded))
    assert 0 < relative_error(decode_latents(fast, latents.bfloat16()), expected) <= 1.3 * error
