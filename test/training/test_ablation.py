"""Every variant of the ablation trains, predicts and is judged."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from test_stages import settings

from lotus2_ros.training.ablation import VARIANTS, Variant, judge, predict, table, train_variant
from lotus2_ros.training.held_out import held_out_scenes
from lotus2_ros.training.nano import NanoTraining
from lotus2_ros.training.run import TrainingRun
from lotus2_ros.training.settings import Optimisation


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> TrainingRun:
    training = NanoTraining(
        settings(1, 1, 1), tmp_path_factory.mktemp('run'), 'cpu', say=lambda _line: None
    )
    return training.bench


@pytest.fixture(scope='module')
def scenes():
    return list(held_out_scenes(2, height=32, width=48))


@pytest.mark.parametrize('variant', VARIANTS, ids=lambda variant: variant.name)
def test_variant_learns_and_is_judged(run, variant, scenes):
    losses = []
    own = dataclasses.replace(
        run, report=lambda _stage, _step, figures: losses.append(figures['depth'])
    )
    plan = Optimisation(seconds=1e9, steps=100, rate=3e-3, warmup=5)
    network = train_variant(own, variant, plan)
    assert losses[-1] < 0.8 * losses[0]
    results = judge(dataclasses.replace(run, network=network), variant, scenes, shown=1)
    assert len(results) == len(variant.steps)
    for result in results:
        assert result.pictures[0].shape == (32, 48)
        assert 0 < result.abs_rel < 10
        assert 0 <= result.delta1 <= 1
    assert len(re.findall(r'^\|', table(results), re.MULTILINE)) == 2 + len(results)


def test_a_flow_with_the_true_velocity_arrives_in_any_number_of_steps(run):
    generator = torch.Generator().manual_seed(0)
    image, wanted = torch.randn(2, 1, 16, 4, 6, generator=generator)

    class Known(torch.nn.Module):
        def at(self, latent, _timestep, _chosen):
            return image - wanted + 0 * latent

    known = dataclasses.replace(run, network=Known())
    flow = Variant('flow', flow=True, local_continuity=False)
    for steps in (1, 3, 10):
        torch.testing.assert_close(predict(known, flow, image, steps), wanted)
    residual = Variant('residual', residual=True, local_continuity=False)
    torch.testing.assert_close(predict(known, residual, image, 1), wanted)
