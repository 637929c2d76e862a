"""A run that is killed in the middle goes on as if it had not been: the same curve to the bit."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from recipe_runs import SETTINGS, as_numbers, changes, curve, start
from safetensors.torch import load_file

from lotus2_ros.training.recipe.trainer import Trainer

STEPS = 20


def wait_for(path, lines, process):
    """Until a log has so many lines."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if path.is_file() and path.read_text().count('\n') >= lines:
            return
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.002)
    raise AssertionError(f'{path} never had {lines} lines')


def weights(folder, step=STEPS):
    return as_numbers(load_file(folder / 'checkpoints' / f'step-{step:08d}/trained.safetensors'))


def moments(folder):
    return as_numbers(load_file(folder / 'checkpoints' / f'step-{STEPS:08d}/adam.safetensors'))


@pytest.mark.parametrize('stage', ['core', 'sharpener'])
def test_a_killed_run_has_the_same_curve_and_weights(stage, settings, tiny_base, tmp_path):
    chosen = [
        f'steps={STEPS}',
        'pictures.every=7',
        'pictures.count=1',
        *([f'core={tiny_base}'] * (stage != 'core')),
    ]
    straight = Trainer(stage, settings(*chosen), tmp_path / 'straight', shown=False)
    assert straight.run()

    victim = tmp_path / 'killed'
    options = changes(f'base={tiny_base}', *SETTINGS, *chosen)
    chance = random.SystemRandom()  # where it is killed differs from run to run
    # Twice in the core stage: a run that was resumed is killed as well.
    goals = [chance.randint(4, 8), chance.randint(12, 16)][: 2 if stage == 'core' else 1]
    for goal in goals:
        process = start(stage, *options, '--out', str(victim), '--quiet')
        wait_for(victim / 'log.jsonl', goal, process)
        time.sleep(chance.random() * 0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    resumed = Trainer(stage, settings(*chosen), victim, shown=False)
    assert 0 < resumed.step < STEPS
    assert resumed.run()
    assert curve(victim) == curve(tmp_path / 'straight')
    assert [row['step'] for row in curve(victim)] == list(range(1, STEPS + 1))
    assert weights(victim) == weights(tmp_path / 'straight')
    assert moments(victim) == moments(tmp_path / 'straight')
    names = [path.name for path in (tmp_path / 'straight' / 'model').iterdir()]
    for name in names:
        if not name.startswith('lotus-2_lcm'):  # an archive that holds its own name
            first, second = (tmp_path / run / 'model' / name for run in ('straight', 'killed'))
            assert first.read_bytes() == second.read_bytes(), name


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_loses_nothing(settings, tiny_base, tmp_path, number):
    """SIGTERM as a supervisor sends it; Ctrl-C as a terminal does, to the workers as well."""
    options = changes(f'base={tiny_base}', *SETTINGS, 'steps=400', 'checkpoints.every=300')
    options += changes(f'workers={int(number == signal.SIGINT)}')
    process = start('core', *options, '--out', str(tmp_path / 'run'), '--quiet')
    wait_for(tmp_path / 'run' / 'log.jsonl', 3, process)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    made = curve(tmp_path / 'run')[-1]['step']
    assert f'stopped after step {made}' in output
    again = Trainer('core', settings('steps=400'), tmp_path / 'run', shown=False)
    assert again.step == made


def test_a_finished_run_makes_no_step_more(settings, tmp_path):
    folder = tmp_path / 'run'
    assert Trainer('core', settings('steps=3'), folder, shown=False).run()
    before = curve(folder)
    again = Trainer('core', settings('steps=3'), folder, shown=False)
    assert again.step == 3
    assert again.run()
    assert curve(folder) == before


def test_more_steps_may_be_asked_for(settings, tmp_path):
    straight, longer = tmp_path / 'straight', tmp_path / 'longer'
    assert Trainer('core', settings('steps=7'), straight, shown=False).run()
    assert Trainer('core', settings('steps=4'), longer, shown=False).run()
    assert Trainer('core', settings('steps=7'), longer, shown=False).run()
    assert curve(longer) == curve(straight)
    assert weights(longer, 7) == weights(straight, 7)
