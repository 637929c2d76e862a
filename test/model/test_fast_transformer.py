"""The accelerated transformer against the one it takes its weights from, at tiny size."""

from __future__ import annotations

import copy

import pytest
import torch
from comparing import relative_error
from diffusers import FluxTransformer2DModel
from hypothesis import given
from hypothesis import strategies as st
from tiny import JOINT_DIM, POOLED_DIM, TEXT_TOKENS, TRANSFORMER, tiny_module
from torch import nn

from lotus2_ros.model.conditioning import Conditioning
from lotus2_ros.model.inference.fast.linear import (
    DifferenceLinear,
    PlainLinear,
    QuantizedLinear,
    row_linear,
)
from lotus2_ros.model.inference.fast.operations import quantize
from lotus2_ros.model.inference.fast.rows import Rows, Wanted
from lotus2_ros.model.inference.fast.text_merging import ROWS_TOGETHER, merge_text
from lotus2_ros.model.inference.fast.transformer import FastTransformer
from lotus2_ros.model.inference.low_rank import LowRankLinear
from lotus2_ros.model.inference.modulation import Modulation
from lotus2_ros.model.inference.quantization import EIGHT_BIT_FORMATS, FP8, INT8
from lotus2_ros.model.inference.transformer import InferenceTransformer

CORE_TIMESTEP = 1.0
F32, BF16 = torch.float32, torch.bfloat16
FORMATS = pytest.mark.parametrize('kind', EIGHT_BIT_FORMATS.values(), ids=EIGHT_BIT_FORMATS)
NEAR = {'fp8': 0.06, 'int8': 0.02}
"""How near a network of three blocks stays."""


def draw(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(dtype=F32, **config):
    generator = torch.Generator().manual_seed(0)
    flux = tiny_module(FluxTransformer2DModel, {**TRANSFORMER, **config}, generator, dtype)
    given = Conditioning(
        draw(1, TEXT_TOKENS, JOINT_DIM, seed=1).to(dtype), draw(1, POOLED_DIM, seed=2).to(dtype)
    )
    return InferenceTransformer(flux, given, Modulation(flux, given))


def latent(batch=1, height=6, width=10, dtype=F32):
    return draw(batch, 16, height, width, seed=3).to(dtype)


def add_differences(module, rank=2):
    """Give the layers that FLUX's adapters touch a difference of low rank."""
    for name, child in list(module.named_children()):
        groups = 3 if name == 'qkv' else 1
        if isinstance(child, nn.Linear) and name in {'qkv', 'out', 'up', 'down'}:
            down = 0.2 * draw(groups * rank, child.in_features, seed=len(name))
            up = 0.2 * draw(child.out_features, rank, seed=child.out_features)
            setattr(module, name, LowRankLinear(child, down, up))
        else:
            add_differences(child, rank)


@pytest.mark.parametrize(('doubles', 'singles'), [(1, 2), (3, 1), (0, 2)])
@pytest.mark.parametrize(
    ('batch', 'height', 'width'), [(1, 8, 8), (2, 6, 10), (3, 10, 4), (1, 2, 2)]
)
def test_agrees_with_the_network_it_is_made_from(doubles, singles, batch, height, width):
    slow = network(num_layers=doubles, num_single_layers=singles)
    fast = FastTransformer(slow)
    z = latent(batch, height, width)
    for timestep in (CORE_TIMESTEP, 7.3, CORE_TIMESTEP):
        assert relative_error(fast(z, timestep), slow(z, timestep)) <= 1e-5


def test_differences_of_low_rank_are_added():
    slow = network()
    plain = FastTransformer(slow)(latent(), CORE_TIMESTEP)
    for block in slow.doubles:
        add_differences(block)
    for block in slow.singles:
        add_differences(block.heads)
    expected = slow(latent(2), CORE_TIMESTEP)
    assert relative_error(FastTransformer(slow)(latent(2), CORE_TIMESTEP), expected) <= 1e-5
    assert relative_error(expected[:1], plain) > 0.01


def test_bfloat16_is_as_near_to_float32_as_the_network_it_is_made_from():
    exact, slow = network(), network(BF16)
    z = latent(2, 8, 12)
    expected = exact(z, CORE_TIMESTEP)
    fast = FastTransformer(slow)(z.to(BF16), CORE_TIMESTEP)
    error = relative_error(slow(z.to(BF16), CORE_TIMESTEP), expected)
    assert 0 < relative_error(fast, expected) <= 1.3 * error


@pytest.mark.parametrize('batch', [1, 2])
@FORMATS
def test_eight_bits_stay_near(batch, kind):
    slow = network()
    fast = FastTransformer(slow, eight_bits=kind)
    expected = slow(latent(batch), CORE_TIMESTEP)
    assert 1e-4 < relative_error(fast(latent(batch), CORE_TIMESTEP), expected) < NEAR[kind.name]


@FORMATS
def test_eight_bits_with_differences(kind):
    slow = network()
    for block in slow.doubles:
        add_differences(block)
    expected = slow(latent(2), CORE_TIMESTEP)
    fast = FastTransformer(slow, eight_bits=kind)
    assert relative_error(fast(latent(2), CORE_TIMESTEP), expected) < NEAR[kind.name]


@pytest.mark.parametrize('eight_bits', [None, FP8, INT8])
def test_same_bytes_whatever_ran_before(eight_bits):
    slow = network()
    fast = FastTransformer(slow, eight_bits=eight_bits)
    first = fast(latent(), CORE_TIMESTEP)
    fast(latent(2, 8, 4), 3.0)
    assert torch.equal(fast(latent(), CORE_TIMESTEP), first)
    kept = copy.deepcopy(slow.state_dict())
    assert all(torch.equal(value, kept[key]) for key, value in slow.state_dict().items())


def test_a_network_without_single_blocks_is_refused():
    with pytest.raises(ValueError, match='single'):
        FastTransformer(network(num_single_layers=0))


def layer(outputs=48, inputs=32):
    made = nn.Linear(inputs, outputs)
    made.weight.data, made.bias.data = draw(outputs, inputs, seed=7), draw(outputs, seed=8)
    return made.requires_grad_(requires_grad=False)


def whole(rows):
    """What rows in 8 bits stand for."""
    values = rows.values.float()
    return (values if rows.offsets is None else values + rows.offsets[:, None]) * rows.scales[
        :, None
    ]


@FORMATS
def test_quantized_rows_come_back_within_half_a_step(kind):
    values = draw(40, 96, seed=9) * torch.logspace(-6, 3, 40)[:, None]
    values[5], values[6], values[7] = 0, values[6].abs(), -values[7].abs()
    rows = quantize(values, kind)
    back = whole(rows)
    if kind is INT8:
        step = 1.001 * rows.scales[:, None].expand_as(values)
        assert rows.offsets[[5, 6, 7]].tolist() == [0, 127, -127]
    else:
        step = values.abs() / 8 + rows.scales[:, None] / 128
        assert rows.offsets is None
    assert ((back - values).abs() <= step / 2).all()
    peak = rows.values.float().abs().amax(1)
    assert (peak == kind.largest).sum() == 39
    assert (back[5] == 0).all()


def test_halves_are_rounded_to_even():
    halves = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -127.0]])
    rows = quantize(halves, INT8)
    assert (rows.scales.tolist(), rows.offsets.tolist()) == ([1], [0])
    assert rows.values[0].tolist() == [127, 0, 2, 2, 0, -2, -2, -127]


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.integers(1, 20), st.integers(0, 999))
def test_every_range_has_all_whole_numbers(least, most, count, seed):
    """Both ends and zero are among what they stand for."""
    generator = torch.Generator().manual_seed(seed)
    values = least + (most - least) * torch.rand(1, count, generator=generator)
    values = torch.cat([values, torch.tensor([[least, most]])], 1)
    rows = quantize(values, INT8)
    step = rows.scales[:, None]
    assert ((whole(rows) - values).abs() <= 0.5001 * step).all()
    assert rows.values.min() >= -127
    assert rows.offsets.abs().max() <= 127
    assert step <= (max(least, most, 0) - min(least, most, 0)) / 253.9 + 1e-12
    assert (whole(rows)[values == 0] == 0).all()


@FORMATS
@pytest.mark.parametrize('dtype', [F32, BF16])
def test_what_fits_into_eight_bits_is_kept(kind, dtype):
    rows = quantize(draw(60, 80, seed=24), kind)
    exact = whole(rows._replace(scales=torch.full_like(rows.scales, 2**-6))).to(dtype)
    assert torch.equal(whole(quantize(exact, kind)), exact.float())


def test_rows_are_not_read_in_two_formats():
    fp8, int8 = (Wanted(plain=False, eight_bits=kind) for kind in (FP8, INT8))
    assert (fp8 | Wanted(plain=True)) == Wanted(plain=True, eight_bits=FP8)
    with pytest.raises(ValueError, match='fp8 and in int8'):
        fp8 | int8


@FORMATS
def test_layers_in_parts_are_the_layer(kind):
    linear, x = layer(), draw(5, 32, seed=10)
    plain = row_linear(linear)
    assert isinstance(plain, PlainLinear)
    expected = linear(x)
    torch.testing.assert_close(plain(Rows(x)), expected)
    torch.testing.assert_close(plain.outputs(16)(Rows(x)), expected[:, 16:])
    quantized = row_linear(linear, kind)
    assert isinstance(quantized, QuantizedLinear)
    rows = Rows(None, quantize(x, kind))
    assert relative_error(quantized(rows), expected) < 0.05
    assert torch.equal(quantized.outputs(16, 32)(rows), quantized(rows)[:, 16:32])


def test_a_difference_in_parts_is_the_difference():
    linear, x = layer(), draw(5, 32, seed=11)
    joined = LowRankLinear(linear, draw(6, 32, seed=12), draw(48, 2, seed=13))
    fast = row_linear(joined)
    assert isinstance(fast, DifferenceLinear)
    torch.testing.assert_close(fast(Rows(x)), joined(x))
    torch.testing.assert_close(fast.outputs(16)(Rows(x)), joined(x)[:, 16:])
    out = torch.empty(5, 48)
    assert fast(Rows(x), out).data_ptr() == out.data_ptr()


def test_odd_widths_stay_in_the_precision_of_the_tokens():
    assert isinstance(row_linear(layer(50), FP8), PlainLinear)
    assert isinstance(row_linear(layer(50), INT8), QuantizedLinear)
    assert isinstance(row_linear(layer(50, 40), INT8), PlainLinear)


def with_padding(noise=0.0):
    """A network whose text is two tokens and six times a third one, but for noise."""
    padded = network()
    with torch.no_grad():
        padded.text[:, 2:] = padded.text[:, 2:3]
        padded.text[:, 3:] += noise * draw(1, TEXT_TOKENS - 3, padded.text.shape[2], seed=20)
    return padded


@pytest.mark.parametrize('batch', [1, 2])
def test_equal_text_tokens_are_computed_once_and_exactly(batch):
    slow = with_padding()
    fast = FastTransformer(slow, text_merging=1e-6)
    assert fast.text_tokens == ROWS_TOGETHER  # three, filled up
    z = latent(batch)
    for size in (z, z[:, :, :4, :6], z):
        assert relative_error(fast(size, CORE_TIMESTEP), slow(size, CORE_TIMESTEP)) <= 1e-5


@FORMATS
@pytest.mark.parametrize('batch', [1, 2])
def test_equal_text_tokens_are_computed_once_in_eight_bits(batch, kind):
    slow, z = with_padding(), latent(batch)
    merged = FastTransformer(slow, eight_bits=kind, text_merging=1e-6)
    assert merged.text_tokens == ROWS_TOGETHER
    expected = FastTransformer(slow, eight_bits=kind)(z, CORE_TIMESTEP)
    assert relative_error(merged(z, CORE_TIMESTEP), expected) <= 0.1 * NEAR[kind.name]


def test_merging_nearly_equal_text_costs_little():
    slow = with_padding(noise=1e-2)
    assert FastTransformer(slow, text_merging=1e-6).text_tokens == TEXT_TOKENS
    error = relative_error(
        FastTransformer(slow, text_merging=0.1)(latent(), CORE_TIMESTEP),
        slow(latent(), CORE_TIMESTEP),
    )
    assert 1e-7 < error < 0.01


def test_without_tolerance_nothing_is_merged():
    assert merge_text(torch.ones(4, 3), 0.0) is None
    assert merge_text(torch.eye(4), 0.5) is None


@given(st.integers(1, 24), st.integers(1, 9), st.floats(0.01, 2.0), st.integers(0, 999))
def test_merged_tokens_are_near_the_first_of_their_group(count, kinds, tolerance, seed):
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(kinds, (count,), generator=generator)
    text = torch.randn(kinds, 6, generator=generator)[chosen]
    merged = merge_text(text, tolerance)
    if merged is None:
        assert len(chosen.unique()) > count - ROWS_TOGETHER
        return
    assert len(merged.tokens) < count
    assert len(merged.tokens) % ROWS_TOGETHER == 0
    groups = int(merged.groups.max()) + 1
    assert len(merged.tokens) - groups < ROWS_TOGETHER
    for group in range(groups):
        members = text[merged.groups == group]
        limit = tolerance * members[0].norm() + 1e-6
        assert ((members - members[0]).norm(dim=1) <= limit).all()
        torch.testing.assert_close(merged.tokens[group], members.mean(0))
