"""The written files as the authors' own loader reads them: peft and torch.load, nothing of ours."""

from __future__ import annotations

import pytest
import torch
from diffusers import FluxTransformer2DModel
from diffusers.loaders import FluxLoraLoaderMixin
from peft import LoraConfig, set_peft_model_state_dict
from recipe_runs import random_batch
from safetensors.torch import load_file
from torch import nn

from lotus2_ros.model.loading import load_lcm
from lotus2_ros.training.recipe.build import make_base, make_stage
from lotus2_ros.training.recipe.export import export_core

TARGETS = [
    *('attn.to_k', 'attn.to_q', 'attn.to_v', 'attn.to_out.0'),
    *('attn.add_k_proj', 'attn.add_q_proj', 'attn.add_v_proj', 'attn.to_add_out'),
    *('ff.net.0.proj', 'ff.net.2', 'ff_context.net.0.proj', 'ff_context.net.2'),
]


class ReleasedLcm(nn.Module):
    """The released code's module: `x + lcm(x)`, sixteen channels to thirty-two and back."""

    def __init__(self):
        super().__init__()
        self.lcm = nn.Sequential(nn.Conv2d(16, 32, 3, 1, 1), nn.GELU(), nn.Conv2d(32, 16, 3, 1, 1))

    def forward(self, x):
        return x + self.lcm(x)


@pytest.fixture
def trained(settings, tmp_path):
    """A core stage with weights that do something, written out."""
    chosen = settings()
    stage = make_stage('core', make_base(chosen, torch.device('cpu')), chosen, tmp_path)
    draw = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for value in stage.parameters().values():
            value.add_(torch.randn(value.shape, generator=draw) * 0.1)
    export_core(tmp_path / 'model', stage, chosen)
    return stage, tmp_path / 'model'


def expected_latent(stage):
    with torch.no_grad():
        return stage.module(stage.base.encode(random_batch(1).image))


def released_output(transformer, lcm, stage):
    latent = stage.base.encode(random_batch(1).image)
    tokens = latent.reshape(1, 16, 2, 2, 3, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, 6, 64)
    row, column = torch.meshgrid(torch.arange(2), torch.arange(3), indexing='ij')
    ids = torch.stack([torch.zeros(6), row.flatten(), column.flatten()], 1).float()
    with torch.no_grad():
        found = transformer(
            hidden_states=tokens,
            timestep=torch.tensor([1.0]) / 1000,
            guidance=torch.tensor([3.5]),
            pooled_projections=stage.base.conditioning.pooled,
            encoder_hidden_states=stage.base.conditioning.prompt,
            txt_ids=torch.zeros(8, 3),
            img_ids=ids,
            return_dict=False,
        )[0]
        unpacked = found.reshape(1, 2, 3, 16, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(1, 16, 4, 6)
        return lcm(unpacked)


def load_released_lcm(path):
    """`torch.load(weights_only=True)` of the torch that the released code pins, 2.5.

    From 2.13 on torch goes by the name of a path; a stream has none, and is read as 2.5 reads it.
    """
    module = ReleasedLcm()
    with path.open('rb') as stream:
        module.load_state_dict(torch.load(stream, map_location='cpu', weights_only=True))
    return module


def test_the_released_loading_gives_the_trained_model(trained, tiny_base):
    stage, model = trained
    path = model / 'lotus-2_core_predictor_depth.safetensors'
    transformer = FluxTransformer2DModel.from_pretrained(tiny_base, subfolder='transformer')
    adapter = LoraConfig(r=4, lora_alpha=4, init_lora_weights='gaussian', target_modules=TARGETS)
    transformer.add_adapter(adapter, adapter_name='core_predictor')
    weights = FluxLoraLoaderMixin.lora_state_dict(str(path))
    assert all(key.startswith('transformer.') for key in weights)
    plain = {key.replace('transformer.', ''): value for key, value in weights.items()}
    outcome = set_peft_model_state_dict(transformer, plain, adapter_name='core_predictor')
    assert not outcome.unexpected_keys
    lora = {key for key in outcome.missing_keys if 'lora_' in key}
    assert not lora
    lcm = load_released_lcm(model / 'lotus-2_lcm_depth.safetensors')
    found = released_output(transformer, lcm, stage)
    torch.testing.assert_close(found, expected_latent(stage), rtol=1e-4, atol=1e-4)


def test_diffusers_own_adapter_loading_gives_the_trained_model(trained, tiny_base):
    stage, model = trained
    transformer = FluxTransformer2DModel.from_pretrained(tiny_base, subfolder='transformer')
    transformer.load_lora_adapter(
        load_file(model / 'lotus-2_core_predictor_depth.safetensors'), prefix='transformer'
    )
    lcm = load_released_lcm(model / 'lotus-2_lcm_depth.safetensors')
    found = released_output(transformer, lcm, stage)
    torch.testing.assert_close(found, expected_latent(stage), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('kind', ['torch', 'safetensors'])
def test_the_lcm_is_written_in_either_format_and_read_by_the_package(settings, tmp_path, kind):
    chosen = settings(f'export.lcm_format={kind}')
    stage = make_stage('core', make_base(chosen, torch.device('cpu')), chosen, tmp_path)
    export_core(tmp_path / 'model', stage, chosen)
    path = tmp_path / 'model' / 'lotus-2_lcm_depth.safetensors'
    assert (path.read_bytes()[:4] == b'PK\x03\x04') == (kind == 'torch')
    assert set(load_lcm(path, 16).state_dict()) == {
        f'lcm.{layer}.{part}' for layer in (0, 2) for part in ('weight', 'bias')
    }
    for key, value in load_lcm(path, 16).state_dict().items():
        assert torch.equal(value, stage.lcm.state_dict()[key])


def test_bfloat16_halves_the_files(settings, tmp_path):
    sizes = []
    for dtype in ('float32', 'bfloat16'):
        chosen = settings(f'export.dtype={dtype}')
        stage = make_stage('core', make_base(chosen, torch.device('cpu')), chosen, tmp_path)
        export_core(tmp_path / dtype, stage, chosen)
        tensors = load_file(tmp_path / dtype / 'lotus-2_core_predictor_depth.safetensors')
        sizes.append(sum(v.numel() * v.element_size() for v in tensors.values()))
    assert sizes[0] == 2 * sizes[1]
