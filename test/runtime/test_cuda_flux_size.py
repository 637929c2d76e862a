"""At FLUX.1-dev's own size: how far each mode is from float32. Needs a GPU of 60 GiB or more."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from comparing import relative_error
from deep import GUIDANCE_SEEN, calm_modulation, layers_in_blocks, round_weights

from lotus2_ros.model import network
from lotus2_ros.model.inference.fast.transformer import FastTransformer
from lotus2_ros.model.inference.modulation import Modulation
from lotus2_ros.model.inference.quantization import FP8, INT8
from lotus2_ros.model.inference.transformer import InferenceTransformer
from lotus2_ros.model.network import CORE_TIMESTEP, Conditioning, call_transformer
from lotus2_ros.model.prompt import TEXT_TOKENS
from lotus2_ros.training.recipe.random_base import FLUX_TRANSFORMER, random_module

NEEDED = 60 << 30
F32, BF16 = torch.float32, torch.bfloat16
FP8_WEIGHTS = 'fp8 weights, the rest in float32'


def is_large_enough() -> bool:
    return torch.cuda.is_available() and torch.cuda.mem_get_info()[1] >= NEEDED


pytestmark = pytest.mark.skipif(not is_large_enough(), reason='needs a CUDA GPU of 60 GiB')


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

    def in_float32():
        with monkeypatch.context() as patch:
            patch.setattr(network, 'GUIDANCE', GUIDANCE_SEEN)
            return [call_transformer(flux, z.float(), CORE_TIMESTEP, wide) for z in latents]

    exact = in_float32()

    def error(found):
        return sum(relative_error(a, b) for a, b in zip(found, exact, strict=True)) / len(exact)

    # What fp8 cannot do better than, however it multiplies: its weights, all else in float32.
    kept = [layer.weight.to(BF16).cpu() for layer in layers_in_blocks(flux)]
    round_weights(flux, FP8)
    errors = {FP8_WEIGHTS: error(in_float32())}
    torch.nn.Module.to(flux, BF16)
    for layer, weight in zip(layers_in_blocks(flux), kept, strict=True):
        layer.weight.copy_(weight)
    torch.cuda.empty_cache()

    def error_of(mode):
        return error([mode(z) for z in latents])

    errors['diffusers'] = error_of(lambda z: call_transformer(flux, z, CORE_TIMESTEP, given))
    plain = InferenceTransformer(flux, given, Modulation(flux, given))
    errors['plain'] = error_of(lambda z: plain(z, CORE_TIMESTEP))
    for name, kind in (('accelerated', None), ('fp8', FP8), ('int8', INT8)):
        fast = FastTransformer(plain, eight_bits=kind)
        errors[name] = error_of(partial(fast, timestep=CORE_TIMESTEP))
        del fast
    for name, value in errors.items():
        record_property(name, value)
    assert 0 < errors['plain'] <= 1.3 * errors['diffusers']
    assert 0 < errors['accelerated'] <= 1.3 * errors['diffusers']
    assert 0 < errors['int8'] <= 2 * errors['diffusers']
    assert errors[FP8_WEIGHTS] > 2 * errors['diffusers']
    assert errors['fp8'] <= 0.15  # what the check at each start allows
