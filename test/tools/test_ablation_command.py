from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

import lotus2_ros
from lotus2_ros.tools.cli import main

NANO = Path(lotus2_ros.__file__).parent / 'models' / 'nano'


def test_ablation_writes_a_table_and_a_picture(tmp_path, capsys):
    arguments = ['train', 'ablation', '--start', str(NANO), '--out', str(tmp_path)]
    small = ['--device', 'cpu', '--steps', '1', '--batch', '1', '--scenes', '2', '--size', '48x64']
    assert main([*arguments, *small]) == 0
    written = json.loads((tmp_path / 'ablation.json').read_text())
    assert written['about']['steps'] == 1
    rows = [row for judged in written['variants'].values() for row in judged]
    # Three single-step variants and a flow judged at three numbers of steps.
    assert len(rows) == 6
    assert all(row['abs_rel'] > 0 for row in rows)
    table = (tmp_path / 'ablation.md').read_text()
    assert all(row['name'] in table for row in rows)
    assert rows[-1]['name'] in capsys.readouterr().out
    # Picture, truth and six predictions of two scenes.
    assert cv2.imread(str(tmp_path / 'ablation.jpg')).shape == (2 * 48, 8 * 64, 3)


@pytest.mark.parametrize('size', ['48', '48x', 'wide', '50x64'])
def test_a_size_that_cannot_be_used_is_refused(tmp_path, capsys, size):
    command = ['train', 'ablation', '--start', str(NANO), '--out', str(tmp_path), '--size', size]
    assert main(command) != 0
    assert 'multiples of 16' in capsys.readouterr().err
