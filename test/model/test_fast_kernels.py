"""The Triton kernels against the same arithmetic in torch: on a GPU, else in Triton's interpreter.

Triton comes with torch's CUDA builds; where it is not installed there is nothing to run.
"""

from __future__ import annotations

import os

import pytest
import torch

from lotus2_ros.model.inference.fast import operations
from lotus2_ros.model.inference.fast.group_norm import GroupNorm
from lotus2_ros.model.inference.fast.images import padded, softmax, summed
from lotus2_ros.model.inference.fast.operations import (
    Affine,
    Turns,
    Update,
    add_norm,
    gelu_join,
    gelu_quantize,
    norm_rotate,
    quantize,
)
from lotus2_ros.model.inference.fast.products import scaled_product
from lotus2_ros.model.inference.fast.rows import QuantizedRows, Sequences, Wanted
from lotus2_ros.model.inference.quantization import EIGHT_BIT_FORMATS, INT8, quantize_rows

GPU = torch.cuda.is_available()
DEVICE = 'cuda' if GPU else 'cpu'
if not GPU:
    os.environ['TRITON_INTERPRET'] = '1'  # read when Triton is imported
pytest.importorskip('triton')

FORMATS = pytest.mark.parametrize('kind', EIGHT_BIT_FORMATS.values(), ids=EIGHT_BIT_FORMATS)


def draw(*shape, seed, dtype=torch.float32):
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return values.to(dtype)


@pytest.fixture
def twice(monkeypatch):
    """Run something by the kernels and without them; both results on the CPU."""

    def run(function, *tensors):
        monkeypatch.setattr(operations, 'runs_kernels', lambda _values: False)
        expected = function(*(t.clone() for t in tensors))
        monkeypatch.setattr(operations, 'runs_kernels', lambda _values: True)
        value = function(*(t.clone().to(DEVICE) for t in tensors))
        return [t.cpu() for t in value], expected

    return run


def parts(rows):
    """Values, scales, and offsets where there are any."""
    return [part for part in rows if part is not None]


def assert_quantized_close(value, expected):
    """Equal but for a step of the format where rounding met a tie; both as `parts` gives them."""
    torch.testing.assert_close(value[1], expected[1], rtol=1e-5, atol=1e-12)
    assert value[0].dtype == expected[0].dtype
    found, wanted = value[0].float(), expected[0].float()
    if value[0].dtype == torch.int8:
        assert (found.min(), found.max()) == (-127, 127)
        difference = (found + value[2][:, None] - wanted - expected[2][:, None]).abs()
        assert difference.max() <= 1
    else:
        difference = (found - wanted).abs()
        if not GPU:
            # The interpreter loses the carry where rounding goes up to a power of two.
            difference[wanted == 2 * found] = 0
        assert (difference <= wanted.abs() / 7 + 2**-8).all()
    assert (difference > 0).float().mean() < 0.01


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(('batch', 'text', 'image', 'width'), [(1, 3, 5, 96), (2, 2, 4, 64)])
@pytest.mark.parametrize('updated', [True, False])
@FORMATS
def test_add_norm(twice, dtype, batch, text, image, width, updated, kind):
    sequences = Sequences(batch, text, image)
    count = batch * sequences.length
    tokens = draw(count, width, seed=0, dtype=dtype)
    values = draw(count, width, seed=1, dtype=dtype)
    constants = [draw(2, width, seed=2 + i, dtype=dtype) for i in range(3)]

    def function(tokens, values, gate, scale, shift):
        update = Update(values, gate) if updated else None
        wanted = Wanted(plain=True, eight_bits=kind)
        rows = add_norm(tokens, sequences, update, Affine(scale, shift), wanted)
        return tokens, rows.plain, *parts(rows.quantized)

    value, expected = twice(function, tokens, values, *constants)
    close = {'rtol': 1e-5, 'atol': 1e-5} if dtype == torch.float32 else {'rtol': 1e-2, 'atol': 1e-2}
    torch.testing.assert_close(value[0], expected[0], **close)
    torch.testing.assert_close(value[1], expected[1], **close)
    if dtype == torch.float32:
        assert_quantized_close(value[2:], expected[2:])
    assert (value[0] != tokens).any() == updated


@pytest.mark.parametrize(('batch', 'text', 'image'), [(1, 3, 4), (2, 0, 3)])
@pytest.mark.parametrize('heads', [3, 4])
def test_norm_rotate(twice, batch, text, image, heads):
    sequences, width = Sequences(batch, text, image), 16
    values = draw(batch * sequences.length, 3, heads, width, seed=5)
    weights = draw(2, 2, width, seed=6)
    angles = draw(sequences.length, width // 2, seed=7)

    def function(values, weights, cosines, sines):
        norm_rotate(values, sequences, weights, Turns(cosines, sines), 1e-6)
        return (values,)

    (value,), (expected,) = twice(function, values, weights, angles.cos(), angles.sin())
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(value[:, 2], values[:, 2])


@pytest.mark.parametrize('before', [0, 24])
@FORMATS
def test_gelu_quantize(twice, before, kind):
    hidden, attended = draw(6, 40, seed=8), draw(6, max(before, 1), seed=9)

    def function(hidden, attended):
        rows = gelu_quantize(attended if before else None, hidden, kind)
        return parts(rows.quantized)

    value, expected = twice(function, hidden, attended)
    assert value[0].shape == (6, before + 40)
    assert_quantized_close(value, expected)


@FORMATS
def test_quantize(twice, kind):
    rows = draw(7, 48, seed=10) * torch.logspace(-4, 4, 7)[:, None]
    rows[2] = 0
    value, expected = twice(lambda rows: parts(quantize(rows, kind)), rows)
    assert_quantized_close(value, expected)


def test_whole_numbers_are_rounded_as_elsewhere(twice):
    rows = draw(300, 96, seed=23) * torch.logspace(-30, 30, 300)[:, None]
    rows[:3] = torch.arange(-31.5, 64.5)  # halves, of a scale of one
    rows[:3, 0], rows[:3, 1] = 127, -127
    rows[150], rows[151] = rows[150].abs(), -rows[151].abs()
    value, expected = twice(lambda rows: quantize(rows, INT8), rows)
    for found, wanted in zip(value, expected, strict=True):
        assert torch.equal(found, wanted)
    assert value[2][[0, 150, 151]].tolist() == [0, 127, -127]


@FORMATS
@pytest.mark.parametrize('wrong', [float('nan'), -float('nan'), float('inf'), -float('inf')])
def test_what_is_not_finite_stays_so(twice, kind, wrong):
    rows = draw(3, 48, seed=24)
    rows[1, 5] = wrong
    for _, scales, *_ in twice(lambda rows: parts(quantize(rows, kind)), rows):
        assert scales.isfinite().tolist() == [True, False, True]


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ('count', 'outputs', 'inputs'),
    [(1, 1, 16), (5, 48, 32), (64, 64, 128), (65, 130, 272), (200, 257, 384), (1300, 96, 64)],
)
def test_int8_product(twice, dtype, count, outputs, inputs):
    rows = quantize(draw(count, inputs, seed=25), INT8)
    weight, weight_scales = quantize_rows(draw(outputs, inputs, seed=26), INT8)
    sums = weight.sum(1, dtype=torch.int32)
    whole = torch.full((count + 3, outputs + 5), 7.0, dtype=dtype, device=DEVICE)

    def function(values, scales, offsets, *rest):
        rows = QuantizedRows(values, scales, offsets)
        place = whole.to(values.device)[1 : count + 1, :outputs]
        given = scaled_product(rows, *rest, place)
        assert given.data_ptr() == place.data_ptr()
        return scaled_product(rows, *rest, None), place.clone()

    bias = draw(outputs, seed=27).to(dtype)
    value, expected = twice(function, *rows, weight, weight_scales[None], sums, bias)
    # The interpreter cuts off what does not fit into bfloat16, where a GPU rounds.
    cut = 2**-7 if dtype == torch.bfloat16 and not GPU else 0
    for found, wanted in zip(value, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=cut, atol=0)
    assert (whole[0] == 7).all()
    assert (whole[count + 1 :] == 7).all()
    assert (whole[:, outputs:] == 7).all()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('added', [True, False])
@pytest.mark.parametrize('active', [True, False])
@pytest.mark.parametrize('biased', [True, False])
@pytest.mark.parametrize(('batch', 'channels', 'groups', 'size'), [(1, 24, 4, 19), (2, 72, 3, 5)])
def test_group_norm(twice, dtype, added, active, biased, batch, channels, groups, size):
    norm = torch.nn.GroupNorm(groups, channels, eps=1e-6).to(dtype)
    norm.weight.data, norm.bias.data = (draw(channels, seed=i).to(dtype) for i in (11, 12))
    norm = norm.to(DEVICE).requires_grad_(requires_grad=False)
    bias = 3 * draw(channels, seed=15) if biased else None
    image = 3 + 2 * draw(batch, channels, size, size + 1, seed=13)

    def function(image, more):
        image, more = (
            x.to(dtype).contiguous(memory_format=torch.channels_last) for x in (image, more)
        )
        here = image.device
        more_bias = None if bias is None else bias.to(here)
        layer = GroupNorm(norm.to(here), active=active, bias=more_bias)
        return layer(image, more if added else None), image

    value, expected = twice(function, image, draw(*image.shape, seed=14))
    close = {'rtol': 1e-4, 'atol': 1e-4} if dtype == torch.float32 else {'rtol': 2e-2, 'atol': 5e-2}
    torch.testing.assert_close(value[0], expected[0], **close)
    torch.testing.assert_close(value[1], expected[1], **close)


@pytest.mark.parametrize('spread', [summed, padded])
@pytest.mark.parametrize('added', [True, False])
@pytest.mark.parametrize('biased', [True, False])
@pytest.mark.parametrize(('batch', 'channels', 'size'), [(1, 24, (19, 7)), (2, 40, (3, 5))])
def test_sums_on_their_way(twice, spread, added, biased, batch, channels, size):
    bias = draw(channels, seed=17) if biased else None

    def function(image, more):
        image, more = (x.contiguous(memory_format=torch.channels_last) for x in (image, more))
        here = None if bias is None else bias.to(image.device)
        return (spread(image, more if added else None, here),)

    image, more = (draw(batch, channels, *size, seed=i) for i in (18, 19))
    (value,), (expected,) = twice(function, image, more)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)


def test_softmax(twice):
    (value,), (expected,) = twice(
        lambda x: (softmax(x, 0.3, torch.float32),), draw(5, 100, seed=20)
    )
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('attended', [0, 24])
def test_gelu_join(twice, attended):
    def function(first, hidden):
        return (gelu_join(first if attended else None, hidden),)

    values = draw(6, max(attended, 1), seed=21), draw(6, 40, seed=22)
    (value,), (expected,) = twice(function, *values)
    assert value.shape == (6, attended + 40)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
