from __future__ import annotations

import pytest
import torch
from diffusers import FluxPipeline
from hypothesis import given
from hypothesis import strategies as st

from lotus2_ros.model.latents import image_ids, pack, text_ids, unpack

sizes = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))


def numbered(batch, rows, columns):
    return torch.arange(batch * 16 * 4 * rows * columns).reshape(batch, 16, 2 * rows, 2 * columns)


@given(sizes)
def test_packing_order_is_that_of_flux(size):
    latent = numbered(*size)
    height, width = latent.shape[2:]
    tokens = pack(latent)
    assert torch.equal(tokens, FluxPipeline._pack_latents(latent, size[0], 16, height, width))
    assert torch.equal(unpack(tokens, height, width), latent)
    expected = FluxPipeline._unpack_latents(tokens, 8 * height, 8 * width, 8)
    assert torch.equal(unpack(tokens, height, width), expected)


def test_a_token_holds_a_patch_channel_by_channel():
    latent = numbered(1, 2, 3)
    assert torch.equal(pack(latent)[0, 4], latent[0, :, 2:4, 2:4].reshape(64))


@given(sizes)
def test_image_ids_are_those_of_flux(size):
    _, rows, columns = size
    expected = FluxPipeline._prepare_latent_image_ids(1, rows, columns, 'cpu', torch.float32)
    assert torch.equal(image_ids(2 * rows, 2 * columns), expected)


def test_text_tokens_stand_at_the_origin():
    assert torch.equal(text_ids(5), torch.zeros(5, 3))


@pytest.mark.parametrize('size', [(3, 4), (4, 3)])
def test_odd_latent_is_refused(size):
    with pytest.raises(ValueError, match='cannot be cut'):
        pack(torch.zeros(1, 16, *size))
    with pytest.raises(ValueError, match='do not make'):
        unpack(torch.zeros(1, 2, 64), *size)


def test_wrong_number_of_tokens_is_refused():
    with pytest.raises(ValueError, match='7 tokens'):
        unpack(torch.zeros(1, 7, 64), 4, 4)
