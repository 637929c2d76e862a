"""Scale modes one after another in the simulated world, without the world."""

from __future__ import annotations

import json

import pytest

from lotus2_ros.errors import SettingsError
from lotus2_ros.tools.world_modes import modes_of, run_modes, scale_parameters


def test_modes_are_named_in_a_list_and_joined_to_be_fused():
    assert modes_of('depth, points,depth+ground') == ['depth', 'points', 'depth+ground']
    assert scale_parameters('odometry') == {'scale_mode': 'odometry'}
    fused = scale_parameters('points+odometry')
    assert fused == {'scale_mode': 'fused', 'scale_sources': ['points', 'odometry']}


@pytest.mark.parametrize(
    'text', ['', 'depth,', 'sonar', 'depth+sonar', 'depth,depth', 'depth+depth']
)
def test_what_is_no_mode_is_refused(text):
    with pytest.raises(SettingsError):
        modes_of(text)


def summary(ratio=None):
    figures = (
        {} if ratio is None else {'abs_rel': 0.1 * ratio, 'oracle_abs_rel': 0.1, 'ratio': ratio}
    )
    return {'images': 8, 'figures': figures, 'scale_states': {'locked': 6, 'locking': 2}}


def test_every_mode_has_its_folder_and_its_row(tmp_path, capsys):
    seen = []

    def run(mode, folder):
        assert folder.is_dir()
        seen.append((mode, folder.name))
        return summary(1.25 if mode == 'depth' else None)

    results = run_modes(['depth', 'points+ground'], tmp_path, run)
    assert seen == [('depth', 'depth'), ('points+ground', 'points+ground')]
    assert json.loads((tmp_path / 'modes.json').read_text()) == results
    table = (tmp_path / 'modes.md').read_text()
    assert '| depth | 8 | 75% | 0.125 | 0.100 | 1.25 |  |  |' in table
    assert '| points+ground | 8 | 75% |  |  |  |  |  |' in table
    assert table.strip() in capsys.readouterr().out


def test_one_mode_writes_where_it_was_told_to(tmp_path):
    run_modes(['depth'], tmp_path, lambda _, folder: summary() if folder == tmp_path else {})
    assert list(tmp_path.iterdir()) == []
