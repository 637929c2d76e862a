from __future__ import annotations

from pathlib import Path

import pytest
from tiny import make_tiny_model

from lotus2_ros.tools.cli import COMMANDS, main


def test_the_overview_lists_every_command(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(['--help'])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    for name, about in COMMANDS.items():
        assert name in text
        assert about in text


@pytest.mark.parametrize('command', COMMANDS)
def test_every_listed_command_explains_itself(command: str, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main([command, '--help'])
    assert exit_info.value.code == 0
    assert f'usage: lotus2 {command}' in capsys.readouterr().out


def test_a_command_line_without_a_known_command_is_refused(capsys):
    assert main([]) == 2
    with pytest.raises(SystemExit) as exit_info:
        main(['fly'])
    assert exit_info.value.code == 2
    assert 'fly' in capsys.readouterr().err


def test_models_shows_ranks_and_loads(tiny_model, capsys):
    assert main(['models', str(tiny_model), '--load']) == 0
    text = capsys.readouterr().out
    assert text.count('LoRA of rank 4') == 4
    assert '0 problems' in text
    assert 'loads: ' in text


def test_models_finds_a_base_elsewhere_and_a_torch_archive(tmp_path, capsys):
    base = tmp_path / 'base'
    folder = make_tiny_model(tmp_path / 'lora', base_folder=base, lcm_pickle=True)
    assert main(['models', str(folder)]) == 1
    assert 'transformer is missing' in capsys.readouterr().out
    assert main(['models', str(folder), '--base', str(base)]) == 0
    assert 'torch archive' in capsys.readouterr().out


def test_models_names_every_file_that_is_wrong(tmp_path: Path, capsys):
    folder = make_tiny_model(tmp_path / 'model')
    (folder / 'lotus-2_core_predictor_depth.safetensors').write_bytes(b'garbage')
    (folder / 'lotus-2_lcm_normal.safetensors').unlink()
    (folder / 'vae' / 'config.json').unlink()
    assert main(['models', str(folder)]) == 1
    text = capsys.readouterr().out
    problems = [line for line in text.splitlines() if line.startswith('problem: ')]
    assert len(problems) == 3
    for name in ('core_predictor_depth', 'lcm_normal', 'config.json'):
        assert any(name in line for line in problems)


def test_models_without_a_folder_lists_what_is_bundled(capsys):
    assert main(['models']) == 0
    assert 'nano' in capsys.readouterr().out
    assert main(['models', 'no-such-folder']) == 1
    assert 'no-such-folder' in capsys.readouterr().err
