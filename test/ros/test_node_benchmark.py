"""`lotus2 benchmark node` with a real node, camera and receiver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_demo import processes_with

from lotus2_ros.ros import plan

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, '-m', 'lotus2_ros.tools.cli', 'benchmark', 'node', '--threads', '1']
QUICK = ['--size', '64x48', '--rate', '5', '--duration', '3', '--warmup', '0.2']


@pytest.fixture(scope='module')
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp('model') / 'small', max_side=64)


def benchmark(*options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, options)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


@pytest.mark.timeout(200)
def test_every_output_is_timed_in_both_phases_and_the_node_started_twice(tmp_path, small_model):
    file, logs = tmp_path / 'node.json', tmp_path / 'logs'
    done = benchmark(
        '--model', small_model, *QUICK, '--sharpen-steps', '2', '--sharpen-rate', '2',
        '--set', 'cloud_normals=true', '--json', file, '--logs', logs,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(file.read_text())
    core, sharpening = report['phases']
    assert core['sharpened'] == 0
    assert sharpening['sharpened'] > 1
    for phase in (core, sharpening):
        assert phase['images'] > 5
        assert 0 < phase['worked_on'] <= 1
        for topic in plan.TOPICS:
            if topic in plan.MAY_BE_SILENT:
                continue
            assert 0 < phase['outputs'][topic]['received'] <= 1, topic
            assert phase['outputs'][topic]['latency']['p50'] > 0
        beyond = phase['depth_beyond_own_time']
        assert 0 < beyond['p50'] <= beyond['p95'] <= beyond['p99']
        assert beyond['p50'] < phase['outputs']['depth/image']['latency']['p50']
    assert core['outputs']['sharp/points']['messages'] == 0
    assert sharpening['outputs']['sharp/points']['messages'] > 0
    assert len(report['starts']) == 2
    assert min(report['starts']) > 0
    assert report['node']['model folder'] == 'tiny'
    assert report['node']['sharpening'] == '2 steps at 2 Hz'
    assert 'beyond own time' in done.stdout
    assert 'core alone ...' in done.stderr
    assert {path.name for path in logs.iterdir()} == {
        'camera_player.log', 'depth_node_1.log', 'depth_node_2.log',
    }  # fmt: skip
    assert processes_with(str(small_model)) == []


def test_a_node_that_cannot_start_is_told_with_its_log(tmp_path):
    done = benchmark('--model', tmp_path / 'no_model', *QUICK)
    assert done.returncode == 1
    assert 'depth_node has given up' in done.stderr
    assert 'no_model' in done.stderr
    assert processes_with(str(tmp_path)) == []


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (['--set', 'no_such=1'], 'no_such'),
        (['--set', 'cloud_color'], 'NAME=VALUE'),
        (['--set', 'cameras=["left"]'], 'one camera'),
        (['--tasks', 'normals'], 'depth in metres'),
        (['--sharpen-rate', '1000'], 'sharpen_rate_hz'),
        (['--size', 'large'], 'large'),
        (['--duration', '0'], '--duration'),
    ],
)
def test_options_that_cannot_be_used_are_named_before_anything_starts(options, said, capsys):
    from lotus2_ros.tools.cli import main

    assert main(['benchmark', 'node', *options]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ('number', 'moment'), [(signal.SIGINT, 'starting the node'), (signal.SIGTERM, 'LOADING')]
)
def test_a_signal_ends_all_that_was_started(tmp_path, small_model, number, moment):
    folder = tmp_path / 'temporary'
    folder.mkdir()
    running = subprocess.Popen(
        [*COMMAND, '--model', str(small_model), *QUICK, '--duration', '100'],
        cwd=ROOT,
        env={**os.environ, 'TMPDIR': str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert any(moment in line for line in running.stderr)
    assert len(processes_with(str(small_model))) >= 2
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert 'interrupted' in said
    assert processes_with(str(small_model)) == []
    assert list(folder.iterdir()) == []
