"""Our autoencoder against diffusers' `AutoencoderKL`, to the bit."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from tiny import VAE, tiny_module

from lotus2_ros.model.inference.autoencoder import Autoencoder, AutoencoderConfig
from lotus2_ros.model.inference.vae import prepare_for_cpu
from lotus2_ros.model.latents import decode_latents, encode_images


def pair(dtype=torch.float32, **config):
    """Diffusers' and ours, with the same weights."""
    theirs = tiny_module(AutoencoderKL, {**VAE, **config}, torch.Generator().manual_seed(3), dtype)
    with torch.device('meta'):
        ours = Autoencoder(AutoencoderConfig.from_config(theirs.config))
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    return theirs, ours.eval()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    'config',
    [
        pytest.param({}, id='attention in the middle, as in FLUX'),
        pytest.param({'mid_block_add_attention': False}, id='no attention'),
        pytest.param({'block_out_channels': [8, 16, 24, 32], 'layers_per_block': 2}, id='wider'),
    ],
)
@pytest.mark.parametrize('for_cpu', [False, True])
@torch.no_grad()
def test_same_bytes_as_diffusers(dtype, config, for_cpu):
    theirs, ours = pair(dtype, **config)
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 32, 48, generator=draw).to(dtype)
    latents = torch.randn(2, 16, 4, 6, generator=draw).to(dtype)
    if for_cpu:
        theirs, ours = copy.deepcopy(theirs), copy.deepcopy(ours)
        for vae in (theirs, ours):
            prepare_for_cpu(vae, Path('vae'))
    assert torch.equal(encode_images(ours, images), encode_images(theirs, images))
    assert torch.equal(decode_latents(ours, latents), decode_latents(theirs, latents))


@pytest.mark.parametrize(
    ('entry', 'value'),
    [
        ('use_quant_conv', True),
        ('act_fn', 'relu'),
        ('down_block_types', ['AttnDownEncoderBlock2D'] * 4),
    ],
)
def test_another_kind_is_refused(entry, value):
    with pytest.raises(ValueError, match=entry):
        AutoencoderConfig.from_config({**VAE, 'act_fn': 'silu', entry: value})
