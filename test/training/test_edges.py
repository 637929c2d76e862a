"""Depth edges in training: the loss, edge-tolerant truth, and the stages that use them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from test_stages import settings

from lotus2_ros.errors import SettingsError
from lotus2_ros.training.edges import edge_loss, edge_tolerant, overlap_loss
from lotus2_ros.training.nano import NanoTraining
from lotus2_ros.training.sharpener_stage import (
    flow_losses,
    own_rows,
    tolerant_map,
    velocity_at,
    with_coarse,
)
from lotus2_ros.training.targets import disparity_map
from lotus2_ros.types import DEPTH, NORMALS, TASKS

BOUNDS = torch.tensor([[0.1, 1.1]])


def step_at(column: int) -> torch.Tensor:
    """A picture (1, 1, 6, 12), far to the left of a column and near from there on."""
    map_ = torch.full((1, 1, 6, 12), -0.6)
    map_[..., column:] = 0.2
    return map_


def test_edge_loss_asks_for_the_edge_and_neither_for_its_height_nor_for_a_scale():
    truth = step_at(6)
    slope = truth.clone()
    slope[..., 4:8] = torch.linspace(-0.6, 0.2, 6)[1:-1]
    assert edge_loss(truth, truth, BOUNDS) == 0
    assert edge_loss(slope, truth, BOUNDS) > 0.5 * edge_loss(
        torch.zeros(1, 1, 6, 12), truth, BOUNDS
    )
    higher = truth.clone()
    higher[..., 6:] = 0.6
    assert edge_loss(higher, truth, BOUNDS) < 0.02 * edge_loss(slope, truth, BOUNDS)
    scaled = torch.rand(1, 1, 6, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        edge_loss(scaled, truth, BOUNDS), edge_loss(scaled, truth, 3 * BOUNDS)
    )


def test_overlap_loss_prefers_a_guess_to_a_slope():
    """Where an edge may lie at three places, any of them overlaps more than what lies between."""

    def low_step(column):
        return step_at(column) * 0.3 - 0.4  # disparities in a ratio of 1.3

    places = (5, 6, 7)
    truths = [low_step(column) for column in places]
    slope = torch.stack(truths).mean(0)

    def expected(map_):
        return sum(float(overlap_loss(map_, truth, BOUNDS)) for truth in truths) / len(truths)

    guesses = [expected(low_step(column)) for column in places]
    assert max(guesses) < expected(slope) - 0.01
    assert overlap_loss(truths[0], truths[0], BOUNDS) < 0.8  # three directions have no edges
    assert overlap_loss(low_step(3), truths[0], BOUNDS) > 0.99
    torch.testing.assert_close(
        overlap_loss(slope, truths[0], BOUNDS), overlap_loss(slope, truths[0], 3 * BOUNDS)
    )


@pytest.mark.parametrize('loss', [edge_loss, overlap_loss])
def test_loss_falls_along_its_gradient(loss):
    truth = step_at(6)
    blurred = torch.nn.functional.avg_pool2d(truth, 3, 1, 1).requires_grad_()
    before = loss(blurred, truth, BOUNDS)
    (gradient,) = torch.autograd.grad(before, blurred)
    assert loss(blurred - 0.02 * gradient, truth, BOUNDS) < before


def test_tolerant_truth_puts_the_edge_where_the_coarse_map_has_it():
    for moved in (1, 2):
        coarse = 0.9 * step_at(6 + moved)
        assert torch.equal(edge_tolerant(step_at(6), coarse, moved), step_at(6 + moved))
        assert torch.equal(edge_tolerant(step_at(6), coarse, 0), step_at(6))
    # Further away than the radius: no more than that, and from the other side likewise.
    assert torch.equal(edge_tolerant(step_at(6), step_at(9), 1), step_at(7))
    assert torch.equal(edge_tolerant(step_at(6), step_at(3), 1), step_at(5))


def test_tolerant_truth_is_the_nearest_of_the_neighbourhood():
    generator = torch.Generator().manual_seed(1)
    truth, coarse = torch.randn(2, 2, 3, 7, 8, generator=generator)
    truth, coarse = (torch.nn.functional.normalize(v, dim=1) for v in (truth, coarse))
    got = edge_tolerant(truth, coarse, 1)
    for row in range(7):
        for column in range(8):
            window = truth[..., max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            cosines = (window.flatten(2) * coarse[..., row, column, None]).sum(1)
            chosen = (got[..., row, column] * coarse[..., row, column]).sum(1)
            torch.testing.assert_close(chosen, cosines.max(1).values, atol=1e-3, rtol=0)


@pytest.fixture(scope='module')
def training(tmp_path_factory) -> NanoTraining:
    training = NanoTraining(
        settings(30, 4, 1, decoder=20), tmp_path_factory.mktemp('edges'), 'cpu', say=lambda _l: None
    )
    assert training.run(last_stage='vae')
    return training


def test_decoder_stage_trains_the_decoder_and_nothing_else(training):
    before = {k: v.clone() for k, v in training.vae.state_dict().items()}
    network = {k: v.clone() for k, v in training.network.state_dict().items()}
    told = []
    bench = training.bench
    report, bench.report = bench.report, lambda *row: told.append(row)
    assert training.run(last_stage='decoder')
    bench.report = report
    for key, value in training.vae.state_dict().items():
        assert torch.equal(value, before[key]) != key.startswith('decoder.'), key
    assert all(torch.equal(v, network[k]) for k, v in training.network.state_dict().items())
    figures = {stage: figures for stage, _, figures in told}['decoder']
    assert {DEPTH, NORMALS, 'edges', 'norm'} <= figures.keys()


def test_coarse_latents_are_the_cores_and_kept_with_the_samples(training):
    run = training.bench
    feed = run.feed(lambda batch: with_coarse(run, batch))
    feed.rows(0, run.draws.index)
    # In the order they were rendered: the network's guidance is rounded by turns.
    rows = torch.arange(4)
    batch = feed.stores[0].take(rows)
    with torch.no_grad():
        for task in TASKS:
            again = run.network.core(batch.image, task)
            torch.testing.assert_close(batch.coarse[task], again, atol=0.02, rtol=0.02)
    loss, _ = flow_losses(run, feed.stores[0], rows, {DEPTH: torch.full((len(rows),), 0.5)})
    assert loss.isfinite()
    assert batch.part(2).coarse[DEPTH].shape[0] == 2


@pytest.mark.parametrize('share', [0.0, 0.5, 1.0])
def test_own_states_are_where_inference_comes_to(training, share):
    settings = dataclasses.replace(training.bench.settings, own_state_share=share)
    run = dataclasses.replace(training.bench, settings=settings)
    feed = run.feed(lambda batch: with_coarse(run, batch))
    feed.rows(0, run.draws.index)
    rows = torch.arange(4)
    batch = feed.stores[0].take(rows)
    coarse, fine = batch.coarse[DEPTH], batch.wanted[DEPTH]
    times = torch.tensor([1.0, 0.8, 0.5, 0.3])
    own = own_rows(4, share, rows.device)
    assert own.sum() == 4 * share
    _, figures = flow_losses(run, feed.stores[0], rows, {DEPTH: times})
    with torch.no_grad():
        t = times[:, None, None, None]
        led = coarse - (1 - t) * velocity_at(run, coarse, torch.ones(4), DEPTH)
        state = torch.where(own[:, None, None, None], led, t * coarse + (1 - t) * fine)
        missed = state - t * velocity_at(run, state, times, DEPTH) - fine
        # An own state counts by how far from the fine latent it would lead, another one by its
        # velocity's error, which is that divided by t.
        weight = torch.where(own[:, None, None, None], 1.0, t**-2)
        expected = (weight * missed.square()).mean()
    # The network's guidance is rounded by turns.
    torch.testing.assert_close(figures[DEPTH].detach(), expected, atol=0, rtol=0.03)


def test_radius_zero_leaves_the_papers_truth(training):
    run = training.bench
    batch = run._refill(0)
    plain = dataclasses.replace(run, settings=dataclasses.replace(run.settings, edge_radius=0))
    tolerant = with_coarse(run, batch)
    for task in TASKS:
        assert torch.equal(with_coarse(plain, batch).wanted[task], batch.wanted[task])
        assert torch.equal(tolerant.maps[task], batch.maps[task])
        decoded = run.decode(run.vae, tolerant.coarse[task]).detach().clamp(-1, 1)
        decoded = decoded.mean(1, keepdim=True) if task == DEPTH else decoded
        moved = tolerant_map(run, batch.maps[task], tolerant.coarse[task], task).detach()
        nearer = (moved - decoded).norm(dim=1)
        assert (nearer <= (batch.maps[task] - decoded).norm(dim=1) + 1e-5).all()
        assert nearer.mean() < (batch.maps[task] - decoded).norm(dim=1).mean()
        picture = moved.expand(-1, 3, -1, -1)
        latent = run.encode(run.vae, picture).detach()
        torch.testing.assert_close(tolerant.wanted[task], latent, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        batch.maps[DEPTH], disparity_map(batch.maps[DEPTH])[:, :1], atol=0.05, rtol=0
    )


def paused(folder: Path, *, along: bool) -> NanoTraining:
    plan = dataclasses.replace(settings(1, 2, 1, decoder=1), decoder_with_core=along)
    return NanoTraining(plan, folder, 'cpu', say=lambda _line: None)


@pytest.mark.parametrize('along', [False, True])
def test_decoder_learns_with_the_core_if_asked(tmp_path, along):
    training = paused(tmp_path, along=along)
    assert training.run(last_stage='decoder')
    before = {k: v.clone() for k, v in training.vae.decoder.state_dict().items()}
    assert training.run(last_stage='core')
    changed = any(
        not torch.equal(v, before[k]) for k, v in training.vae.decoder.state_dict().items()
    )
    assert changed == along
    training.export(tmp_path / 'model')


def test_core_begun_with_the_decoder_does_not_go_on_without(tmp_path):
    training = paused(tmp_path, along=True)
    assert training.run(last_stage='decoder')
    longer = dataclasses.replace(training.settings.core, steps=1000, seconds=1e9)
    training.settings = dataclasses.replace(training.settings, core=longer)
    assert not training._run_stage('core', 0.5)
    training.export(tmp_path / 'model')
    other = paused(tmp_path, along=False)
    other.settings = dataclasses.replace(other.settings, core=longer)
    with pytest.raises(SettingsError, match='core stage was begun'):
        other.run()
