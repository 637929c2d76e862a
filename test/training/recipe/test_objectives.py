"""The objectives against a literal reading of their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import SCHEDULER

from lotus2_ros.model.flow import FlowSchedule
from lotus2_ros.training.recipe.objectives import (
    Place,
    between,
    draw_times,
    latent_weight,
    squared_errors,
)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def schedule(tmp_path):
    config = {'_class_name': 'FlowMatchEulerDiscreteScheduler', **SCHEDULER}
    return FlowSchedule(config, tmp_path)


def test_dense_error_is_the_mean_square_of_each_sample():
    predicted, wanted = drawn(3, 16, 4, 6), drawn(3, 16, 4, 6, seed=1)
    errors = squared_errors(predicted, wanted, torch.ones(3, 1, 4, 6))
    for i in range(3):
        literal = np.mean((predicted[i].numpy() - wanted[i].numpy()) ** 2)
        assert errors[i].item() == pytest.approx(literal, rel=1e-5)


def test_weighted_error_sums_cell_by_cell():
    predicted, wanted = drawn(2, 16, 4, 6), drawn(2, 16, 4, 6, seed=1)
    weight = torch.rand(2, 1, 4, 6, generator=torch.Generator().manual_seed(2))
    errors = squared_errors(predicted, wanted, weight)
    for i in range(2):
        total = share = 0.0
        for row in range(4):
            for column in range(6):
                w = weight[i, 0, row, column].item()
                difference = predicted[i, :, row, column] - wanted[i, :, row, column]
                total += w * sum(float(d) ** 2 for d in difference) / 16
                share += w
        assert errors[i].item() == pytest.approx(total / share, rel=1e-5)


def test_a_cell_without_known_pixels_gets_no_gradient():
    predicted = drawn(1, 16, 2, 2).requires_grad_()
    weight = torch.tensor([[[[1.0, 0.0], [0.5, 0.0]]]])
    squared_errors(predicted, torch.zeros(1, 16, 2, 2), weight).sum().backward()
    assert predicted.grad[..., 1].abs().max() == 0
    assert predicted.grad[..., 0].abs().min() > 0
    # A cell that is half known counts half.
    ratio = (predicted.grad / predicted.detach())[0, 0, :, 0]
    assert ratio[1] / ratio[0] == pytest.approx(0.5)


def test_weight_is_the_share_of_known_pixels():
    mask = torch.zeros(1, 1, 16, 24, dtype=torch.bool)
    mask[..., :8, :8] = True
    mask[..., 8:12, 8:16] = True
    mask[..., 15, 23] = True
    expected = torch.tensor([[[[1.0, 0.0, 0.0], [0.0, 0.5, 1 / 64]]]])
    assert torch.equal(latent_weight(mask), expected)


def test_mean_over_a_batch_does_not_depend_on_how_it_is_split():
    predicted, wanted = drawn(4, 16, 2, 2), drawn(4, 16, 2, 2, seed=1)
    weight = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(2))
    whole = squared_errors(predicted, wanted, weight).mean()
    halves = [
        squared_errors(predicted[part], wanted[part], weight[part]).mean()
        for part in (slice(0, 2), slice(2, 4))
    ]
    assert whole.item() == pytest.approx(torch.stack(halves).mean().item(), rel=1e-6)


def test_state_lies_between_fine_and_coarse():
    coarse, fine = drawn(3, 16, 2, 2), drawn(3, 16, 2, 2, seed=1)
    state = between(coarse, fine, torch.tensor([0.1, 0.5, 1.0]))
    for i, time in enumerate((0.1, 0.5, 1.0)):
        literal = time * coarse[i].numpy() + (1 - time) * fine[i].numpy()
        np.testing.assert_allclose(state[i].numpy(), literal, rtol=1e-5, atol=1e-6)
    # The velocity that is learnt is the state's derivative: from z_t, -t of it leads to z_f.
    np.testing.assert_allclose(
        (state[1] - 0.5 * (coarse - fine)[1]).numpy(), fine[1].numpy(), atol=1e-6
    )


def test_paper_times_are_tenths_drawn_evenly(schedule):
    times = draw_times(5000, Place(0, 0, 0, 5000), schedule, 24, inference=False)
    values, counts = np.unique(times.numpy().round(4), return_counts=True)
    np.testing.assert_allclose(values, np.arange(1, 11) / 10, atol=1e-4)
    assert counts.min() > 400
    assert counts.max() < 600


def test_inference_times_are_those_that_the_schedule_makes(schedule):
    tokens = 24
    met = {round(step.timestep / 10, 5) for n in range(1, 11) for step in schedule.steps(n, tokens)}
    times = draw_times(3000, Place(0, 0, 0, 3000), schedule, tokens, inference=True)
    drawn_times = {round(float(time), 5) for time in times}
    assert drawn_times <= met
    assert len(drawn_times) > 0.9 * len(met)
    assert not drawn_times <= {n / 10 for n in range(1, 11)}


def test_draws_are_a_function_of_seed_and_step(schedule):
    def times(seed, step):
        return draw_times(64, Place(seed, step, 0, 64), schedule, 24, inference=False)

    assert torch.equal(times(1, 2), times(1, 2))
    for other in ((0, 2), (1, 3), (2, 1)):
        assert not torch.equal(times(1, 2), times(*other))


@pytest.mark.parametrize('inference', [True, False])
def test_a_step_draws_the_same_times_however_it_is_split(schedule, inference):
    whole = draw_times(8, Place(1, 2, 0, 8), schedule, 24, inference=inference)
    for size in (1, 2, 4):
        parts = [
            draw_times(size, Place(1, 2, first, 8), schedule, 24, inference=inference)
            for first in range(0, 8, size)
        ]
        assert torch.equal(torch.cat(parts), whole)
