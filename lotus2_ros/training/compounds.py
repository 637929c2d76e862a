"""Places things made of several solids, and clutter on top of and around them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lotus2_ros.training.placement import (
    CORRIDOR,
    Layout,
    Things,
    ahead,
    buried,
    cleared,
    rotation_about,
    within,
)
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.ray_tracing import CYLINDER, PANEL
from lotus2_ros.training.templates import (
    AISLE,
    INDOOR,
    OUTDOOR,
    PANELS,
    PARTS,
    TEMPLATES,
    TOPS,
)

COMPOUNDS = 4
"""Compound things in a scene; those not wanted are buried."""

CLUTTER = 8
"""Small things in a scene that lie on or beside the compounds."""

_COLUMNS = 13


@dataclass(frozen=True)
class Compounds:
    """Compound things of B scenes.

    Attributes:
        solids: (B, COMPOUNDS * PARTS) closed parts.
        panels: (B, COMPOUNDS * PANELS) sheets.
        cut: (B, COMPOUNDS * PANELS, 4) their cut-outs, see `ray_tracing.Solids`.
        place: (B, COMPOUNDS, 2) where they stand.
        turn: (B, COMPOUNDS, 3, 3) how.
        top: (B, COMPOUNDS, 3) height and half-sides of their tops, metres; zeros without one.
        present: (B, COMPOUNDS) bool.
    """

    solids: Things
    panels: Things
    cut: Tensor
    place: Tensor
    turn: Tensor
    top: Tensor
    present: Tensor


@functools.cache
def template_table(device: torch.device | str) -> tuple[Tensor, Tensor]:
    """All templates: (T, PARTS + PANELS, 13) rows with kind -1 as padding, and (T, 3) tops."""
    table = torch.zeros(len(TEMPLATES), PARTS + PANELS, _COLUMNS)
    table[..., 0] = -1
    tops = torch.zeros(len(TEMPLATES), 3)
    for index, (name, rows) in enumerate(TEMPLATES.items()):
        solids = [row for row in rows if row[0] != PANEL]
        panels = [row for row in rows if row[0] == PANEL]
        table[index, : len(solids)] = torch.tensor(solids)
        if panels:
            table[index, PARTS : PARTS + len(panels)] = torch.tensor(panels)
        tops[index] = torch.tensor(TOPS.get(name, (0.0, 0.0, 0.0)))
    return table.to(device), tops.to(device)


def _indices(names: tuple[str, ...]) -> list[int]:
    order = list(TEMPLATES)
    return [order.index(name) for name in names]


def sample_compounds(draws: Draws, layout: Layout) -> Compounds:
    """Draw furniture, stores, vehicles, people and plants."""
    batch, count = len(layout.heading), COMPOUNDS
    outdoor, aisle = layout.outdoor, layout.surroundings == CORRIDOR
    which = torch.where(
        outdoor[:, None],
        draws.among(_indices(OUTDOOR), batch, count),
        torch.where(
            aisle[:, None],
            draws.among(_indices(AISLE), batch, count),
            draws.among(_indices(INDOOR), batch, count),
        ),
    )
    table, tops = template_table(draws.device)
    parts = table[which]  # (B, count, PARTS + PANELS, 13)
    scale = draws.uniform(0.75, 1.3, batch, count, 1, 3)
    scale = (0.5 * (scale + scale.mean(-1, keepdim=True))).clamp(0.7, 1.35)
    local = parts[..., 1:4] * scale
    half = _halves(draws, parts, scale.mean(-1, keepdim=True))
    radius = (local[..., :2].norm(dim=-1) + half.amax(-1)).amax(-1) * 0.8
    place, star = _places(draws, layout, radius)
    turn = rotation_about(2, _bearings(draws, layout))
    centre = (turn[:, :, None] @ local[..., None])[..., 0]
    centre = centre + torch.nn.functional.pad(place, (0, 1))[:, :, None]
    twist = rotation_about(0, parts[..., 7]) @ rotation_about(1, parts[..., 8])
    present = draws.chance(0.78, batch, count)
    present[:, 0] |= star
    hidden = (parts[..., 0] < 0) | ~present[..., None]
    kind = parts[..., 0].clamp_min(0).long()
    plain = torch.zeros_like(hidden)
    fields = (kind, buried(centre, hidden), half, turn[:, :, None] @ twist, plain, plain)
    top = tops[which] * torch.cat([scale[:, :, 0, 2:], scale[:, :, 0, :2]], -1)
    return Compounds(
        solids=Things(*(field[:, :, :PARTS].flatten(1, 2) for field in fields)),
        panels=Things(*(field[:, :, PARTS:].flatten(1, 2) for field in fields)),
        cut=parts[:, :, PARTS:, 9:].flatten(1, 2),
        place=place,
        turn=turn,
        top=top,
        present=present,
    )


def _halves(draws: Draws, parts: Tensor, scale: Tensor) -> Tensor:
    """Half-axes of the parts, some thicker and thinner than the template's; tubes stay round."""
    jitter = draws.uniform(0.82, 1.22, *parts.shape[:3], 3)
    jitter = torch.where(parts[..., :1] == PANEL, 1.0, jitter)
    half = (parts[..., 4:7] * scale * jitter).clamp_min(0.005)
    round_ = torch.cat([half[..., :1], half[..., :1], half[..., 2:]], -1)
    return torch.where(parts[..., :1] == CYLINDER, round_, half)


def _places(draws: Draws, layout: Layout, radius: Tensor) -> tuple[Tensor, Tensor]:
    """(B, COMPOUNDS, 2) places on the ground, and (B,) where one thing fills the picture."""
    batch, count = radius.shape
    reach = torch.where(layout.outdoor, 14.0, 5.5)
    reach = torch.where(layout.surroundings == CORRIDOR, 9.0, reach)
    place = ahead(layout, 1.8, reach, draws.uniform(0, 1, batch, count, 2))
    # Often one thing fills the middle of the picture.
    star = draws.chance(0.5, batch) & (layout.surroundings != CORRIDOR)
    aim = layout.heading + 0.25 * layout.camera.half_fov * draws.normal(batch)
    distance = draws.uniform(1.9, 3.8, batch)
    middle = torch.stack([aim.cos() * distance, aim.sin() * distance], -1)
    place[:, 0] = torch.where(star[:, None], middle, place[:, 0])
    # In aisles things stand along both sides.
    sides = torch.where(draws.chance(0.5, batch, count), -9.0, 9.0)
    along = torch.stack([place[..., 0], sides], -1)
    lined = (layout.surroundings == CORRIDOR)[:, None] & draws.chance(0.8, batch, count)
    place = torch.where(lined[..., None], along, place)
    place = within(layout, place, 0.35)
    return cleared(place, radius, torch.full_like(radius, 0.7)), star


def _bearings(draws: Draws, layout: Layout) -> Tensor:
    """(B, COMPOUNDS) turns about the vertical; half of the things stand square to the walls."""
    batch = len(layout.heading)
    yaw = draws.uniform(-math.pi, math.pi, batch, COMPOUNDS)
    square = (yaw / (math.pi / 2)).round() * (math.pi / 2) + 0.03 * yaw
    aisle = (layout.surroundings == CORRIDOR)[:, None]
    across = torch.where(yaw > 0, math.pi / 2, -math.pi / 2) + 0.03 * yaw
    squarely = draws.chance(0.5, batch, COMPOUNDS)
    return torch.where(aisle, across, torch.where(squarely, square, yaw))


def sample_clutter(draws: Draws, layout: Layout, compounds: Compounds) -> Things:
    """Draw small things: on the tops of compounds that have one, on the ground beside others."""
    batch, count = len(layout.heading), CLUTTER
    kind = draws.among([0, 0, 0, 0, 2, 2, 1], batch, count)
    half = draws.logarithmic(0.02, 0.14, batch, count, 1)
    half = half * draws.logarithmic(0.5, 1.8, batch, count, 3)
    thin = draws.chance(0.25, batch, count, 1)
    half = torch.where(thin, half * half.new_tensor([0.25, 0.3, 1.6]), half).clamp_min(0.006)
    round_ = torch.cat([half[..., :1], half[..., :1], half[..., 2:]], -1)
    half = torch.where((kind == CYLINDER)[..., None], round_, half)

    # Two in three go to the first thing, so that heaps appear.
    host = draws.among([0, 0, 0, 0, 1, 2, 3], batch, count)
    row = torch.arange(batch, device=draws.device)[:, None]
    top = compounds.top[row, host]
    raised = (top[..., 0] > 0) & compounds.present[row, host]
    spot = draws.uniform(-1, 1, batch, count, 2)
    offset = torch.where(raised[..., None], spot * top[..., 1:], spot * 1.1)
    offset = (compounds.turn[row, host][..., :2, :2] @ offset[..., None])[..., 0]
    place = compounds.place[row, host] + offset
    place = torch.where(raised[..., None], place, within(layout, place, 0.15))
    lying = (kind == CYLINDER) & draws.chance(0.35, batch, count)
    below = torch.where(lying, half[..., 0], half[..., 2])
    # A tenth of a millimetre keeps undersides from flickering against the tops.
    height = torch.where(raised, top[..., 0], 0.0) + below + 1e-4
    yaw = draws.uniform(0, 2 * math.pi, batch, count)
    rotation = rotation_about(2, yaw) @ rotation_about(0, torch.where(lying, math.pi / 2, 0.0))
    near = place.norm(dim=-1) < half.amax(-1) + 0.6
    hidden = near | draws.chance(0.2, batch, count)
    centre = buried(torch.cat([place, height[..., None]], -1), hidden)
    printed = draws.chance(0.4, batch, count)
    return Things(kind, centre, half, rotation, printed, torch.zeros_like(printed))
