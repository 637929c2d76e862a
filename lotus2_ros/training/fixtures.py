"""Fixtures: pictures, doors, windows, pipes, beams and lamps; houses, hedges and poles outdoors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lotus2_ros.training.placement import FAR, STREET, Layout, Things, buried, rotation_about
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.ray_tracing import BOX, CYLINDER

_FLAT, _PIPES, _CEILING, _PILLARS = 6, 2, 2, 2

FIXTURES = _FLAT + _PIPES + _CEILING + _PILLARS
"""Fixtures in a scene; those not wanted are buried."""


def sample_fixtures(draws: Draws, layout: Layout) -> Things:
    """Draw the fixtures of rooms and of the open."""
    rooms = [_on_walls(draws, layout), _overhead(draws, layout), _pillars(draws, layout)]
    inside = [torch.cat(fields, 1) for fields in zip(*map(_fields, rooms), strict=True)]
    outside = _fields(_outside(draws, layout))
    outdoor = layout.outdoor
    return Things(
        *(
            torch.where(outdoor.reshape(-1, *[1] * (out.dim() - 1)), out, room)
            for out, room in zip(outside, inside, strict=True)
        )
    )


def _fields(things: Things) -> tuple[Tensor, ...]:
    return (
        things.kind, things.centre, things.half, things.rotation, things.stretched, things.glowing,
    )  # fmt: skip


def _walls_ahead(layout: Layout, angle: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where bearings (B, N) meet the walls: (B, N, 2) places, (B, N) distances, (B, N) axes."""
    ray = torch.stack([angle.cos(), angle.sin()], -1)
    bound = torch.where(ray > 0, layout.room_high[:, None, :2], layout.room_low[:, None, :2])
    distance, axis = (bound / torch.where(ray.abs() < 1e-4, 1e-4, ray)).abs().min(-1)
    return ray * distance[..., None], distance, axis


def _wall_frames(axis: Tensor, upright: Tensor) -> Tensor:
    """(B, N, 3, 3) axes of things on walls: x along the wall, y up, z across it.

    Upright things have their own z upwards instead; all others that are round run along the wall.
    """
    zero, one = torch.zeros_like(axis).float(), torch.ones_like(axis).float()
    along = torch.where(axis == 0, zero, one)
    wall = torch.stack([along, 1 - along, zero], -1)
    up = torch.stack([zero, zero, one], -1)
    across = torch.stack([1 - along, -along, zero], -1)
    flat = torch.stack([wall, up, across], -1)
    standing = torch.stack([wall, -across, up], -1)
    return torch.where(upright[..., None, None], standing, flat)


def _on_walls(draws: Draws, layout: Layout) -> Things:
    """Pictures, doors, windows, cupboards and shelves, and pipes and cables."""
    batch, count = len(layout.heading), _FLAT + _PIPES
    shape = (batch, count)
    angle = layout.heading[:, None] + draws.uniform(-0.9, 0.9, *shape)
    flat, distance, axis = _walls_ahead(layout, angle)
    top = layout.room_high[:, None, 2]
    roll = draws.uniform(0, 1, *shape)
    pipe = (torch.arange(count, device=draws.device) >= _FLAT).expand(shape)
    door, window = (roll < 0.2) & ~pipe, (roll > 0.2) & (roll < 0.4) & ~pipe
    shelf = (roll > 0.4) & (roll < 0.6) & ~pipe
    extent = draws.uniform(0.2, 0.9, *shape, 2)
    depth = draws.logarithmic(0.01, 0.35, *shape)
    half = torch.cat([extent, depth[..., None]], -1)
    half = torch.where(door[..., None], half.new_tensor([0.45, 1.0, 0.03]), half)
    half = torch.where(window[..., None], half * half.new_tensor([1.0, 1.0, 0.1]), half)
    board = torch.stack(
        [extent[..., 0], torch.full_like(depth, 0.015), 0.1 + 0.15 * extent[..., 1]], -1
    )
    half = torch.where(shelf[..., None], board, half)
    # Pipes: upright on own z, or along the wall just under the ceiling.
    upright = pipe & (roll < 0.5)
    thick = draws.logarithmic(0.008, 0.07, *shape)
    standing = torch.stack([thick, thick, top.expand_as(thick) / 2], -1)
    lying = torch.stack([torch.full_like(thick, 3.0), thick, thick], -1)
    half = torch.where(pipe[..., None], torch.where(upright[..., None], standing, lying), half)

    height = draws.uniform(0.6, 1.9, *shape)
    height = torch.where(door, half[..., 1], height)
    height = torch.where(pipe, torch.where(upright, top / 2, top - 0.1 - 0.6 * roll), height)
    height = torch.minimum(height, top)
    centre = torch.cat([flat, height[..., None]], -1)
    hidden = (distance < 1.2) | ~draws.chance(0.55, *shape)
    return Things(
        kind=torch.where(upright, CYLINDER, BOX),
        centre=buried(centre, hidden),
        half=half,
        rotation=_wall_frames(axis, upright),
        stretched=~pipe & ~shelf,
        glowing=window,
    )


def _overhead(draws: Draws, layout: Layout) -> Things:
    """Beams, ducts and lamps under the ceiling."""
    shape = (len(layout.heading), _CEILING)
    lamp, round_ = draws.chance(0.55, *shape), draws.chance(0.25, *shape)
    long = torch.where(
        lamp, draws.uniform(0.1, 0.7, *shape), torch.full(shape, 12.0).to(lamp.device)
    )
    half = torch.stack(
        [long, draws.uniform(0.05, 0.25, *shape), draws.logarithmic(0.02, 0.2, *shape)], -1
    )
    distance = draws.uniform(0.8, 5.0, *shape)
    angle = layout.heading[:, None] + draws.uniform(-0.5, 0.5, *shape)
    high = layout.room_high[:, None, 2]
    drop = draws.uniform(0, 0.5, *shape) * lamp
    centre = torch.stack(
        [angle.cos() * distance, angle.sin() * distance, high - half[..., 2] - drop], -1
    )
    turn = torch.where(draws.chance(0.5, *shape), math.pi / 2, 0.0)
    low = high - layout.camera.position[:, None, 2] < half[..., 2] * 2 + drop + 0.25
    kind = torch.where(lamp & round_, 1, BOX)
    hidden = low | ~draws.chance(0.5, *shape)
    plain = torch.zeros_like(lamp)
    return Things(kind, buried(centre, hidden), half, rotation_about(2, turn), plain, lamp)


def _pillars(draws: Draws, layout: Layout) -> Things:
    """Columns and jutting pieces of wall from floor to ceiling."""
    shape = (len(layout.heading), _PILLARS)
    wall = draws.chance(0.5, *shape)
    angle = layout.heading[:, None] + draws.uniform(-0.8, 0.8, *shape)
    flat, distance, axis = _walls_ahead(layout, angle)
    inward = torch.where(wall, 1.0, draws.uniform(0.55, 1.0, *shape))
    wide = torch.where(wall, draws.uniform(0.2, 1.1, *shape), draws.uniform(0.05, 0.2, *shape))
    deep = torch.where(wall, draws.uniform(0.1, 0.6, *shape), wide)
    tall = layout.room_high[:, None, 2] / 2
    half = torch.stack([wide, deep, tall.expand_as(wide)], -1)
    reach = distance * inward
    hidden = (reach < 1.5 + wide + deep) | ~draws.chance(0.35, *shape)
    centre = torch.cat([flat * inward[..., None], half[..., 2:]], -1)
    kind = torch.where(wall | draws.chance(0.5, *shape), BOX, CYLINDER)
    plain = torch.zeros_like(wall)
    upright = torch.ones_like(wall)
    return Things(kind, buried(centre, hidden), half, _wall_frames(axis, upright), plain, plain)


def _outside(draws: Draws, layout: Layout) -> Things:
    """Rows of houses along streets; scattered houses, hedges, walls and poles in the open."""
    batch, count = len(layout.heading), FIXTURES
    shape = (batch, count)
    slot = torch.arange(count, device=draws.device)
    street = (layout.surroundings == STREET)[:, None].expand(shape)
    block = draws.uniform(2.5, 5.5, *shape, 3)
    block[..., 2] = draws.uniform(1.5, 7, *shape)
    side = torch.where(slot % 2 == 0, 1.0, -1.0)
    width = draws.uniform(2.5, 6, batch, 1)
    lined = torch.stack(
        [
            6.0 * (slot // 2) + draws.uniform(-1, 5, *shape),
            side * (width + block[..., 1] + draws.uniform(0, 1.5, *shape)),
        ],
        -1,
    )
    roll = draws.uniform(0, 1, *shape)
    pole, hedge = roll > 0.82, roll < 0.4
    long = draws.uniform(2, 9, *shape)
    bush = torch.stack(
        [long, draws.uniform(0.15, 0.8, *shape), draws.uniform(0.3, 1.2, *shape)], -1
    )
    thick = draws.uniform(0.04, 0.2, *shape)
    mast = torch.stack([thick, thick, draws.uniform(1.5, 4, *shape)], -1)
    kerb = street & (slot >= count - 2)
    half = torch.where(pole[..., None], mast, torch.where(hedge[..., None], bush, block))
    half = torch.where(street[..., None], block, half)
    strip = half.new_tensor([60.0, 0.9, 0.07])
    half = torch.where(kerb[..., None], strip, half)
    angle = layout.heading[:, None] + draws.uniform(-0.9, 0.9, *shape)
    clear = half[..., :2].norm(dim=-1) + 2.0
    far = clear + draws.logarithmic(3.0, 70.0, *shape) * torch.where(pole, 0.5, 1.0)
    place = torch.stack([angle.cos() * far, angle.sin() * far], -1)
    place = torch.where(street[..., None], lined, place)
    beside = torch.stack([torch.full_like(long, 20.0), side * (width - 0.4).expand_as(long)], -1)
    place = torch.where(kerb[..., None], beside, place)
    yaw = draws.uniform(-math.pi, math.pi, *shape) * torch.where(street, 0.012, 1.0)
    yaw = torch.where(kerb, 0.0, yaw)
    hidden = ~street & draws.chance(0.45, *shape)
    # Nothing may swallow the camera.
    hidden = hidden | ((place.norm(dim=-1) < clear - 1.2) & ~street)
    centre = buried(torch.cat([place, half[..., 2:]], -1), hidden)
    plain = torch.zeros_like(pole)
    kind = torch.where(pole & ~street, CYLINDER, BOX)
    stretched = street & ~kerb & (roll > 0.6)
    return Things(kind, centre, half.clamp(max=FAR), rotation_about(2, yaw), stretched, plain)
