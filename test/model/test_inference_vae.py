"""The VAE that prediction runs on a CPU, against diffusers' own at tiny size."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from comparing import normal, relative_error
from diffusers import AutoencoderKL
from tiny import VAE, tiny_module

from lotus2_ros.errors import ModelFileError
from lotus2_ros.model.inference.vae import prepare_for_cpu
from lotus2_ros.model.latents import decode_latents, encode_images

TOLERANCE = 1e-5
SOURCE = Path('base/vae')


def vae(seed=0, dtype=torch.float32, **config):
    return tiny_module(AutoencoderKL, {**VAE, **config}, torch.Generator().manual_seed(seed), dtype)


def prepared(original):
    fast = copy.deepcopy(original)
    prepare_for_cpu(fast, SOURCE)
    return fast


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
    fast = prepared(original)
    batch, height, width = size
    images = normal(batch, 3, 8 * height, 8 * width)
    latents = normal(batch, 16, height, width)
    before = images.clone(), latents.clone()
    encoded, decoded = encode_images(fast, images), decode_latents(fast, latents)
    assert relative_error(encoded, encode_images(original, images)) <= TOLERANCE
    assert relative_error(decoded, decode_latents(original, latents)) <= TOLERANCE
    assert torch.equal(images, before[0])
    assert torch.equal(latents, before[1])


@torch.no_grad()
def test_channels_far_from_zero_keep_their_digits():
    """Statistics taken in one pass would lose them; against double precision, at full size."""
    original = vae(mid_block_add_attention=False)
    for name, value in original.named_parameters():
        if name.endswith(('conv1.bias', 'conv_in.bias')):
            value.add_(30.0)
    images, latents = normal(1, 3, 240, 320), normal(1, 16, 30, 40)
    exact, fast = copy.deepcopy(original).double(), prepared(original)
    expected = encode_images(exact, images.double()), decode_latents(exact, latents.double())
    found = encode_images(fast, images), decode_latents(fast, latents)
    theirs = encode_images(original, images), decode_latents(original, latents)
    for value, other, truth in zip(found, theirs, expected, strict=True):
        assert relative_error(value, truth) <= max(TOLERANCE, relative_error(other, truth))


@torch.no_grad()
def test_same_bytes_again():
    fast, latents = prepared(vae()), normal(1, 16, 8, 10)
    first = decode_latents(fast, latents)
    decode_latents(fast, normal(2, 16, 4, 6))
    assert torch.equal(decode_latents(fast, latents), first)


@torch.no_grad()
def test_bfloat16_is_as_near_as_diffusers():
    exact, coarse, latents = vae(), vae(dtype=torch.bfloat16), normal(1, 16, 8, 10)
    expected = decode_latents(exact, latents)
    theirs = relative_error(decode_latents(coarse, latents.bfloat16()), expected)
    assert relative_error(decode_latents(prepared(coarse), latents.bfloat16()), expected) <= (
        1.3 * theirs
    )


def test_parts_that_flux_has_not_are_refused():
    with pytest.raises(ModelFileError, match=r'base/vae: .*residual blocks'):
        prepared(vae(act_fn='gelu'))
