"""`lotus2 models prepare` and `verify`, and what becomes of their folder."""

from __future__ import annotations

import pytest
from tiny import make_tiny_model

from lotus2_ros.errors import ModelFileError
from lotus2_ros.model.prepared.manifest import Manifest
from lotus2_ros.ros.model_folder import check_model_folder
from lotus2_ros.tools.cli import main


@pytest.mark.parametrize('precision', ['fp8', 'int8'])
def test_prepare_verify_show_and_predict_with_it(tmp_path, capsys, precision):
    base = tmp_path / 'base'
    lora = make_tiny_model(tmp_path / 'lora', base_folder=base, max_side=64)
    out = tmp_path / 'made'
    command = ['models', 'prepare', str(lora), '--base', str(base), '--out', str(out)]
    options = [
        '--precision',
        precision,
        '--layout',
        'shared',
        '--sizes',
        '128x96',
        '--tasks',
        'depth',
    ]
    assert main([*command, *options, '--keep-modulation', '--shard-gib', '0.00002']) == 0
    captured = capsys.readouterr()
    assert str(out) in captured.out
    assert 'Non-Commercial' in captured.out
    assert 'weights' in captured.err
    manifest = Manifest.read(out)
    assert (manifest.precision, manifest.layout) == (precision, 'shared')
    assert manifest.sizes == ((96, 128),)
    assert manifest.tasks == ('depth',)
    assert manifest.keeps_modulation
    assert any('-of-' in name for name in manifest.files)
    assert main(['models', 'verify', str(out)]) == 0
    assert '0 problems' in capsys.readouterr().out
    assert main(['models', str(out), '--load']) == 0
    text = capsys.readouterr().out
    assert 'depth_core depth_sharpener' in text
    assert 'loads: ' in text
    check_model_folder(str(out), '')
    with pytest.raises(ModelFileError, match='takes no base'):
        check_model_folder(str(out), str(base))
    (out / 'depth_lcm.safetensors').unlink()
    assert main(['models', 'verify', str(out)]) == 1
    assert 'depth_lcm.safetensors is missing' in capsys.readouterr().out


def test_prepare_without_sharpener_needs_no_sharpener(tmp_path):
    model = make_tiny_model(tmp_path / 'tiny', sharpener=False)
    out = tmp_path / 'made'
    assert main(['models', 'prepare', str(model), '--out', str(out), '--no-sharpener']) == 0
    assert Manifest.read(out).stages == ('depth_core', 'normals_core')


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        (['--sizes', '640'], "'640' is no size"),
        (['--sizes', '8x8'], 'too small'),
        (['--shard-gib', '0'], 'shard size'),
        (['--device', 'cuda:99'], 'cuda'),
        (['--base', 'no-such-folder'], 'no-such-folder'),
    ],
)
def test_prepare_refuses(tiny_model, tmp_path, options, match, capsys):
    command = ['models', 'prepare', str(tiny_model), '--out', str(tmp_path / 'made'), *options]
    assert main(command) == 1
    assert match in capsys.readouterr().err
    assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize('word', ['prepare', 'verify', 'random'])
def test_words_explain_themselves(word, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(['models', word, '--help'])
    assert exit_info.value.code == 0
    assert f'usage: lotus2 models {word}' in capsys.readouterr().out
