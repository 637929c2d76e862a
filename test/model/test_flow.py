from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from diffusers import FlowMatchEulerDiscreteScheduler
from tiny import SCHEDULER

from lotus2_ros.errors import ModelFileError
from lotus2_ros.model.flow import FlowSchedule, dynamic_shift

SOURCE = Path('scheduler_config.json')
FLUX_DEV = SCHEDULER | {
    '_class_name': 'FlowMatchEulerDiscreteScheduler',
    'base_image_seq_len': 256,
    'max_image_seq_len': 4096,
}


def sigma(value, mu):
    return math.exp(mu) / (math.exp(mu) + 1 / value - 1)


@pytest.mark.parametrize('count', [1, 2, 4, 10])
@pytest.mark.parametrize('tokens', [64, 256, 1200, 2304, 4096])
def test_steps_are_the_shifted_flow_in_tenths(count, tokens):
    mu = 0.5 + (tokens - 256) * 0.65 / 3840
    sigmas = [sigma(1 - i / count, mu) for i in range(count)] + [0.0]
    steps = FlowSchedule(FLUX_DEV, SOURCE).steps(count, tokens)
    assert [s.timestep for s in steps] == pytest.approx([10 * s for s in sigmas[:-1]], rel=1e-5)
    deltas = [b - a for a, b in itertools.pairwise(sigmas)]
    assert [s.delta for s in steps] == pytest.approx(deltas, rel=1e-4)


def test_steps_end_at_the_clean_latent():
    steps = FlowSchedule(FLUX_DEV, SOURCE).steps(10, 1200)
    assert sum(s.delta for s in steps) == pytest.approx(-1.0, abs=1e-6)
    assert steps[0].timestep == 10.0


def test_earlier_questions_do_not_change_the_answer():
    schedule = FlowSchedule(FLUX_DEV, SOURCE)
    first = schedule.steps(4, 300)
    schedule.steps(7, 1000)
    assert schedule.steps(4, 300) == first == FlowSchedule(FLUX_DEV, SOURCE).steps(4, 300)


def test_fixed_shift():
    config = FLUX_DEV | {'use_dynamic_shifting': False, 'shift': 1.0}
    steps = FlowSchedule(config, SOURCE).steps(4, 99)
    assert [s.timestep for s in steps] == pytest.approx([10, 7.5, 5, 2.5])


@pytest.mark.parametrize('count', [0, 11])
def test_number_of_steps_out_of_range(count):
    with pytest.raises(ValueError, match='allowed: 1 to 10'):
        FlowSchedule(FLUX_DEV, SOURCE).steps(count, 64)


@pytest.mark.parametrize(
    ('changes', 'match'),
    [
        ({'_class_name': 'DDIMScheduler'}, 'DDIMScheduler'),
        ({'stochastic_sampling': True}, 'stochastic_sampling'),
        ({'invert_sigmas': True}, 'invert_sigmas'),
        ({'use_karras_sigmas': True}, 'use_karras_sigmas'),
        ({'shift_terminal': 0.1}, 'shift_terminal'),
        ({'max_shift': 'much'}, 'max_shift'),
        ({'time_shift_type': 'cubic'}, 'makes no scheduler'),
    ],
)
def test_other_schedulers_are_refused(changes, match):
    with pytest.raises(ModelFileError, match=rf'scheduler_config\.json.*{match}'):
        FlowSchedule(FLUX_DEV | changes, SOURCE)


@pytest.mark.parametrize('kind', ['exponential', 'linear'])
@pytest.mark.parametrize('dynamic', [True, False])
@pytest.mark.parametrize('tokens', [4, 1200, 2304, 5000])
def test_steps_are_those_of_diffusers_to_the_bit(kind, dynamic, tokens):
    config = FLUX_DEV | {'time_shift_type': kind, 'use_dynamic_shifting': dynamic}
    theirs = FlowMatchEulerDiscreteScheduler.from_config(config, num_train_timesteps=10)
    for count in range(1, 11):
        theirs.set_timesteps(
            sigmas=np.linspace(1.0, 1 / count, count), mu=dynamic_shift(config, tokens)
        )
        steps = FlowSchedule(config, SOURCE).steps(count, tokens)
        assert [s.timestep for s in steps] == theirs.timesteps.tolist()
        assert [s.delta for s in steps] == theirs.sigmas.diff().tolist()
