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

from lotus2_ros.training.compounds import (
    INDOOR,
    OUTDOOR,
    PARTS,
    template_indices,
    template_table,
)
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.ray_tracing import BOX, Solids

ROOM, CORRIDOR, STREET, OPEN = range(4)
"""Kinds of surroundings."""

FAR = 2000.0
"""Where the 'walls' of outdoor scenes stand; they are sky."""

_LOOSE = 20
_COMPOUNDS = 4
_WALL = 5
SOLIDS = _LOOSE + _WALL + _COMPOUNDS * PARTS
"""Solids in every scene; those not wanted are buried."""

_BURIED = -1000.0


@dataclass(frozen=True)
class Camera:
    """Pinhole cameras of B scenes.

    Attributes:
        position: (B, 3) in the world frame.
        rotation: (B, 3, 3) from the optical frame (x right, y down, z forward) to the world.
        half_fov: (B,) half the horizontal field of view, radians.
    """

    position: Tensor
    rotation: Tensor
    half_fov: Tensor


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
        camera: the cameras.
    """

    surroundings: Tensor
    room_low: Tensor
    room_high: Tensor
    solids: Solids
    group: Tensor
    stretched: Tensor
    camera: Camera

    @property
    def outdoor(self) -> Tensor:
        """(B,) bool."""
        return self.surroundings >= STREET


def rotation_about(axis: int, angle: Tensor) -> Tensor:
    """Right-handed rotation matrices (..., 3, 3) about world axis 0, 1 or 2 by radians (...)."""
    cosine, sine = torch.cos(angle), torch.sin(angle)
    matrix = torch.zeros(*angle.shape, 3, 3, device=angle.device)
    matrix[..., axis, axis] = 1
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[..., first, first] = cosine
    matrix[..., second, second] = cosine
    matrix[..., first, second] = -sine
    matrix[..., second, first] = sine
    return matrix


def sample_scene(draws: Draws, batch: int) -> Scene:
    """Draw B scenes.

    Args:
        draws: source of randomness; decides the device.
        batch: B.
    """
    roll = draws.uniform(0, 1, batch)
    surroundings = (roll > 0.5).long() + (roll > 0.62).long() + (roll > 0.78).long()
    heading = draws.uniform(-math.pi, math.pi, batch)
    # Corridors and streets are looked along, more or less.
    along = (surroundings == CORRIDOR) | (surroundings == STREET)
    heading = torch.where(along, 0.12 * heading, heading)
    # Half the rooms are seen squarely, as people hold cameras.
    square = (surroundings == ROOM) & draws.chance(0.35, batch)
    quarter = (heading / (math.pi / 2)).round() * (math.pi / 2)
    heading = torch.where(square, quarter + 0.05 * heading, heading)
    room_low, room_high = _room(draws, surroundings, heading)
    camera = _camera(draws, heading, room_high[:, 2])

    solids, group, stretched = _furnish(draws, surroundings, heading, room_low, room_high, camera)
    return Scene(surroundings, room_low, room_high, solids, group, stretched, camera)


def _room(draws: Draws, surroundings: Tensor, heading: Tensor) -> tuple[Tensor, Tensor]:
    """Corners (B, 3) of rooms around the origin, with more room ahead than behind."""
    batch = len(surroundings)
    size = draws.logarithmic(2.6, 10.0, batch, 3)
    size[:, 2] = draws.uniform(2.2, 3.6, batch)
    corridor = torch.stack(
        [draws.uniform(6, 25, batch), draws.uniform(1.4, 3.2, batch), size[:, 2]], -1
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


def _furnish(
    draws: Draws,
    surroundings: Tensor,
    heading: Tensor,
    room_low: Tensor,
    room_high: Tensor,
    camera: Camera,
) -> tuple[Solids, Tensor, Tensor]:
    street = surroundings == STREET
    reach = torch.where(street, 30.0, torch.where(surroundings == OPEN, 18.0, 6.0))
    parts = [
        _loose(draws, surroundings, heading, reach, room_low, room_high, camera),
        _on_walls(draws, street, heading, room_low, room_high),
        _compounds(draws, surroundings, heading, room_low, room_high, camera),
    ]
    kind, centre, half, rotation = (torch.cat(group, 1) for group in zip(*parts, strict=True))
    batch = len(heading)
    group = torch.arange(_LOOSE + _WALL, device=heading.device)
    shared = torch.arange(_COMPOUNDS, device=heading.device).repeat_interleave(PARTS)
    group = torch.cat([group, shared + _LOOSE + _WALL]).expand(batch, -1)
    stretched = (group >= _LOOSE) & (group < _LOOSE + _WALL) & ~street[:, None]
    return Solids(kind, centre, half, rotation), group, stretched


def _ahead(
    draws: Draws, heading: Tensor, camera: Camera, near: float, reach: Tensor, count: int
) -> Tensor:
    """(B, count, 2) places on the ground in front of the camera."""
    batch = len(heading)
    spread = camera.half_fov[:, None] * 1.15
    angle = heading[:, None] + spread * draws.uniform(-1, 1, batch, count)
    distance = near + (reach[:, None] - near) * draws.uniform(0, 1, batch, count) ** 1.4
    return torch.stack([angle.cos() * distance, angle.sin() * distance], -1)


def _cleared(place: Tensor, radius: Tensor, clearance: Tensor) -> Tensor:
    """Places (B, N, 2) pushed away from the camera until things of that radius are clear of it."""
    distance = place.norm(dim=-1).clamp_min(1e-3)
    wanted = torch.maximum(distance, radius + clearance)
    moved: Tensor = place * (wanted / distance)[..., None]
    return moved


Parts = tuple[Tensor, Tensor, Tensor, Tensor]


def _bury(centre: Tensor, hidden: Tensor) -> Tensor:
    depth = torch.where(hidden, torch.full_like(centre[..., 2], _BURIED), centre[..., 2])
    return torch.cat([centre[..., :2], depth[..., None]], -1)


def _loose(
    draws: Draws,
    surroundings: Tensor,
    heading: Tensor,
    reach: Tensor,
    room_low: Tensor,
    room_high: Tensor,
    camera: Camera,
) -> Parts:
    """Boxes, ellipsoids and cylinders that stand, lie, lean or hang about."""
    batch, count = len(heading), _LOOSE
    device = heading.device
    kind = draws.among([0, 0, 0, 1, 2, 2], batch, count)
    size = draws.logarithmic(0.05, 0.6, batch, count, 1)
    half = size * draws.logarithmic(0.4, 1.8, batch, count, 3)
    thin = draws.chance(0.2, batch, count)
    squeeze = torch.where(draws.chance(0.5, batch, count, 1), 0.15, 1.0)
    squeeze = torch.cat([squeeze, torch.full_like(squeeze, 0.2), torch.full_like(squeeze, 2.2)], -1)
    half = torch.where(thin[..., None], half * squeeze, half)
    outdoor = (surroundings >= STREET)[:, None, None]
    half = torch.where(outdoor, half * draws.logarithmic(0.8, 3.5, batch, count, 1), half)
    round_ = torch.cat([half[..., :1], half[..., :1], half[..., 2:]], -1)
    half = torch.where((kind == 2)[..., None], round_, half)

    place = _ahead(draws, heading, camera, 1.0, reach, count)
    # Buildings line the first slots of a street.
    rows = count // 2
    building = torch.zeros(batch, count, dtype=torch.bool, device=device)
    building[:, :rows] = (surroundings == STREET)[:, None]
    width = draws.uniform(2.5, 6, batch, 1)
    block = draws.uniform(2.5, 5.5, batch, count, 3)
    block[..., 2] = draws.uniform(1.5, 7, batch, count)
    side = torch.where(torch.arange(count, device=device) % 2 == 0, 1.0, -1.0)
    slot = torch.arange(count, device=device) // 2
    lined = torch.stack(
        [
            6.0 * slot + draws.uniform(-1, 5, batch, count),
            side * (width + block[..., 1] + draws.uniform(0, 1.5, batch, count)),
        ],
        -1,
    )
    kind = torch.where(building, BOX, kind)
    half = torch.where(building[..., None], block, half)
    radius = half[..., :2].norm(dim=-1)
    clearance = 0.6 + 0.5 * draws.uniform(0, 1, batch, 1) + 0.6 * half.amax(-1)
    inside_low, inside_high = room_low[:, None, :2] + 0.1, room_high[:, None, :2] - 0.1
    place = torch.minimum(torch.maximum(place, inside_low), inside_high)
    place = _cleared(place, radius, clearance)
    place = torch.where(building[..., None], lined, place)

    lifted = draws.chance(0.2, batch, count) & ~building
    lift = torch.where(lifted, draws.uniform(0.2, 1.6, batch, count), 0.0)
    centre = torch.cat([place, (half[..., 2] + lift)[..., None]], -1)
    yaw = draws.uniform(0, 2 * math.pi, batch, count) * draws.chance(0.65, batch, count)
    yaw = torch.where(building, 0.04 * yaw, yaw)
    lean = draws.uniform(-1, 1, batch, count) * (draws.chance(0.15, batch, count) & ~building)
    lying = (kind == 2) & draws.chance(0.25, batch, count)
    turn = torch.where(lying, math.pi / 2, lean)
    low = torch.where(lying & ~lifted, half[..., 0], centre[..., 2])
    centre = torch.cat([place, low[..., None]], -1)
    rotation = rotation_about(2, yaw) @ rotation_about(0, turn)
    density = draws.uniform(0.15, 1.0, batch, 1)
    hidden = ~draws.chance(1.0, batch, count) | (draws.uniform(0, 1, batch, count) > density)
    too_near = ~building & (place.norm(dim=-1) < radius + 0.5)
    return kind, _bury(centre, (hidden & ~building) | too_near), half, rotation


def _on_walls(
    draws: Draws, street: Tensor, heading: Tensor, room_low: Tensor, room_high: Tensor
) -> Parts:
    """Flat boxes on the walls of rooms: pictures, doors, windows, cabinets."""
    batch, count = len(heading), _WALL
    half = torch.stack(
        [
            draws.uniform(0.2, 0.9, batch, count),
            draws.uniform(0.2, 0.9, batch, count),
            draws.logarithmic(0.01, 0.35, batch, count),
        ],
        -1,
    )
    angle = heading[:, None] + draws.uniform(-0.9, 0.9, batch, count)
    ray = torch.stack([angle.cos(), angle.sin()], -1)
    bound = torch.where(ray > 0, room_high[:, None, :2], room_low[:, None, :2])
    reach = bound / torch.where(ray.abs() < 1e-4, 1e-4, ray)
    distance, axis = reach.min(-1)
    flat = ray * distance[..., None]
    top = room_high[:, None, 2]
    door = draws.chance(0.25, batch, count)
    half = torch.where(door[..., None], half * 0 + half.new_tensor([0.45, 1.0, 0.03]), half)
    height = torch.where(door, half[..., 1], draws.uniform(0.6, 1.9, batch, count))
    centre = torch.cat([flat, torch.minimum(height, top)[..., None]], -1)
    # Own axes: x along the wall, y up, z out of the wall.
    zero, one = torch.zeros_like(distance), torch.ones_like(distance)
    along = torch.where(axis == 0, zero, one)
    columns = [
        torch.stack([along, 1 - along, zero], -1),
        torch.stack([zero, zero, one], -1),
        torch.stack([1 - along, -along, zero], -1),
    ]
    rotation = torch.stack(columns, -1)
    outdoor = room_high[:, None, 0] >= FAR
    hidden = outdoor | street[:, None] | (distance < 1.2) | ~draws.chance(0.6, batch, count)
    kind = torch.full((batch, count), BOX, device=heading.device)
    return kind, _bury(centre, hidden), half, rotation


def _compounds(
    draws: Draws,
    surroundings: Tensor,
    heading: Tensor,
    room_low: Tensor,
    room_high: Tensor,
    camera: Camera,
) -> Parts:
    """Furniture, vehicles, people and trees made of several solids."""
    batch, count = len(heading), _COMPOUNDS
    outdoor = surroundings >= STREET
    which = torch.where(
        outdoor[:, None],
        draws.among(template_indices(OUTDOOR), batch, count),
        draws.among(template_indices(INDOOR), batch, count),
    )
    parts = template_table(heading.device)[which]  # (B, count, PARTS, 9)
    scale = draws.uniform(0.75, 1.3, batch, count, 1, 3)
    scale = (0.5 * (scale + scale.mean(-1, keepdim=True))).clamp(0.7, 1.35)
    jitter = draws.uniform(0.8, 1.25, batch, count, PARTS, 3)
    kind = parts[..., 0]
    local = parts[..., 1:4] * scale
    uniform = scale.mean(-1, keepdim=True)
    half = (parts[..., 4:7] * uniform * jitter).clamp_min(0.005)
    round_ = torch.cat([half[..., :1], half[..., :1], half[..., 2:]], -1)
    half = torch.where((kind == 2)[..., None], round_, half)

    reach = torch.where(outdoor, 14.0, 5.5)
    place = _ahead(draws, heading, camera, 1.8, reach, count)
    # Often one thing fills the middle of the picture.
    star = draws.chance(0.5, batch)
    aim = heading + 0.25 * camera.half_fov * draws.normal(batch)
    distance = draws.uniform(1.9, 3.6, batch)
    middle = torch.stack([aim.cos() * distance, aim.sin() * distance], -1)
    place[:, 0] = torch.where(star[:, None], middle, place[:, 0])
    radius = (local[..., :2].norm(dim=-1) + half.amax(-1)).amax(-1) * 0.8
    inside_low, inside_high = room_low[:, None, :2] + 0.3, room_high[:, None, :2] - 0.3
    place = torch.minimum(torch.maximum(place, inside_low), inside_high)
    place = _cleared(place, radius, torch.full_like(radius, 0.75))
    yaw = draws.uniform(0, 2 * math.pi, batch, count)
    turn = rotation_about(2, yaw)[:, :, None]  # (B, count, 1, 3, 3)
    centre = (turn @ local[..., None])[..., 0]
    centre = centre + torch.nn.functional.pad(place, (0, 1))[:, :, None]
    rotation = turn @ rotation_about(0, parts[..., 7]) @ rotation_about(1, parts[..., 8])
    present = draws.chance(0.65, batch, count)
    present[:, 0] |= star
    hidden = (kind < 0) | ~present[..., None]
    kind = kind.clamp_min(0).long()
    flat = (kind, _bury(centre, hidden), half, rotation)
    return tuple(value.flatten(1, 2) for value in flat)  # type: ignore[return-value]
