from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from rig import wait_until

from lotus2_ros.ros import plan
from lotus2_ros.ros.listener import Scene
from lotus2_ros.tools.demo import not_sharpened

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp('model') / 'small', max_side=64)


def demo(out: Path, model: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-m', 'lotus2_ros.tools.cli', 'demo', '--out', str(out)]
    return subprocess.run(
        [*command, '--model', str(model), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def processes_with(text: str) -> list[int]:
    found = []
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            command = (folder / 'cmdline').read_bytes()
        except OSError:
            continue  # it has just ended
        if text.encode() in command and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


@pytest.mark.timeout(200)
def test_every_topic_delivers_and_pictures_are_written(tmp_path, small_model):
    out = tmp_path / 'out'
    done = demo(out, small_model, '--seconds', '5', '--rate', '3')
    assert done.returncode == 0, done.stdout + done.stderr
    for prefix in ('', 'sharp/'):
        for topic in plan.TOPICS:
            assert f' /depth_node/{prefix}{topic} ' in done.stdout
    assert '/diagnostics' in done.stdout
    assert '32FC3' in done.stdout
    assert 'for show' in done.stdout
    sheet = cv2.imread(str(out / 'all_scenes.png'))
    assert sheet.std() > 10
    rows = [cv2.imread(str(path)) for path in sorted(out.glob('scene_*.png'))]
    assert rows
    # Below the captions, the fifth column of six.
    columns = slice(rows[0].shape[1] * 4 // 6 + 10, rows[0].shape[1] * 5 // 6 - 10)
    spreads = [row[60:, columns].std() for row in rows]
    assert ('were not sharpened' in done.stdout) == (min(spreads) < 10)
    assert processes_with(str(small_model)) == []


def test_photographs_without_a_sharpened_picture_are_counted():
    rgb = np.zeros((2, 3, 3), np.uint8)
    results = {}, {'sharp/depth/color': None}, {'depth/color': None}
    assert not_sharpened([Scene(rgb, messages) for messages in results]) == 2


def test_a_node_that_cannot_start_fails_the_demo_with_its_log(tmp_path):
    done = demo(tmp_path / 'out', tmp_path / 'no_model', '--seconds', '2')
    assert done.returncode == 1
    assert 'no_model' in done.stderr
    assert 'depth_node has given up' in done.stderr
    assert 'depth_node.log' in done.stderr
    assert processes_with(str(tmp_path)) == []


def test_nothing_is_left_running_when_the_demo_is_killed(tmp_path, small_model):
    command = [sys.executable, '-m', 'lotus2_ros.tools.cli', 'demo', '--model', str(small_model)]
    out = tmp_path / 'out'
    # Its temporary folder tells the player apart from those of others.
    folder = tmp_path / 'temporary'
    folder.mkdir()
    running = subprocess.Popen(
        [*command, '--out', str(out)],
        cwd=ROOT,
        env={**os.environ, 'TMPDIR': str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    wait_until(lambda: len(processes_with(str(small_model))) >= 2, 60, 'the depth node starts')
    running.kill()
    running.wait()
    wait_until(lambda: not processes_with(str(small_model)), 30, 'the depth node ends')
    wait_until(lambda: not processes_with(str(folder)), 30, 'the player ends')
