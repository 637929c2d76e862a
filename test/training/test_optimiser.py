"""Muon, the one block of gradients, the average and the clock."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lotus2_ros.training.muon import Muon, orthogonalised
from lotus2_ros.training.optimiser import Clock, Optimiser
from lotus2_ros.training.settings import Optimisation
from lotus2_ros.training.state import RunState


@settings(deadline=None)  # the first call starts the linear algebra library
@given(rows=st.integers(2, 24), columns=st.integers(2, 24), seed=st.integers(0, 1000))
def test_orthogonalised_has_singular_values_near_one(rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    small = min(rows, columns)
    # Well-conditioned: five iterations raise tiny singular values only part of the way.
    left = torch.linalg.qr(torch.randn(rows, rows, generator=generator))[0]
    right = torch.linalg.qr(torch.randn(columns, columns, generator=generator))[0]
    values = torch.linspace(0.3, 1, small)
    middle = torch.zeros(rows, columns)
    middle[:small, :small] = torch.diag(values)
    matrix = left @ middle @ right
    result = orthogonalised(matrix[None])[0]
    found = torch.linalg.svdvals(result)
    assert found.min() > 0.5
    assert found.max() < 1.3
    # The singular vectors stay: in their frame the result is diagonal.
    turned = left.T @ result @ right.T
    torch.testing.assert_close(turned, turned * torch.eye(rows, columns), atol=1e-3, rtol=0)


def test_muon_steps_have_the_size_of_adams_whatever_the_gradient():
    for scale in (1e-4, 1.0, 1e4):
        parameter = nn.Parameter(torch.zeros(16, 48))
        parameter.grad = scale * torch.randn(16, 48, generator=torch.Generator().manual_seed(0))
        Muon([parameter], decay=0.0).step(torch.tensor(0.1))
        size = parameter.detach().square().mean().sqrt()
        assert 0.6 * 0.1 * 0.2 < size < 1.3 * 0.1 * 0.2


def test_muon_goes_on_from_a_stored_momentum():
    def made() -> tuple[nn.Parameter, Muon]:
        parameter = nn.Parameter(torch.eye(8))
        parameter.grad = torch.zeros(8, 8)
        return parameter, Muon([parameter])

    def gradient(step: int) -> torch.Tensor:
        return torch.randn(8, 8, generator=torch.Generator().manual_seed(step))

    whole, optimiser = made()
    for step in range(4):
        whole.grad.copy_(gradient(step))
        optimiser.step(torch.tensor(0.1))
        if step == 1:
            weights, state = whole.detach().clone(), optimiser.state_dict()
    resumed, other = made()
    resumed.data.copy_(weights)
    other.load_state_dict(state)
    for step in (2, 3):
        resumed.grad.copy_(gradient(step))
        other.step(torch.tensor(0.1))
    assert torch.equal(whole, resumed)


class Block(nn.Module):
    """A matrix where Muon looks for one, a modulation and a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.single_transformer_blocks = nn.ModuleList([nn.Linear(6, 6)])
        self.norm = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.single_transformer_blocks[0](x))


@pytest.mark.parametrize('muon', [False, True])
def test_both_optimisers_reach_the_target(muon):
    torch.manual_seed(0)
    model, wanted = Block(), Block()
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    plan = Optimisation(seconds=1e9, steps=400, rate=2e-2, warmup=5, decay=0.0, muon=muon)
    optimiser = Optimiser(dict(model.named_parameters()), Clock(plan))
    first = None
    while optimiser.clock.running:
        loss = (model(x) - wanted(x).detach()).square().mean()
        first = first or float(loss.detach())
        optimiser.step(loss)
    assert float(loss.detach()) < 0.01 * first


def test_the_average_follows_the_weights():
    model = Block()
    plan = Optimisation(seconds=1e9, steps=50, rate=1e-2, warmup=1, average=0.9)
    optimiser = Optimiser(dict(model.named_parameters()), Clock(plan))
    expected = {name: value.detach().clone() for name, value in model.named_parameters()}
    for step in range(20):
        optimiser.step(model(torch.ones(2, 6)).square().mean())
        kept = min(0.9, (1 + step) / (10 + step))
        for name, value in model.named_parameters():
            expected[name].mul_(kept).add_(value.detach(), alpha=1 - kept)
    for name, value in optimiser.average.items():
        torch.testing.assert_close(value, expected[name])


def test_the_clock_ends_by_steps_by_time_and_by_the_limit():
    now = [0.0]
    clock = Clock(Optimisation(seconds=10, rate=1.0, steps=100), now=lambda: now[0])
    clock.start()
    for _ in range(5):
        now[0] += 1.0
        clock.tick()
    assert clock.progress == 0.5
    now[0] += 1000
    clock.tick()  # a step that took so long was compiling: it counts two seconds
    assert clock.progress == pytest.approx(0.7)
    assert clock.running
    clock.start(limit=3.0)
    now[0] += 4
    clock.tick()
    assert not clock.running


@pytest.mark.parametrize('order', [torch.contiguous_format, torch.channels_last])
def test_gradients_lie_in_memory_as_their_weights_do(order):
    model = nn.Conv2d(3, 5, 3).to(memory_format=order)
    plain = nn.Conv2d(3, 5, 3)
    plain.load_state_dict(model.state_dict())
    optimiser = Optimiser(dict(model.named_parameters()), Clock(Optimisation(seconds=9, rate=0.1)))
    pictures = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    optimiser.clear()
    model(pictures).square().mean().backward()
    plain(pictures).square().mean().backward()
    for own, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert own.grad.stride() == own.stride()
        torch.testing.assert_close(own.grad, other.grad)


def test_a_cycle_ends_with_the_mean_of_its_weights_before_and_after():
    def trained(
        start: dict[str, torch.Tensor], steps: int, cycles: int, share: float = 0.5
    ) -> dict[str, torch.Tensor]:
        model = nn.Linear(3, 3)
        model.load_state_dict(start)
        # The average follows at once, so that it is the weights themselves.
        plan = Optimisation(
            seconds=1e9, steps=steps, rate=1e-2, warmup=1, average=0.0, cycles=cycles, share=share
        )
        optimiser = Optimiser(dict(model.named_parameters()), Clock(plan))
        while optimiser.clock.running:
            optimiser.step((model(torch.ones(2, 3)) - 5).square().mean())
        return {name: value.detach().clone() for name, value in model.state_dict().items()}

    torch.manual_seed(0)
    before = {name: value.clone() for name, value in nn.Linear(3, 3).state_dict().items()}
    after = trained(before, 20, 0)
    once = trained(before, 20, 1)
    for name, value in once.items():
        torch.testing.assert_close(value, (before[name] + after[name]) / 2)
    for name, value in trained(before, 20, 1, share=0.25).items():
        torch.testing.assert_close(value, 0.75 * before[name] + 0.25 * after[name])
    twice = trained(before, 40, 2)
    assert any((twice[name] - once[name]).abs().max() > 1e-3 for name in once)


def test_the_rate_goes_through_its_schedule_in_each_cycle():
    clock = Clock(Optimisation(seconds=1e9, steps=40, rate=1.0, warmup=4, cycles=2))
    rates, cycles = [], []
    while clock.running:
        rates.append(clock.rate)
        cycles.append(clock.cycle)
        clock.tick()
    assert cycles == [0] * 20 + [1] * 20
    assert rates[:20] == pytest.approx(rates[20:])
    assert rates[0] < rates[3] > rates[10] > rates[19] > 0
    assert clock.cycle == 2


def test_a_cycle_goes_on_where_it_was_interrupted():
    plan = Optimisation(seconds=1e9, steps=10, rate=1e-2, warmup=1, cycles=1)

    def made() -> tuple[nn.Linear, Optimiser]:
        model = nn.Linear(3, 3)
        model.load_state_dict({'weight': torch.eye(3), 'bias': torch.zeros(3)})
        return model, Optimiser(dict(model.named_parameters()), Clock(plan))

    def go_on(model: nn.Linear, optimiser: Optimiser, until: int) -> None:
        while optimiser.clock.steps < until:
            optimiser.step((model(torch.ones(2, 3)) - 5).square().mean())

    whole = made()
    go_on(*whole, 10)
    first, second = made(), made()
    go_on(*first, 6)
    state = RunState()
    state.record('core', first[1], whole=True)
    second[0].load_state_dict(first[0].state_dict())
    state.restore('core', second[1])
    go_on(*second, 10)
    assert torch.equal(whole[0].weight, second[0].weight)
    assert not torch.equal(whole[0].weight, torch.eye(3))
