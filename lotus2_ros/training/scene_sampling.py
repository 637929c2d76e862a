"""Random scenes: rooms, corridors, streets and open ground, furnished, and a camera in each.

World frame: z up, floor at z = 0, camera above the origin. Rooms are aligned with the world axes
and the camera's heading turns instead. Units are metres, though only ratios reach the model:
disparity is learnt up to scale and shift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lotus2_ros.training.compounds import CLUTTER, COMPOUNDS, sample_clutter, sample_compounds
from lotus2_ros.training.fixtures import FIXTURES, sample_fixtures
from lotus2_ros.training.loose_things import LOOSE, sample_loose
from lotus2_ros.training.placement import (
    CORRIDOR,
    FAR,
    ROOM,
    STREET,
    Camera,
    Layout,
    rotation_about,
)
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.ray_tracing import Solids
from lotus2_ros.training.templates import PANELS, PARTS

SOLIDS = LOOSE + FIXTURES + CLUTTER + COMPOUNDS * (PARTS + PANELS)
"""Solids in every scene, sheets with cut-outs last; those not wanted are buried."""


@dataclass(frozen=True)
class Scene:
    """Geometry of B scenes.

    Attributes:
        surroundings: (B,) ROOM, CORRIDOR, STREET or OPEN.
        room_low: (B, 3) lower corner of the room, world frame.
        room_high: (B, 3) upper corner; `FAR` away outdoors.
        solids: `SOLIDS` of them.
        group: (B, SOLIDS) int64, equal for the parts of one thing.
        stretched: (B, SOLIDS) bool, texture fitted to the face (pictures on walls).
        glowing: (B, SOLIDS) bool, lamps and bright windows.
        camera: the cameras.
    """

    surroundings: Tensor
    room_low: Tensor
    room_high: Tensor
    solids: Solids
    group: Tensor
    stretched: Tensor
    glowing: Tensor
    camera: Camera

    @property
    def outdoor(self) -> Tensor:
        """(B,) bool."""
        return self.surroundings >= STREET


def sample_scene(draws: Draws, batch: int) -> Scene:
    """Draw B scenes.

    Args:
        draws: source of randomness; decides the device.
        batch: B.
    """
    layout = _layout(draws, batch)
    compounds = sample_compounds(draws, layout)
    things = [
        sample_loose(draws, layout),
        sample_fixtures(draws, layout),
        sample_clutter(draws, layout, compounds),
        compounds.solids,
        compounds.panels,
    ]
    solids = Solids(
        kind=torch.cat([part.kind for part in things], 1),
        centre=torch.cat([part.centre for part in things], 1),
        half=torch.cat([part.half for part in things], 1),
        rotation=torch.cat([part.rotation for part in things], 1),
        cut=compounds.cut,
    )
    return Scene(
        surroundings=layout.surroundings,
        room_low=layout.room_low,
        room_high=layout.room_high,
        solids=solids,
        group=_groups(draws.device).expand(batch, -1),
        stretched=_joined([part.stretched for part in things]),
        glowing=_joined([part.glowing for part in things]),
        camera=layout.camera,
    )


def _joined(flags: list[Tensor]) -> Tensor:
    return torch.cat(flags, 1)


def _groups(device: torch.device) -> Tensor:
    """(SOLIDS,) the index of the thing each solid belongs to."""
    single = torch.arange(LOOSE + FIXTURES + CLUTTER, device=device)
    compound = torch.arange(COMPOUNDS, device=device) + len(single)
    shared = [compound.repeat_interleave(PARTS), compound.repeat_interleave(PANELS)]
    return torch.cat([single, *shared])


def _layout(draws: Draws, batch: int) -> Layout:
    roll = draws.uniform(0, 1, batch)
    surroundings = (roll > 0.5).long() + (roll > 0.62).long() + (roll > 0.78).long()
    heading = draws.uniform(-math.pi, math.pi, batch)
    # Corridors and streets are looked along, more or less.
    along = (surroundings == CORRIDOR) | (surroundings == STREET)
    heading = torch.where(along, 0.12 * heading, heading)
    # Many rooms are seen squarely, as people hold cameras.
    square = (surroundings == ROOM) & draws.chance(0.35, batch)
    quarter = (heading / (math.pi / 2)).round() * (math.pi / 2)
    heading = torch.where(square, quarter + 0.05 * heading, heading)
    room_low, room_high = _room(draws, surroundings, heading)
    camera = _camera(draws, heading, room_high[:, 2])
    return Layout(surroundings, heading, room_low, room_high, camera)


def _room(draws: Draws, surroundings: Tensor, heading: Tensor) -> tuple[Tensor, Tensor]:
    """Corners (B, 3) of rooms around the origin, with more room ahead than behind."""
    batch = len(surroundings)
    size = draws.logarithmic(2.6, 10.0, batch, 3)
    size[:, 2] = draws.uniform(2.2, 3.6, batch)
    # Half of the corridors are the wider and higher aisles of stores.
    aisle = draws.chance(0.5, batch)
    corridor = torch.stack(
        [
            draws.uniform(6, 25, batch),
            draws.uniform(1.4, 3.2, batch) + torch.where(aisle, 1.5, 0.0),
            size[:, 2] + torch.where(aisle, 1.5, 0.0),
        ],
        -1,
    )
    size = torch.where((surroundings == CORRIDOR)[:, None], corridor, size)
    forward = torch.stack([torch.cos(heading), torch.sin(heading)], -1)
    # -1 stands at the wall behind, +1 at the wall ahead, per axis.
    offset = -forward * draws.uniform(0.2, 1.0, batch, 1) + draws.uniform(-0.35, 0.35, batch, 2)
    position = offset.clamp(-1, 1) * (size[:, :2] / 2 - 0.55).clamp_min(0.05)
    low = torch.cat([-size[:, :2] / 2 - position, torch.zeros_like(size[:, 2:])], -1)
    high = torch.cat([size[:, :2] / 2 - position, size[:, 2:]], -1)
    outdoor = (surroundings >= STREET)[:, None]
    far = torch.tensor([FAR, FAR, FAR], device=size.device)
    return torch.where(outdoor, far * torch.tensor([-1.0, -1, 0], device=size.device), low), (
        torch.where(outdoor, far, high)
    )


def _camera(draws: Draws, heading: Tensor, ceiling: Tensor) -> Camera:
    batch = len(heading)
    eye = draws.chance(0.45, batch)
    height = torch.where(eye, draws.uniform(1.1, 1.8, batch), draws.uniform(0.2, 1.3, batch))
    height = torch.minimum(height, ceiling - 0.4)
    # Higher cameras look further down.
    pitch = draws.normal(batch) * 0.13 - 0.1 - 0.1 * (height - 0.8)
    steep = draws.chance(0.12, batch)
    pitch = torch.where(steep, pitch - draws.uniform(0.1, 0.4, batch), pitch).clamp(-0.75, 0.3)
    tilt = (draws.normal(batch) * 0.04).clamp(-0.15, 0.15)
    optical = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]], device=heading.device)
    rotation = rotation_about(2, heading) @ rotation_about(1, -pitch) @ optical
    rotation = rotation @ rotation_about(2, tilt)
    position = torch.stack([torch.zeros_like(height), torch.zeros_like(height), height], -1)
    return Camera(position, rotation, draws.uniform(math.radians(22), math.radians(46), batch))
