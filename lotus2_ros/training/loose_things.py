"""Single boxes, ellipsoids and cylinders that stand, lie, lean or hang about."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lotus2_ros.training.placement import (
    OPEN,
    STREET,
    Layout,
    Things,
    ahead,
    buried,
    cleared,
    rotation_about,
    within,
)
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.ray_tracing import CYLINDER

LOOSE = 12
"""Loose things in a scene; those not wanted are buried."""


def sample_loose(draws: Draws, layout: Layout) -> Things:
    """Draw loose things of 2 cm to 2 m."""
    batch, count = len(layout.heading), LOOSE
    kind = draws.among([0, 0, 0, 1, 2, 2], batch, count)
    half = _sizes(draws, layout, kind)
    street = layout.surroundings == STREET
    reach = torch.where(street, 25.0, torch.where(layout.surroundings == OPEN, 18.0, 6.0))
    radius = half[..., :2].norm(dim=-1)
    clearance = 0.6 + 0.5 * draws.uniform(0, 1, batch, 1) + 0.6 * half.amax(-1)
    place = ahead(layout, 1.0, reach, draws.uniform(0, 1, batch, count, 2))
    place = cleared(within(layout, place, 0.1), radius, clearance)

    # Little floats indoors (on strings and shelves not drawn), nothing outdoors.
    lifted = draws.chance(0.15, batch, count) & ~layout.outdoor[:, None]
    lift = torch.where(lifted, draws.uniform(0.2, 1.6, batch, count), 0.0)
    yaw = draws.uniform(0, 2 * math.pi, batch, count) * draws.chance(0.65, batch, count)
    lean = draws.uniform(-1, 1, batch, count) * draws.chance(0.15, batch, count)
    lying = (kind == CYLINDER) & draws.chance(0.25, batch, count)
    turn = torch.where(lying, math.pi / 2, lean)
    height = torch.where(lying & ~lifted, half[..., 0], half[..., 2] + lift)
    density = draws.uniform(0.15, 1.0, batch, 1)
    hidden = draws.uniform(0, 1, batch, count) > density
    too_near = place.norm(dim=-1) < radius + 0.5
    centre = buried(torch.cat([place, height[..., None]], -1), hidden | too_near)
    rotation = rotation_about(2, yaw) @ rotation_about(0, turn)
    printed = draws.chance(0.2, batch, count)
    return Things(kind, centre, half, rotation, printed, torch.zeros_like(printed))


def _sizes(draws: Draws, layout: Layout, kind: Tensor) -> Tensor:
    """Half-axes (B, LOOSE, 3), metres; one in five is a rod or a sheet."""
    batch, count = kind.shape
    size = draws.logarithmic(0.05, 0.6, batch, count, 1)
    half = size * draws.logarithmic(0.4, 1.8, batch, count, 3)
    squeeze = torch.where(draws.chance(0.5, batch, count, 1), 0.15, 1.0)
    squeeze = torch.cat([squeeze, torch.full_like(squeeze, 0.2), torch.full_like(squeeze, 2.2)], -1)
    half = torch.where(draws.chance(0.2, batch, count, 1), half * squeeze, half)
    larger = draws.logarithmic(0.8, 3.0, batch, count, 1)
    half = torch.where(layout.outdoor[:, None, None], half * larger, half)
    round_ = torch.cat([half[..., :1], half[..., :1], half[..., 2:]], -1)
    return torch.where((kind == CYLINDER)[..., None], round_, half)
