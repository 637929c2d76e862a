"""Several processes on one machine: the same gradient, one curve, one set of files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gradient_process import one_step
from recipe_runs import SETTINGS, changes, curve
from safetensors.torch import load_file

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def launch(count, *command, **environment):
    """Run a program in so many processes, as users do."""
    done = subprocess.run(
        [
            *(sys.executable, '-m', 'accelerate.commands.launch', '--cpu'),
            *('--num_processes', str(count), '--num_machines', '1', '--mixed_precision', 'no'),
            *('--dynamo_backend', 'no', '--main_process_port', '0', *command),
        ],
        env={
            **os.environ,
            'OMP_NUM_THREADS': '1',
            'PYTHONPATH': os.pathsep.join(
                [str(HERE), str(ROOT), str(ROOT / 'test'), os.environ.get('PYTHONPATH', '')]
            ),
            **environment,
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize('stage', ['core', 'sharpener'])
def test_gradient_does_not_depend_on_how_a_batch_is_shared_out(tiny_base, tmp_path, stage):
    """Eight samples at once in this process, against two processes with two micro-batches each."""
    shared = [f'base={tiny_base}', *SETTINGS, 'batch.total=8', 'optimiser.clip=0']
    if stage == 'sharpener':
        shared += [f'core={tiny_base}']
    whole, split = tmp_path / 'whole', tmp_path / 'split'
    for folder in (whole, split):
        folder.mkdir()
    one_step(stage, [*shared, 'batch.per_device=8'], whole)
    script = str(HERE / 'gradient_process.py')
    launch(2, script, stage, str(split), *shared, 'batch.per_device=2')
    expected = load_file(whole / 'gradients.safetensors')
    found = load_file(split / 'gradients.safetensors')
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-6)
    losses = [float((folder / 'loss.txt').read_text()) for folder in (whole, split)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_two_processes_train_one_model_and_go_on_together(tiny_base, tmp_path):
    run = tmp_path / 'run'
    options = changes(f'base={tiny_base}', *SETTINGS)

    def train(steps):
        return launch(
            2,
            *('-m', 'lotus2_ros.tools.cli', 'train', 'core', '--quiet', '--out', str(run)),
            *(*options, *changes(f'steps={steps}', f'validation.data={SETTINGS[-1][5:]}')),
        )

    assert train(4).count('finished') == 1
    output = train(6)
    assert output.count('going on from step 4') == 1
    assert [row['step'] for row in curve(run)] == [1, 2, 3, 4, 5, 6]
    assert (run / 'model' / 'lotus-2_core_predictor_depth.safetensors').is_file()
