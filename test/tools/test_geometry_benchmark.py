from __future__ import annotations

import json

import pytest

from lotus2_ros.geometry.scale.estimate import ScaleEstimate
from lotus2_ros.tools.cli import main

STAGES = (
    *('depth image', 'lidar, 64 lines', 'lidar, 16 lines', 'lidar, 64 lines, moving'),
    *('ground', 'odometry'),
)


def test_it_times_work_that_is_really_done_and_writes_it_down(tmp_path, capsys):
    path = tmp_path / 'figures.json'
    small = ['--width', '320', '--height', '240', '--repeats', '1']
    assert main(['benchmark', 'geometry', *small, '--json', str(path)]) == 0
    figures = json.loads(path.read_text())
    out = capsys.readouterr().out
    for stage in (*STAGES, 'frame to frame', 'filter', 'edge mask', 'depth image: whole frame'):
        assert stage in out
        assert figures[stage][0] > 0.0
    parts = ('depth image', 'frame to frame', 'filter', 'edge mask')
    whole = figures['depth image: whole frame'][0]
    assert whole == pytest.approx(sum(figures[part][0] for part in parts))
    parts = (
        *('depth image, prepared', 'frame to frame, prepared', 'filter', 'edge mask, prepared'),
    )
    left = figures['depth image: after the model'][0]
    assert left == pytest.approx(sum(figures[part][0] for part in parts))


def test_every_source_finds_the_scale_of_its_scene():
    from argparse import ArgumentParser

    from lotus2_ros.tools import geometry_benchmark

    parser = ArgumentParser()
    geometry_benchmark.add_arguments(parser)
    args = parser.parse_args(['--width', '320', '--height', '240'])
    cases = {case.name: case.work for case in geometry_benchmark.cases(args)}
    for stage in STAGES:
        found = cases[stage]()
        assert isinstance(found, ScaleEstimate), (stage, found)
        assert found.a == pytest.approx(2.0, rel=0.06), stage


@pytest.mark.parametrize('option', [['--width', '8'], ['--repeats', '0'], ['--threads', '0']])
def test_an_option_out_of_range_is_refused(option, capsys):
    assert main(['benchmark', 'geometry', *option]) == 1
    assert '--width from 64' in capsys.readouterr().err
