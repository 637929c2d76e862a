"""The transformer that prediction runs, against diffusers' own at tiny size."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from comparing import relative_error
from diffusers import FluxTransformer2DModel
from tiny import JOINT_DIM, POOLED_DIM, TEXT_TOKENS, TRANSFORMER, tiny_module

from lotus2_ros.model.inference.arithmetic import gelu
from lotus2_ros.model.inference.modulation import Modulation
from lotus2_ros.model.inference.recent import Recent
from lotus2_ros.model.inference.transformer import InferenceTransformer
from lotus2_ros.model.network import CORE_TIMESTEP, Conditioning, TaskNetwork, call_transformer

TOLERANCE = 1e-5
F32, BF16 = torch.float32, torch.bfloat16


def flux(seed=0, dtype=F32, **config):
    draw = torch.Generator().manual_seed(seed)
    return tiny_module(FluxTransformer2DModel, {**TRANSFORMER, **config}, draw, dtype)


def conditioning(seed=1, dtype=F32):
    draw = torch.Generator().manual_seed(seed)
    prompt = torch.randn(1, TEXT_TOKENS, JOINT_DIM, generator=draw)
    return Conditioning(prompt.to(dtype), torch.randn(1, POOLED_DIM, generator=draw).to(dtype))


def latent(batch=1, height=6, width=10, seed=2, dtype=F32):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 16, height, width, generator=draw).to(dtype)


def inference(transformer, given):
    """Made from a copy, since the original is used up."""
    transformer = copy.deepcopy(transformer)
    return InferenceTransformer(transformer, given, Modulation(transformer, given))


@torch.no_grad()
def original(transformer, given, z, timestep):
    return call_transformer(transformer, z, timestep, given)


@pytest.mark.parametrize('guidance', [True, False])
@pytest.mark.parametrize(('doubles', 'singles'), [(1, 2), (3, 1), (0, 2), (2, 0)])
@pytest.mark.parametrize(
    ('batch', 'height', 'width'), [(1, 8, 8), (2, 6, 10), (3, 10, 4), (1, 2, 2)]
)
def test_agrees_with_diffusers(guidance, doubles, singles, batch, height, width):
    transformer = flux(guidance_embeds=guidance, num_layers=doubles, num_single_layers=singles)
    given, z = conditioning(), latent(batch, height, width)
    network = inference(transformer, given)
    for timestep in (CORE_TIMESTEP, 10.0, 3.7):
        expected = original(transformer, given, z, timestep)
        value = network(z, timestep)
        assert value.shape == expected.shape
        assert relative_error(value, expected) <= TOLERANCE


def test_more_heads_of_another_width():
    config = {'num_attention_heads': 3, 'attention_head_dim': 24, 'axes_dims_rope': (4, 8, 12)}
    transformer = flux(guidance_embeds=True, **config)
    given, z = conditioning(), latent()
    value = inference(transformer, given)(z, CORE_TIMESTEP)
    assert relative_error(value, original(transformer, given, z, CORE_TIMESTEP)) <= TOLERANCE


def test_position_matters():
    """The comparison with diffusers would mean little if the tokens' places did not count."""
    network, z = inference(flux(guidance_embeds=True), conditioning()), latent()
    mirrored = network(z.flip(3), CORE_TIMESTEP).flip(3)
    assert relative_error(mirrored, network(z, CORE_TIMESTEP)) > 1e-2


@pytest.mark.parametrize('timestep', [CORE_TIMESTEP, 10.0, 8.6837])
@pytest.mark.parametrize('dtype', [F32, BF16])
@pytest.mark.parametrize('guidance', [True, False])
def test_modulation_is_that_of_diffusers_to_the_bit(timestep, dtype, guidance):
    """Timestep and guidance are rounded as the original does: in bfloat16 3500 becomes 3504."""
    transformer = flux(guidance_embeds=guidance, dtype=dtype)
    given = conditioning(dtype=dtype)
    tables = Modulation(transformer, given).at(timestep)
    seen = {}
    layers = {
        'double': transformer.transformer_blocks[0].norm1.linear,
        'text': transformer.transformer_blocks[0].norm1_context.linear,
        'single': transformer.single_transformer_blocks[1].norm.linear,
        'last': transformer.norm_out.linear,
    }
    for name, layer in layers.items():
        layer.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out[0]}))
    original(transformer, given, latent(dtype=dtype), timestep)

    def flat(branch):
        (scale, shift), gate = branch
        return [shift, scale, gate]

    def plus_one(vector, parts):
        chunks = list(vector.chunk(parts))
        for index in (1, 4) if parts == 6 else (1,):
            chunks[index] = 1 + chunks[index]
        return chunks

    image, text = tables.doubles[0]
    pairs = [
        (plus_one(seen['double'], 6), [*flat(image.attention), *flat(image.feed_forward)]),
        (plus_one(seen['text'], 6), [*flat(text.attention), *flat(text.feed_forward)]),
        (plus_one(seen['single'], 3), flat(tables.singles[1])),
    ]
    for expected, found in pairs:
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    scale, shift = seen['last'].chunk(2)
    assert torch.equal(tables.last.scale, 1 + scale)
    assert torch.equal(tables.last.shift, shift)


def test_bfloat16_is_no_coarser_than_diffusers():
    ours, theirs = 0.0, 0.0
    for seed in range(6):
        fine, given = flux(seed, guidance_embeds=True), conditioning(seed)
        # Weights and inputs that bfloat16 holds exactly: what is left is the arithmetic's error.
        fine.load_state_dict({k: v.bfloat16().float() for k, v in fine.state_dict().items()})
        coarse = flux(seed, BF16, guidance_embeds=True)
        rough, z = conditioning(seed, BF16), latent(seed=seed, dtype=BF16)
        exact_modulation = inference(fine, given.to(torch.device('cpu'), BF16).to(
            torch.device('cpu'), F32))  # fmt: skip
        expected = exact_modulation(z.float(), 10.0)
        theirs += relative_error(original(coarse, rough, z, 10.0), expected)
        ours += relative_error(inference(coarse, rough)(z, 10.0), expected)
    assert 0 < ours <= 1.3 * theirs


def test_same_bytes_whatever_ran_before():
    transformer, given = flux(guidance_embeds=True), conditioning()
    network, z = inference(transformer, given), latent(2)
    first = network(z, 7.0)
    for height in range(2, 30, 2):
        network(latent(height=height), height / 3.0)
    assert torch.equal(network(z, 7.0), first)
    assert torch.equal(inference(transformer, given)(z, 7.0), first)


def test_input_is_left_alone():
    network, z = inference(flux(guidance_embeds=True), conditioning()), latent()
    before = z.clone()
    network(z, CORE_TIMESTEP)
    assert torch.equal(z, before)


def test_one_modulation_serves_several_transformers():
    first, given, z = flux(guidance_embeds=True), conditioning(), latent()
    second = copy.deepcopy(first)
    second.transformer_blocks[0].attn.to_v.weight.data.mul_(1.5)
    expected = [original(t, given, z, 4.0) for t in (first, second)]
    modulation = Modulation(first, given)
    networks = [InferenceTransformer(t, given, modulation) for t in (first, second)]
    for network, value in zip(networks, expected, strict=True):
        assert relative_error(network(z, 4.0), value) <= TOLERANCE
    assert relative_error(expected[0], expected[1]) > 1e-2


def test_weights_are_taken_over_and_not_copied():
    transformer, given = flux(guidance_embeds=True), conditioning()
    kept = transformer.single_transformer_blocks[1].proj_mlp.weight.data_ptr()
    joined = [
        weakref.ref(block.attn.to_q.weight)
        for block in (*transformer.transformer_blocks, *transformer.single_transformer_blocks)
    ]
    modulation = Modulation(transformer, given)
    folded = weakref.ref(transformer.transformer_blocks[0].norm1.linear.weight)
    network = InferenceTransformer(transformer, given, modulation)
    assert network.singles[1].up.weight.data_ptr() == kept
    gc.collect()
    assert [gone() for gone in joined] == [None] * 3
    assert folded() is not None
    del transformer
    modulation.fold([CORE_TIMESTEP])
    gc.collect()
    assert folded() is None
    network(latent(), CORE_TIMESTEP)
    with pytest.raises(RuntimeError, match=r'timestep 5\.0'):
        network(latent(), 5.0)


def test_task_network_takes_either_transformer():
    transformer, given, z = flux(guidance_embeds=True), conditioning(), latent()
    network = inference(transformer, given)
    values = [TaskNetwork(t, torch.nn.Identity(), given).core(z) for t in (network, transformer)]
    assert relative_error(values[0], values[1].detach()) <= TOLERANCE


def test_gelu_keeps_its_digits():
    x = torch.linspace(-30, 30, 100_001)
    x = torch.cat([x, x * 1e-3, x * 1e-6])
    before = x.clone()
    expected = torch.nn.functional.gelu(x.double(), approximate='tanh')
    torch.testing.assert_close(gelu(x).double(), expected, atol=1e-6, rtol=1e-6)
    assert torch.equal(x, before)


def test_recent_drops_what_was_longest_unused():
    asked = []

    def compute(key):
        asked.append(key)
        return key * 10

    recent = Recent(2)
    for key in (1, 2, 1, 3, 1, 2):
        assert recent.get(key, lambda key=key: compute(key)) == key * 10
        assert len(recent) <= 2
    assert asked == [1, 2, 3, 2]
