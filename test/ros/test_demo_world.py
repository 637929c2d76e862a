"""`lotus2 demo --world` and `lotus2 evaluate --live` as a user runs them, over DDS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from lotus2_ros.tools.domains import reserve_domain

ROOT = Path(__file__).resolve().parents[2]

if 'DISPLAY' not in os.environ:
    os.environ.setdefault('MUJOCO_GL', 'egl')
pytest.importorskip('mujoco', reason='MuJoCo is not installed', exc_type=Exception)
pytest.importorskip('matplotlib', reason='matplotlib is not installed')


def lotus2(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-m', 'lotus2_ros.tools.cli', *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.timeout(220)
def test_the_world_ends_with_pictures_and_figures(tmp_path):
    from tiny import make_tiny_model

    model = make_tiny_model(tmp_path / 'tiny', max_side=64)
    out = tmp_path / 'out'
    done = lotus2(
        *('demo', '--world', '--scale-mode', 'fixed', '--model', str(model), '--out', str(out)),
        *('--seconds', '12', '--rate', '2'),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'metric AbsRel' in done.stdout
    assert 'obstacles found by points/nav' in done.stdout
    result = json.loads((out / 'live.json').read_text())
    assert result['images'] == len(result['rows']) >= 1
    assert result['figures']['abs_rel'] > 0
    assert result['figures']['oracle_abs_rel'] > 0
    assert set(result['latency']) >= {
        'depth/image',
        'normals/image',
        'points',
        'points/nav',
        'scan',
    }
    assert cv2.imread(str(out / 'world.png')).std() > 10
    assert (out / 'live.png').exists()
    assert (out / 'live.csv').exists()


@pytest.mark.timeout(120)
def test_live_says_what_it_misses_where_nothing_runs(monkeypatch, capsys):
    from lotus2_ros.tools import evaluate_live
    from lotus2_ros.tools.cli import main

    monkeypatch.setattr(evaluate_live, '_FIRST_S', 1.0)
    monkeypatch.setenv('ROS_DOMAIN_ID', str(reserve_domain()))
    assert main(['evaluate', '--live', '--seconds', '1']) == 1
    assert '0 on /truth/depth' in capsys.readouterr().err
