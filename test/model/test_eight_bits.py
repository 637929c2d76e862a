"""Weights in 8 bits reach the accelerated network as they are stored, and once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from preparation import prepare_folder
from safetensors.torch import load_file
from tiny import make_tiny_model
from torch import Tensor, nn

from lotus2_ros.errors import DeviceError, ModelFileError
from lotus2_ros.model.inference.eight_bits import EightBitLinear
from lotus2_ros.model.inference.fast.linear import DifferenceLinear, QuantizedLinear, row_linear
from lotus2_ros.model.inference.fast.operations import quantize
from lotus2_ros.model.inference.fast.rows import QuantizedRows, Rows
from lotus2_ros.model.inference.fast.transformer import FastTransformer
from lotus2_ros.model.inference.low_rank import LowRankLinear
from lotus2_ros.model.inference.quantization import (
    EIGHT_BIT_FORMATS,
    FP8,
    INT8,
    eight_bit_format,
    format_of,
    quantize_rows,
)
from lotus2_ros.model.inference.skeleton import filled
from lotus2_ros.model.portion import Portion
from lotus2_ros.model.prepared.folder import PreparedFolder
from lotus2_ros.model.prepared.loading import load
from lotus2_ros.runtime.acceleration import accelerate

CPU = torch.device('cpu')
FORMATS = pytest.mark.parametrize('kind', EIGHT_BIT_FORMATS.values(), ids=EIGHT_BIT_FORMATS)


def draw(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def eight_bit_layer(kind, outputs=48, inputs=32):
    weight, bias = draw(outputs, inputs, seed=1), draw(outputs, seed=2)
    return EightBitLinear(*quantize_rows(weight, kind), bias), weight


def tensors_of(value, seen=None):
    """Every tensor that can be reached from an object of ours."""
    seen = {} if seen is None else seen
    if id(value) in seen:
        return []
    seen[id(value)] = value
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, nn.Module):
        parts = [*value._parameters.values(), *value._buffers.values(), *value._modules.values()]
        parts += [part for name, part in vars(value).items() if not name.startswith('__')]
    elif isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, list | tuple):
        parts = list(value)
    elif type(value).__module__.startswith('lotus2_ros.'):
        parts = list(getattr(value, '__dict__', {}).values())
        parts += [getattr(value, name) for name in getattr(value, '__slots__', ())]
    else:
        return []
    return [tensor for part in parts for tensor in tensors_of(part, seen)]


@pytest.fixture(scope='module', params=EIGHT_BIT_FORMATS)
def made(tmp_path_factory, request):
    """A folder in 8 bits with one base, the model loaded from it, accelerated and used once."""
    folder = tmp_path_factory.mktemp('prepared')
    model = make_tiny_model(folder / 'tiny', max_side=64)
    prepare_folder(model, folder / 'made', precision=request.param, layout='shared')
    loaded = load(
        PreparedFolder(folder / 'made'),
        Portion(('depth', 'normals'), ('depth', 'normals')),
        device=CPU,
        eight_bits=True,
    )
    accelerate(loaded, torch.device('cpu'))
    latent = draw(1, 16, 6, 8, seed=3).bfloat16()
    for network in loaded.tasks.values():
        network.core(latent)
        network.sharpener_transformer(latent, 1.0)
    return SimpleNamespace(
        path=folder / 'made', model=loaded, kind=EIGHT_BIT_FORMATS[request.param]
    )


def test_formats_are_known_by_their_precision_and_by_their_numbers():
    assert eight_bit_format('int8') is INT8
    assert [eight_bit_format(word) for word in ('bfloat16', 'auto', '', None)] == [None] * 4
    assert format_of(torch.zeros(2, dtype=torch.float8_e4m3fn)) is FP8
    with pytest.raises(ValueError, match=r'bfloat16, which is no format of 8 bits'):
        format_of(torch.zeros(2, dtype=torch.bfloat16))


@FORMATS
def test_a_layer_stands_for_its_rounded_weight(kind):
    layer, weight = eight_bit_layer(kind)
    x = draw(2, 5, 32, seed=3)
    exact = nn.functional.linear(x, weight, layer.bias)
    assert 0 < float((layer(x) - exact).norm() / exact.norm()) < 0.05
    assert torch.equal(layer.rows(x, 16), layer(x)[..., 16:])
    assert set(layer.state_dict()) == {'weight', 'weight_scale', 'bias'}


@FORMATS
def test_a_difference_is_added_to_a_weight_in_8_bits(kind):
    layer, _ = eight_bit_layer(kind)
    down, up = draw(6, 32, seed=4), draw(48, 2, seed=5)
    both, x = LowRankLinear(layer, down, up), draw(5, 32, seed=6)
    groups = [up[16 * g : 16 * (g + 1)] @ down[2 * g : 2 * (g + 1)] for g in range(3)]
    expected = layer(x) + x @ torch.cat(groups).t()
    torch.testing.assert_close(both(x), expected)
    torch.testing.assert_close(both.rows(x, 16), expected[:, 16:])
    assert both.weight.data_ptr() == layer.weight.data_ptr()


@FORMATS
def test_rows_are_multiplied_with_the_stored_tensors(kind):
    layer, _ = eight_bit_layer(kind)
    fast = row_linear(layer)
    assert isinstance(fast, QuantizedLinear)
    x = draw(5, 32, seed=7)
    rows = quantize(x, kind)
    # Of the same rounded input both make the same.
    rounded = rows.values.float() + (0 if rows.offsets is None else rows.offsets[:, None])
    expected = layer(rounded * rows.scales[:, None])
    torch.testing.assert_close(fast(Rows(None, rows)), expected)
    joined = row_linear(LowRankLinear(layer, x[:2], draw(48, 2, seed=8)))
    assert isinstance(joined, DifferenceLinear)
    for part in (fast, joined._base):
        assert part.weight.data_ptr() == layer.weight.data_ptr()
        assert part.scale.data_ptr() == layer.weight_scale.data_ptr()


@pytest.mark.parametrize(
    ('kind', 'outputs', 'inputs'), [(FP8, 50, 32), (FP8, 48, 24), (INT8, 48, 24)]
)
def test_widths_that_products_do_not_take(kind, outputs, inputs):
    layer, _ = eight_bit_layer(kind, outputs, inputs)
    with pytest.raises(DeviceError, match=rf'{kind.name}, .* multiples of 16 .*acceleration'):
        row_linear(layer)


def test_whole_numbers_add_up_without_an_error():
    """Of FLUX's widest rows: float32 holds no sum that large, int32 does."""
    generator = torch.Generator().manual_seed(10)
    values, weight = (
        torch.randint(100, 128, (n, 15360), generator=generator, dtype=torch.int8) for n in (3, 5)
    )
    fast = QuantizedLinear(weight, torch.ones(5), torch.zeros(5))
    offsets = torch.tensor([127, -127, 3], dtype=torch.int32)
    found = fast(Rows(None, QuantizedRows(values, torch.ones(3), offsets)))
    sums = (values.long() + offsets[:, None]) @ weight.long().t()
    assert 2**28 < sums.max() < 2**31
    assert torch.equal(found, sums.float())


def test_rows_and_weights_of_two_formats_are_not_multiplied():
    fast = row_linear(eight_bit_layer(INT8)[0])
    with pytest.raises(ValueError, match=r'float8_e4m3fn meet a weight in torch\.int8'):
        fast(Rows(None, quantize(draw(5, 32, seed=9), FP8)))


def test_weights_of_two_formats_in_a_network_are_named(made):
    folder = PreparedFolder(made.path)
    tensors = dict(folder.stage('depth_core', CPU))
    layer = 'singles.1.up'
    other = FP8 if made.kind is INT8 else INT8
    weight, scale = quantize_rows(tensors[f'{layer}.weight'].float(), other)
    tensors |= {f'{layer}.weight': weight, f'{layer}.weight_scale': scale}
    with pytest.raises(ModelFileError, match=rf'singles\.1\.up\.weight is in {other.name}, but'):
        filled(folder.shape, 8, folder.modulation(CPU), tensors)


def test_stages_share_one_base(made):
    networks = made.model.tasks.values()
    chosen = [t for n in networks for t in (n.core_transformer, n.sharpener_transformer)]
    assert all(isinstance(transformer, FastTransformer) for transformer in chosen)
    base, *others = [transformer._doubles[0]._image for transformer in chosen]
    assert isinstance(base.qkv, QuantizedLinear)
    for name in ('qkv', 'out', 'up', 'down'):
        stored = getattr(base, name)
        for other in others:
            layer = getattr(other, name)
            assert isinstance(layer, DifferenceLinear)
            assert layer._base.weight.data_ptr() == stored.weight.data_ptr()
            assert layer._base.scale.data_ptr() == stored.scale.data_ptr()
            assert layer._base.bias.data_ptr() == stored.bias.data_ptr()
    for other in chosen[1:]:
        assert other._singles[0]._down.weight.data_ptr() == (
            chosen[0]._singles[0]._down.weight.data_ptr()
        )


def test_memory_holds_the_stored_tensors_and_nothing_like_them(made):
    """Bytes by storage: a copy, a dense weight or a second base would show."""
    folder = made.path
    networks = list(made.model.tasks.values())
    reached = tensors_of([(n.core_transformer, n.sharpener_transformer) for n in networks])
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in reached}
    dtype = made.kind.dtype
    eight = {t.untyped_storage().data_ptr() for t in reached if t.dtype == dtype}
    files = {
        file: load_file(file)
        for stage in (
            'shared',
            'depth_core',
            'depth_sharpener',
            'normals_core',
            'normals_sharpener',
        )
        for file in (folder / stage).glob('*.safetensors')
    }
    stored = [tensor for file in files.values() for tensor in file.values()]
    expected = sum(t.nbytes for t in stored if t.dtype == dtype)
    assert sum(storages[place] for place in eight) == expected > 0
    # No tensor of a weight's shape is in another precision.
    shapes = {t.shape for t in stored if t.dtype == dtype}
    edges = {(32, 64), (64, 32)}
    wide = {tuple(t.shape) for t in reached if t.dtype != dtype and t.shape in shapes}
    assert wide <= edges
