"""`lotus2 benchmark pace` on a real small model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny import make_tiny_model

from lotus2_ros.tools.cli import main
from lotus2_ros.tools.pace_benchmark import Pace
from lotus2_ros.types import Prediction

COMMAND = ['benchmark', 'pace', '--device', 'cpu', '--size', '48x32']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return str(make_tiny_model(tmp_path_factory.mktemp('tiny'), max_side=64))


def test_images_are_timed_with_and_without_sharpening(folder, tmp_path, capsys):
    file = tmp_path / 'pace.json'
    options = [
        '--model', folder, '--tasks', 'depth', '--camera-rate', '5', '--sharpen-rate', '2',
        '--sharpen-steps', '3', '--seconds', '2', '--json', str(file),
    ]  # fmt: skip
    assert main([*COMMAND, *options]) == 0
    report = json.loads(file.read_text())
    # Beside frames is for GPUs: test_cuda.py.
    alone, between = report['phases']
    assert (alone['sharpening'], between['sharpening']) == ('alone', 'between')
    assert (alone['sharpened'], alone['step_ms']) == (0, None)
    assert between['sharpened'] >= 1
    assert between['step_ms'] > 0
    for phase in (alone, between):
        assert 1 <= phase['images_done'] <= phase['images_due'] <= 11
        core = phase['core_ms']
        assert 0 < core['p50'] <= core['p90'] <= core['p99'] <= core['max']
    shown = capsys.readouterr().out
    assert '48x32 at 5 Hz; 3 steps at 2 Hz' in shown
    assert f'| between | {between["images_done"]} of {between["images_due"]} |' in shown


def test_an_image_is_taken_once_when_due_and_only_the_newest():
    now_s = [7.0]
    pace = Pace(10.0, np.zeros((2, 2, 3), np.uint8), ('depth',), clock=lambda: now_s[0])
    assert pace.take().sequence == 0
    now_s[0] = 7.36
    job = pace.take()
    assert (job.sequence, pace.take()) == (3, None)
    assert pace.until_next_s() == pytest.approx(0.04)
    now_s[0] = 7.45
    assert pace.until_next_s() == 0
    pace.emit(job, Prediction(disparity=None, normals=None), False)
    pace.emit(job, Prediction(disparity=None, normals=None, timings={'sharpen': 1.0}), True)
    assert pace.latencies_s == pytest.approx([0.15])
    assert pace.sharp == [{'sharpen': 1.0}]


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (['--camera-rate', '0'], '--camera-rate'),
        (['--sharpen-rate', 'nan'], '--sharpen-rate'),
        (['--seconds', '-1'], '--seconds'),
        (['--size', 'large'], 'large'),
        (['--sharpen-steps', '11'], 'sharpen_steps is 11'),
    ],
)
def test_options_that_cannot_be_used_are_named(folder, options, said, capsys):
    assert main([*COMMAND, '--model', folder, *options]) == 1
    assert said in capsys.readouterr().err
