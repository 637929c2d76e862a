from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import peft
import pytest
import torch

from lotus2_ros.model.lora import LORA_TARGETS
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.training.adapters import adapter_state, base_state
from lotus2_ros.training.held_out import held_out_scenes
from lotus2_ros.training.nano import NanoTraining
from lotus2_ros.training.network import SLOTS, TwoStageNetwork, build_transformer
from lotus2_ros.training.settings import Architecture, Optimisation, TrainingSettings
from lotus2_ros.training.sharpener_stage import inference_times

TINY = Architecture(
    vae_channels=(4, 4, 8, 8), norm_groups=2, heads=2, head_dim=16, rope_axes=(4, 6, 6),
    double_blocks=1, single_blocks=1, text_tokens=2, text_dim=16, pooled_dim=8, lora_rank=4,
)  # fmt: skip


def settings(vae: int, core: int, sharpener: int, decoder: int = 2) -> TrainingSettings:
    def stage(steps: int) -> Optimisation:
        return Optimisation(seconds=1e9, steps=steps, rate=3e-3, warmup=3)

    return TrainingSettings(
        architecture=TINY, vae=stage(vae), core=stage(core), sharpener=stage(sharpener),
        decoder=stage(decoder),
        sizes=((32, 48), (48, 32)), batch=4, vae_batch=6, textures=4, precision='float32',
        compiled=False, recorded=False, stored_samples=8,
    )  # fmt: skip


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('training')
    training = NanoTraining(settings(40, 4, 2), folder, 'cpu', say=lambda _line: None)
    assert training.run()
    training.export(folder / 'model')
    return folder


def test_training_reduces_the_loss(trained):
    rows = [json.loads(line) for line in (trained / 'log.jsonl').read_text().splitlines()]
    losses = [row['loss'] for row in rows if row['stage'] == 'vae']
    assert losses[-1] < losses[0]


def test_trained_folder_is_loaded_by_the_predictor(trained):
    predictor = Lotus2Predictor.from_pretrained(trained / 'model', device='cpu')
    scene = next(held_out_scenes(1, height=32, width=48))
    result = predictor.predict(scene.rgb, sharpen_steps=2)
    assert result.disparity.shape == (32, 48)
    assert result.normals.shape == (32, 48, 3)


def test_paused_training_goes_on_where_it_stopped(tmp_path):
    plan = settings(3, 2, 2)
    first = NanoTraining(plan, tmp_path, 'cpu', say=lambda _line: None)
    assert first.run(last_stage='vae')
    second = NanoTraining(plan, tmp_path, 'cpu', say=lambda _line: None)
    assert all(
        torch.equal(value, second.vae.state_dict()[key])
        for key, value in first.vae.state_dict().items()
    )
    assert second.run()
    assert {stage.steps for stage in second.state.stages.values()} == {3, 2}


def test_adapters_equal_peft(tmp_path):
    torch.manual_seed(0)
    network = TwoStageNetwork(TINY, 'cpu')
    for name, value in network.named_parameters():
        if name.endswith('.up'):
            value.data.normal_(std=0.1)
    chosen = SLOTS[1]
    reference = build_transformer(TINY)
    reference.load_state_dict(base_state(network.transformer))
    rank = TINY.lora_rank
    reference.add_adapter(
        peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LORA_TARGETS))
    )
    state = {
        key.removeprefix('transformer.'): value
        for key, value in adapter_state(network.transformer, chosen).items()
    }
    loaded = peft.set_peft_model_state_dict(reference, state)
    assert not loaded.unexpected_keys
    network.selector.choose(chosen)
    network._exact = (torch.tensor([1.0]), torch.tensor([3500.0]))
    inputs = {
        'hidden_states': torch.randn(1, 6, 64),
        'encoder_hidden_states': torch.randn(1, 2, 16),
        'pooled_projections': torch.randn(1, 8),
        'timestep': torch.tensor([0.001]),
        'guidance': torch.tensor([3.5]),
        'img_ids': torch.randn(6, 3),
        'txt_ids': torch.zeros(2, 3),
        'return_dict': False,
    }
    with torch.no_grad():
        ours, theirs = network.transformer(**inputs)[0], reference(**inputs)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('steps', [1, 4, 10])
def test_flow_times_are_the_schedulers(steps):
    import diffusers
    import numpy as np

    from lotus2_ros.model.flow import dynamic_shift
    from lotus2_ros.training.scheduler import SCHEDULER_CONFIG

    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**SCHEDULER_CONFIG)
    scheduler.set_timesteps(
        sigmas=np.linspace(1, 1 / steps, steps), mu=dynamic_shift(SCHEDULER_CONFIG, 300)
    )
    times = inference_times(torch.full((steps,), steps), torch.arange(steps), 300)
    torch.testing.assert_close(times, scheduler.sigmas[:-1], atol=1e-5, rtol=0)


def test_settings_are_plain_data():
    assert dataclasses.asdict(TrainingSettings())['architecture']['heads'] == 3
