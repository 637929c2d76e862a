from __future__ import annotations

import json
from argparse import ArgumentParser

import pytest

from lotus2_ros.geometry.scale.estimate import ScaleEstimate
from lotus2_ros.tools.cli import main
from lotus2_ros.tools.geometry_benchmark import SOURCES, add_arguments, cases

PARTS = ('frame to frame', 'edge mask')


def test_it_times_work_that_is_really_done_and_writes_it_down(tmp_path, capsys):
    path = tmp_path / 'figures.json'
    small = ['--width', '320', '--height', '240', '--repeats', '1']
    assert main(['benchmark', 'geometry', *small, '--json', str(path)]) == 0
    figures = json.loads(path.read_text())
    out = capsys.readouterr().out
    assert {'depth image', 'lidar, 64 lines', 'lidar, 16 lines', 'ground', 'odometry'} < {*SOURCES}
    for source in SOURCES:
        for whole, prepared in (('whole frame', ''), ('after the model', ', prepared')):
            parts = [*(f'{part}{prepared}' for part in (source, *PARTS)), 'filter']
            for row in (*parts, f'{source}: {whole}'):
                assert row in out
                assert figures[row][0] > 0.0
            total = sum(figures[part][0] for part in parts)
            assert figures[f'{source}: {whole}'][0] == pytest.approx(total)


def test_every_source_finds_the_scale_of_its_scene_prepared_or_not():
    parser = ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(['--width', '320', '--height', '240'])
    work = {case.name: case.work for case in cases(args)}
    for source in SOURCES:
        found, prepared = work[source](), work[f'{source}, prepared']()
        assert isinstance(found, ScaleEstimate), (source, found)
        assert found.a == pytest.approx(2.0, rel=0.06), source
        assert (found.a, found.b) == (prepared.a, prepared.b)


@pytest.mark.parametrize('option', [['--width', '8'], ['--repeats', '0'], ['--threads', '0']])
def test_an_option_out_of_range_is_refused(option, capsys):
    assert main(['benchmark', 'geometry', *option]) == 1
    assert '--width from 64' in capsys.readouterr().err
