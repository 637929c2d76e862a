from __future__ import annotations

import pytest
import torch
from diffusers import FluxTransformer2DModel
from tiny import TRANSFORMER, make_tiny_model

from lotus2_ros.model.lora import LORA_TARGETS, merge, target_modules
from lotus2_ros.runtime import Lotus2Predictor


def test_targets_are_those_of_the_released_adapters():
    with torch.device('meta'):
        names = target_modules(FluxTransformer2DModel(**TRANSFORMER))
    double = {f'transformer_blocks.0.{target}' for target in LORA_TARGETS}
    single = {f'single_transformer_blocks.{i}.attn.to_{x}' for i in (0, 1) for x in 'qkv'}
    assert set(names) == double | single
    assert names['transformer_blocks.0.ff.net.0.proj'] == (128, 32)


def test_full_size_model_has_as_many_targets_as_the_released_adapters():
    with torch.device('meta'):
        flux = FluxTransformer2DModel(guidance_embeds=True)
    targets = target_modules(flux)
    assert len(targets) == 19 * 12 + 38 * 3
    parameters = 128 * sum(outputs + inputs for outputs, inputs in targets.values())
    assert parameters == pytest.approx(359e6, rel=0.01)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_merge_is_exact_in_float32(dtype):
    draw = torch.Generator().manual_seed(0)
    weight, a, b = (
        torch.randn(*size, generator=draw).to(dtype) for size in ((24, 40), (3, 40), (24, 3))
    )
    merged = merge(weight, (a, b * 1e-3))
    expected = weight.double() + (b * 1e-3).double() @ a.double()
    assert merged.dtype == torch.float32
    torch.testing.assert_close(merged.double(), expected, atol=1e-6, rtol=0)


def test_update_below_bfloat16_survives_until_the_last_rounding(tmp_path):
    """Base and adapter in bfloat16, arithmetic in float32: nothing is rounded in between."""
    make_tiny_model(tmp_path, tasks=['depth'], dtype=torch.bfloat16, sharpener=False)
    predictor = Lotus2Predictor.from_pretrained(
        tmp_path, tasks=['depth'], device='cpu', sharpener=False
    )
    network = predictor._stages.model.tasks['depth'].core_transformer
    weight = network.doubles[0].image.heads.qkv.weight
    assert weight.dtype == torch.float32
    assert not torch.equal(weight, weight.bfloat16().float())
