"""The core's losses on decoded maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lotus2_ros.training.core_stage import align, depth_losses
from lotus2_ros.training.evaluation.depth_alignment import DepthRange, align_to_depth
from lotus2_ros.training.evaluation.depth_metrics import depth_errors
from lotus2_ros.training.targets import disparity_bounds, disparity_map


def _truth(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Maps on the [-1, 1] scale, their bounds, and the disparities they stand for."""
    generator = torch.Generator().manual_seed(seed)
    disparity = 0.5 + torch.rand(2, 1, 30, 30, generator=generator)
    bounds = torch.stack(disparity_bounds(disparity), -1)
    truth = disparity_map(disparity)[:, :1]
    low, high = bounds[:, :1, None, None], bounds[:, 1:, None, None]
    return truth, bounds, low + (high - low) * (truth + 1) / 2


def _relative(predicted, truth, bounds) -> torch.Tensor:
    return depth_losses(predicted, truth, bounds)[0]


def test_relative_loss_is_what_evaluation_reports():
    truth, bounds, disparity = _truth(0)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    predicted = 0.3 * (truth + 0.1 * noise) + 0.2
    reported = []
    for map_, inverse in zip(predicted, disparity, strict=True):
        depth = 1 / inverse[0].numpy()
        valid = np.ones_like(depth, dtype=bool)
        aligned = align_to_depth(map_[0].numpy() + 10, depth, valid, DepthRange(0.01, 20.0))
        reported.append(depth_errors(aligned.depth, depth, valid).abs_rel)
    assert float(_relative(predicted, truth, bounds)) == pytest.approx(np.mean(reported), rel=1e-4)


def test_far_off_loss_is_one_minus_delta1_with_a_soft_step():
    truth, bounds, disparity = _truth(6)
    high = 1.25 * 1.25
    # Half of the pixels are far beyond the threshold, half exactly right, after a fit over both.
    grown = disparity.clone()
    grown[..., ::2] *= high
    low, span = bounds[:, :1, None, None], (bounds[:, 1:] - bounds[:, :1])[..., None, None]
    predicted = 2 * (grown - low) / span - 1
    judged = torch.ones_like(disparity)
    ratio = (disparity / align(predicted, disparity, judged)).log().abs()
    expected = torch.sigmoid((ratio - np.log(1.25)) / 0.08).mean()
    _, far_off = depth_losses(predicted, truth, bounds)
    assert float(far_off) == pytest.approx(float(expected), rel=1e-4)
    _, right = depth_losses(truth, truth, bounds)
    assert float(right) == pytest.approx(1 / (1 + np.exp(np.log(1.25) / 0.08)), rel=1e-3)
    _, wrong = depth_losses(-truth, truth, bounds)
    share = float(
        (disparity / disparity.mean((1, 2, 3), keepdim=True)).log().abs().gt(0.223).float().mean()
    )
    assert float(wrong) == pytest.approx(share, abs=0.1)


def test_scale_and_shift_of_a_prediction_cost_nothing():
    truth, bounds, _ = _truth(2)
    assert float(_relative(0.2 * truth - 0.4, truth, bounds)) < 1e-5
    assert float(_relative(-truth, truth, bounds)) > 0.1


def test_relative_loss_falls_along_its_gradient_and_a_flat_map_has_a_finite_one():
    truth, bounds, _ = _truth(3)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(4))
    predicted = (truth + 0.3 * noise).requires_grad_()
    before = _relative(predicted, truth, bounds)
    (gradient,) = torch.autograd.grad(before, predicted)
    after = _relative(predicted - 20 * gradient, truth, bounds)
    assert float(after.detach()) < float(before.detach())
    flat = torch.zeros_like(truth).requires_grad_()
    (gradient,) = torch.autograd.grad(sum(depth_losses(flat, truth, bounds)), flat)
    assert gradient.isfinite().all()


def test_what_is_beyond_a_robots_range_does_not_count():
    bounds = torch.tensor([[0.0, 1.0]])
    truth = torch.full((1, 1, 2, 2), -0.95)  # 0.025 1/m, 40 m
    assert _relative(truth + 0.5, truth, bounds) == 0


def test_alignment_is_least_squares_over_what_counts():
    generator = torch.Generator().manual_seed(5)
    restored, disparity = torch.randn(2, 3, 1, 8, 9, generator=generator)
    restored = disparity + 0.2 * restored
    judged = (torch.rand(3, 1, 8, 9, generator=generator) > 0.3).float()
    aligned = align(restored, disparity, judged)
    for got, x, y, keep in zip(aligned, restored, disparity, judged, strict=True):
        chosen = keep.bool()
        scale, shift = np.polyfit(x[chosen].numpy(), y[chosen].numpy(), 1)
        torch.testing.assert_close(got, float(scale) * x + float(shift), rtol=1e-4, atol=1e-4)
