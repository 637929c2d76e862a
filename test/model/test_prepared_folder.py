"""What preparing writes, and what is refused on the way back."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from preparation import SIZES, prepare_folder
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import make_tiny_model

from lotus2_ros.errors import ModelFileError, SettingsError
from lotus2_ros.model.inference.quantization import (
    EIGHT_BIT_FORMATS,
    FP8,
    INT8,
    dequantize_rows,
    quantize_rows,
)
from lotus2_ros.model.prepared.folder import PreparedFolder, find_prepared
from lotus2_ros.model.prepared.manifest import Manifest, record, verify
from lotus2_ros.runtime import Lotus2Predictor

CPU = torch.device('cpu')
FORMATS = pytest.mark.parametrize('kind', EIGHT_BIT_FORMATS.values(), ids=EIGHT_BIT_FORMATS)


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp('model') / 'tiny', max_side=64)


@pytest.fixture(scope='module')
def whole(model, tmp_path_factory):
    """A folder of both tasks in 8 bits, as differences: it has every kind of tensor."""
    out = tmp_path_factory.mktemp('prepared') / 'made'
    prepare_folder(model, out, precision='fp8', layout='shared')
    return out


@pytest.fixture
def made(whole, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(whole, tmp_path / 'made')


def trust(folder, *names):
    """Put damaged files into the manifest, as if they had been made so."""
    path = folder / 'lotus2_prepared.json'
    manifest = json.loads(path.read_text())
    for name in names:
        about = record(folder / name)
        manifest['files'][name] = {'size': about.size, 'sha256': about.sha256}
    path.write_text(json.dumps(manifest))


def stored(folder):
    found = {}
    for path in folder.rglob('*.safetensors'):
        with safe_open(path, 'pt') as file:
            for key in file.keys():  # noqa: SIM118
                found[f'{path.parent.name}/{key}'] = file.get_tensor(key)
    return found


def test_the_manifest_says_what_it_is(model, whole):
    manifest = Manifest.read(whole)
    assert manifest.stages == (
        *('depth_core', 'depth_sharpener', 'normals_core', 'normals_sharpener'),
    )
    assert (manifest.precision, manifest.layout, manifest.base_stage) == (
        *('fp8', 'shared', 'depth_core'),
    )
    assert manifest.sizes == SIZES
    assert 'Non-Commercial' in manifest.licence
    lora = 'lotus-2_core_predictor_depth.safetensors'
    assert manifest.sources[f'model/{lora}'] == record(model / lora)
    assert {'torch', 'diffusers', 'lotus2_ros'} <= set(manifest.versions)
    present = {str(p.relative_to(whole)) for p in whole.rglob('*') if p.is_file()}
    assert present == {*manifest.files, 'lotus2_prepared.json'}


def test_preparing_again_gives_the_same_files(model, whole, tmp_path):
    again = prepare_folder(model, tmp_path / 'again', precision='fp8', layout='shared')
    assert again.files == Manifest.read(whole).files


def test_modulation_is_left_out(model, whole, tmp_path):
    """More than a quarter of FLUX, of which constants are left, unless it was asked for."""
    names = 'norm1.linear', 'norm1_context', 'norm.linear', 'time_text_embed'
    assert not [key for key in stored(whole) if any(name in key for name in names)]
    prepare_folder(model, tmp_path / 'kept', keep_modulation=True)
    kept = stored(tmp_path / 'kept')
    assert all(any(name in key for key in kept) for name in names)


def test_a_stage_is_its_base_plus_factors(model, tmp_path):
    """Against the weights that merging gives."""
    prepare_folder(model, tmp_path / 'merged', precision='float32')
    prepare_folder(model, tmp_path / 'shared', precision='float32', layout='shared')
    merged, shared = (PreparedFolder(tmp_path / name) for name in ('merged', 'shared'))
    for name in merged.manifest.stages:
        whole, parts = merged.stage(name, CPU), shared.stage(name, CPU)
        changed = 0
        for key, value in whole.items():
            weight, layer = parts[key], key.removesuffix('.weight')
            if f'{layer}.down' in parts:
                down, up = parts[f'{layer}.down'], parts[f'{layer}.up']
                rank, rows = up.shape[1], up.shape[0] * up.shape[1] // down.shape[0]
                factors = zip(up.split(rows), down.split(rank), strict=True)
                weight = weight + torch.cat([u @ d for u, d in factors])
                changed += 1
            torch.testing.assert_close(weight, value, atol=1e-5, rtol=1e-5)
        assert (changed == 0) == (name == shared.manifest.base_stage)


def test_stages_share_what_is_the_same(whole):
    folder = PreparedFolder(whole)
    first, second = folder.stage('depth_core', CPU), folder.stage('normals_core', CPU)
    assert all(second[key] is first[key] for key in first)
    assert set(second) - set(first)
    folder.release()
    assert folder.stage('depth_core', CPU)['text'] is not first['text']


@FORMATS
def test_eight_bits_are_rounded_once_from_the_merged_weight(model, tmp_path, kind):
    prepare_folder(model, tmp_path / 'exact', precision='float32')
    prepare_folder(model, tmp_path / 'small', precision=kind.name)
    exact = PreparedFolder(tmp_path / 'exact').stage('depth_sharpener', CPU)
    small = PreparedFolder(tmp_path / 'small').stage('depth_sharpener', CPU)
    scaled = [key for key in small if key.endswith('.weight_scale')]
    blocks = [key for key in exact if exact[key].ndim == 2 and not key.startswith(('x_', 'proj_'))]
    assert len(scaled) == len(blocks)
    for key in scaled:
        name = key.removesuffix('_scale')
        weight, scale = quantize_rows(exact[name], kind)
        assert small[name].dtype == kind.dtype
        assert torch.equal(small[name].view(torch.uint8), weight.view(torch.uint8))
        assert torch.equal(small[key], scale)


@FORMATS
def test_rows_of_zeros_and_of_any_size_are_rounded_alike(kind):
    weight = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))
    weight *= torch.tensor([1e-12, 1.0, 1e12, 0.0, 3.0, 1e-43])[:, None]
    narrow, scale = quantize_rows(weight, kind)
    rounded = dequantize_rows(narrow, scale, torch.float32)
    peak = weight.abs().amax(1, keepdim=True)
    if kind is FP8:
        # 3 bits after the point, and steps of 2^-9 of the scale's unit below its normal range.
        error = weight.abs() / 16 + peak / 448 * 2**-10
    else:
        error = peak / 127 * 0.50001
        assert narrow.min() >= -127
    assert ((rounded - weight).abs() <= error)[:5].all()
    assert torch.equal(rounded[3], weight[3])
    assert (rounded[5].abs() <= 1e-40).all()  # too small for a scale of float32
    assert (narrow.float().abs().amax(1)[[0, 1, 2, 4]] == kind.largest).all()


@FORMATS
@pytest.mark.parametrize('wrong', [float('nan'), float('inf')])
def test_a_weight_that_is_not_finite_stays_so(kind, wrong):
    weight = torch.ones(3, 16)
    weight[1, 2] = wrong
    rounded = dequantize_rows(*quantize_rows(weight, kind), torch.float32)
    assert rounded.isfinite().all(1).tolist() == [True, False, True]


def test_large_files_are_split(model, tmp_path):
    manifest = prepare_folder(model, tmp_path / 'made', precision='float32', shard_bytes=40_000)
    shards = [n for n in manifest.files if n.startswith('shared/') and '-of-' in n]
    assert len(shards) > 2
    assert all(manifest.files[name].size < 50_000 for name in shards)
    assert verify(tmp_path / 'made') == []
    theirs = prepare_folder(model, tmp_path / 'one', precision='float32')
    assert len(theirs.files) < len(manifest.files)
    folders = PreparedFolder(tmp_path / 'made'), PreparedFolder(tmp_path / 'one')
    split, one = (folder.stage('depth_core', CPU) for folder in folders)
    assert all(torch.equal(split[key], one[key]) for key in one)


def test_nothing_is_left_of_a_preparation_that_fails(model, tmp_path):
    broken = shutil.copytree(model, tmp_path / 'broken')
    path = broken / 'lotus-2_detail_sharpener_normal.safetensors'
    tensors = load_file(path)
    del tensors[next(iter(tensors))]
    save_file(tensors, path)
    with pytest.raises(ModelFileError, match=r'detail_sharpener_normal\.safetensors: missing key'):
        prepare_folder(broken, tmp_path / 'out' / 'made')
    assert list((tmp_path / 'out').glob('*')) == list((tmp_path / 'out').glob('.*')) == []


def test_a_folder_is_not_overwritten(model, made):
    with pytest.raises(ModelFileError, match='exists'):
        prepare_folder(model, made)
    assert verify(made) == []


def test_a_full_disk_is_noticed_first(model, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, 'disk_usage', lambda _path: usage._replace(free=100))
    with pytest.raises(ModelFileError, match='GiB are needed'):
        prepare_folder(model, tmp_path / 'made')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('changes', 'match'),
    [({'precision': 'fp4'}, 'fp4'), ({'layout': 'flat'}, 'flat'), ({'shard_bytes': 0}, 'shard')],
)
def test_plans_that_cannot_be(model, tmp_path, changes, match):
    with pytest.raises(SettingsError, match=match):
        prepare_folder(model, tmp_path / 'made', **changes)


def test_verify_finds_every_damage(made):
    assert verify(made) == []
    path = made / 'depth_core' / 'weights.safetensors'
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    (made / 'depth_lcm.safetensors').unlink()
    with (made / 'vae' / 'config.json').open('a') as file:
        file.write(' ')
    save_file({'x': torch.zeros(1)}, made / 'stray.safetensors')
    problems = verify(made)
    assert len(problems) == 4
    for name in ('depth_core/weights', 'depth_lcm', 'vae/config.json', 'stray'):
        assert sum(name in problem for problem in problems) == 1


@pytest.mark.parametrize('name', ['shared/weights.safetensors', 'vae/config.json'])
def test_a_missing_or_shortened_file_is_noticed_before_loading(made, name):
    path = made / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match=rf'{name} has \d+ bytes'):
        PreparedFolder(made)
    path.unlink()
    with pytest.raises(ModelFileError, match=rf'{name} is missing'):
        PreparedFolder(made)


@pytest.mark.parametrize(
    ('file', 'change', 'match'),
    [
        ('depth_core', lambda t: t.pop('doubles.0.image.up.weight'), 'missing key .*up.weight'),
        ('depth_core', lambda t: t.pop('doubles.0.image.up.weight_scale'), 'missing key .*_scale'),
        ('depth_core', lambda t: t.update(text=torch.zeros(2)), 'unexpected key text'),
        ('shared', lambda t: t.update(more=torch.zeros(2)), 'unexpected key more'),
        ('shared', lambda t: t.update(text=torch.zeros(1, 2, 3)), r'text has shape \(1, 2, 3\)'),
        ('shared', lambda t: t.update(text=t['text'].float()), 'text is torch.float32'),
        ('normals_core', lambda t: t.pop('singles.1.heads.qkv.up'), r'missing key .*qkv\.up'),
        (
            'normals_core',
            lambda t: t.update({'singles.1.heads.qkv.up': torch.zeros(96, 7)}),
            r'singles\.1\.heads\.qkv\.up has shape \(96, 7\); expected \(96, 8\)',
        ),
    ],
)
def test_wrong_tensors_are_named_with_their_stage(made, file, change, match):
    refused_after(made, file, change, match)


@pytest.mark.parametrize(
    ('stored', 'other', 'found', 'expected'),
    [(FP8, INT8, 'int8', 'float8_e4m3fn'), (INT8, FP8, 'float8_e4m3fn', 'int8')],
)
@pytest.mark.parametrize(
    ('file', 'layer'), [('depth_core', 'doubles.0.text.out'), ('shared', 'singles.1.down')]
)
def test_a_weight_of_another_format_is_named(
    model, tmp_path, stored, other, found, expected, file, layer
):
    """One of 8 bits, in a folder of other 8 bits."""
    prepare_folder(model, tmp_path / 'made', precision=stored.name, layout='shared')

    def change(tensors):
        weight, scale = quantize_rows(tensors[f'{layer}.weight'].float(), other)
        tensors |= {f'{layer}.weight': weight, f'{layer}.weight_scale': scale}

    pattern = rf'{layer}.weight is torch\.{found}; expected torch\.{expected}'
    refused_after(tmp_path / 'made', file, change, pattern)


def test_a_folder_that_is_said_to_be_in_another_format_is_refused(made):
    path = made / 'lotus2_prepared.json'
    path.write_text(path.read_text().replace('"precision": "fp8"', '"precision": "int8"'))
    with pytest.raises(
        ModelFileError, match=r'weight is torch\.float8_e4m3fn; expected torch\.int8'
    ):
        Lotus2Predictor.from_pretrained(made, device='cpu')


def refused_after(made, file, change, match):
    """A change of a file's tensors is refused, naming file and key."""
    name = f'{file}/weights.safetensors'
    tensors = load_file(made / name)
    change(tensors)
    save_file(tensors, made / name)
    trust(made, name)
    with pytest.raises(ModelFileError, match=f'{file}/weights.safetensors: {match}'):
        Lotus2Predictor.from_pretrained(made, device='cpu')


@pytest.mark.parametrize(
    ('change', 'match'),
    [
        (lambda m: m.update(format=99), 'format is 99'),
        (lambda m: m.pop('layout'), 'layout'),
        (lambda m: m.update(precision='int4'), 'int4'),
        (lambda m: m.update(base_stage='nothing'), 'base_stage'),
        (lambda m: m['files'].update({'../x': {'size': 1, 'sha256': ''}}), 'leads out'),
        (lambda m: m.update(files=3), 'damaged'),
    ],
)
def test_a_wrong_manifest_is_refused(made, change, match):
    path = made / 'lotus2_prepared.json'
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(ModelFileError, match=match):
        PreparedFolder(made)


def test_prepared_folders_are_known_by_their_manifest(model, whole, tmp_path):
    assert find_prepared(whole) == whole
    assert find_prepared(str(whole)) == whole
    assert find_prepared(model) is None
    assert find_prepared('nano') is None
    assert find_prepared('') is None
    assert find_prepared('owner/name') is None
