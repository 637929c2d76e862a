"""Beginning from a model folder, and training in several processes."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_stages import TINY

from lotus2_ros.errors import ModelFileError
from lotus2_ros.training.export import export_model
from lotus2_ros.training.network import TwoStageNetwork, build_vae
from lotus2_ros.training.start import start_from


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    torch.manual_seed(3)
    network, vae = TwoStageNetwork(TINY, 'cpu'), build_vae(TINY)
    for value in network.parameters():
        value.data.add_(0.1 * torch.randn_like(value))
    vae.register_to_config(scaling_factor=0.5, shift_factor=0.25)
    path = tmp_path_factory.mktemp('start')
    export_model(path, network, vae, TINY, dtype=torch.float32)
    return path


def output(network: TwoStageNetwork, task: str = 'normals') -> torch.Tensor:
    latent = torch.randn(2, 16, 4, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return network.core(latent, task)


def begun(folder: Path, **changes: int) -> TwoStageNetwork:
    architecture = dataclasses.replace(TINY, **changes)
    network = TwoStageNetwork(architecture, 'cpu')
    assert start_from(folder, network, build_vae(architecture)) == (0.5, 0.25)
    return network


def test_larger_models_begin_where_the_smaller_one_was(folder):
    same = output(begun(folder))
    for changes in ({'single_blocks': 3}, {'lora_rank': 6}, {'single_blocks': 2, 'lora_rank': 5}):
        torch.testing.assert_close(output(begun(folder, **changes)), same, atol=1e-5, rtol=1e-4)


def test_smaller_rank_keeps_the_most_of_an_adapter(folder):
    network = begun(folder, lora_rank=2)
    state = load_file(folder / 'lotus-2_core_predictor_depth.safetensors')
    name = 'transformer_blocks.0.attn.to_q'
    whole = state[f'transformer.{name}.lora_B.weight'] @ state[f'transformer.{name}.lora_A.weight']
    module = network.transformer.get_submodule(name)
    values = torch.linalg.svdvals(whole)
    error = (module.up[0] @ module.down[0] - whole).square().sum()
    torch.testing.assert_close(error, values[2:].square().sum())


@pytest.mark.parametrize('changes', [{'heads': 3}, {'double_blocks': 2}, {'text_dim': 8}])
def test_another_shape_is_refused(folder, changes):
    with pytest.raises(ModelFileError, match='begin'):
        begun(folder, **changes)


def test_fewer_blocks_are_refused(folder, tmp_path):
    larger = dataclasses.replace(TINY, single_blocks=2)
    export_model(tmp_path, TwoStageNetwork(larger, 'cpu'), build_vae(TINY), larger)
    with pytest.raises(ModelFileError, match='no more single blocks'):
        begun(tmp_path)


PROCESS = """
import sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_stages import settings
from lotus2_ros.training.nano import NanoTraining
training = NanoTraining(settings(3, 4, 2), Path(sys.argv[1]), 'cpu', say=lambda _line: None)
assert training.processes.count == 2
assert training.run()
state = {**training.network.state_dict(), **training.vae.state_dict()}
torch.save(state, Path(sys.argv[1]) / f'rank{training.processes.rank}.pt')
"""


def test_two_processes_train_one_model(tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    shared = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port, 'WORLD_SIZE': '2'}
    command = [sys.executable, '-c', PROCESS, str(tmp_path), str(Path(__file__).parent)]
    running = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, 'RANK': str(rank), 'OMP_NUM_THREADS': '1'},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=240)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    first, second = (torch.load(tmp_path / f'rank{rank}.pt') for rank in range(2))
    assert all(torch.equal(value, second[key]) for key, value in first.items())
