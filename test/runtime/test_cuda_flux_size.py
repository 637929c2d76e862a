"""At FLUX.1-dev's own size: how far each mode is from float32. Needs a GPU of 60 GiB or more."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from comparing import relative_error

from lotus2_ros.model import network
from lotus2_ros.model.inference.fast.transformer import FastTransformer
from lotus2_ros.model.inference.modulation import Modulation
from lotus2_ros.model.inference.transformer import InferenceTransformer
from lotus2_ros.model.network import CORE_TIMESTEP, GUIDANCE, Conditioning, call_transformer
from lotus2_ros.model.prompt import TEXT_TOKENS
from lotus2_ros.training.recipe.random_base import FLUX_TRANSFORMER, random_module

NEEDED = 60 << 30
F32, BF16 = torch.float32, torch.bfloat16


def is_large_enough() -> bool:
    return torch.cuda.is_available() and torch.cuda.mem_get_info()[1] >= NEEDED


pytestmark = pytest.mark.skipif(not is_large_enough(), reason='needs a CUDA GPU of 60 GiB')


GUIDANCE_SEEN = 3.504
"""In bfloat16 a thousand times the guidance is 3504, not 3500: another embedding altogether."""


def calm_modulation(flux, given):
    """Scale shift, scale and gate of every block to about 0.1.

    As they are drawn, they are of order one, and 57 blocks multiply every rounding.
    """
    one = torch.ones(1, device=given.pooled.device)
    guidance = torch.full_like(one, 1000 * GUIDANCE)
    embedded = flux.time_text_embed(one.to(BF16), guidance.to(BF16), given.pooled)
    spread = 0.02 * torch.nn.functional.silu(embedded.float()).norm()
    for name, layer in flux.named_modules():
        if name.endswith(('norm1.linear', 'norm1_context.linear', 'norm.linear')):
            layer.weight.mul_(0.1 / spread)


@torch.no_grad()
def test_modes_are_as_near_to_float32_as_diffusers_is(record_property, monkeypatch):
    pytest.importorskip('triton')
    from diffusers import FluxTransformer2DModel

    device = torch.device('cuda')
    draw = torch.Generator(device).manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, device=device).to(BF16)

    config = {**FLUX_TRANSFORMER, 'guidance_embeds': True}
    flux = random_module(FluxTransformer2DModel, config, device, BF16, draw)
    given = Conditioning(normal(1, TEXT_TOKENS, 4096), normal(1, 768))
    calm_modulation(flux, given)
    latents = [normal(1, 16, height, width) for height, width in ((60, 80), (48, 64))]

    # The very numbers that bfloat16 holds, computed with in float32: 48 GB.
    torch.nn.Module.to(flux, F32)
    wide = Conditioning(given.prompt.float(), given.pooled.float())
    with monkeypatch.context() as patch:
        patch.setattr(network, 'GUIDANCE', GUIDANCE_SEEN)
        exact = [call_transformer(flux, z.float(), CORE_TIMESTEP, wide) for z in latents]
    torch.nn.Module.to(flux, BF16)
    torch.cuda.empty_cache()

    def error(mode):
        found = [mode(z) for z in latents]
        return sum(relative_error(a, b) for a, b in zip(found, exact, strict=True)) / len(exact)

    errors = {'diffusers': error(lambda z: call_transformer(flux, z, CORE_TIMESTEP, given))}
    plain = InferenceTransformer(flux, given, Modulation(flux, given))
    errors['plain'] = error(lambda z: plain(z, CORE_TIMESTEP))
    for name, eight_bits in (('accelerated', False), ('fp8', True)):
        fast = FastTransformer(plain, eight_bits=eight_bits)
        errors[name] = error(partial(fast, timestep=CORE_TIMESTEP))
    for name, value in errors.items():
        record_property(name, value)
    assert 0 < errors['plain'] <= 1.3 * errors['diffusers']
    assert 0 < errors['accelerated'] <= 1.3 * errors['diffusers']
    assert errors['fp8'] <= 0.15  # what the check at each start allows
