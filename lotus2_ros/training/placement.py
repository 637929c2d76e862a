"""Where things may stand: rooms, cameras, and places on the ground that the camera sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROOM, CORRIDOR, STREET, OPEN = range(4)
"""Kinds of surroundings."""

FAR = 2000.0
"""Where the 'walls' of outdoor scenes stand; they are sky."""

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
class Layout:
    """B empty rooms or grounds with a camera in each.

    Attributes:
        surroundings: (B,) ROOM, CORRIDOR, STREET or OPEN.
        heading: (B,) bearing of the camera, radians from world x.
        room_low: (B, 3) lower corner of the room, world frame.
        room_high: (B, 3) upper corner; `FAR` away outdoors.
        camera: the cameras.
    """

    surroundings: Tensor
    heading: Tensor
    room_low: Tensor
    room_high: Tensor
    camera: Camera

    @property
    def outdoor(self) -> Tensor:
        """(B,) bool."""
        return self.surroundings >= STREET


@dataclass(frozen=True)
class Things:
    """N solids in each of B scenes, and how they are to look.

    Attributes:
        kind: (B, N) int64, of `ray_tracing`.
        centre: (B, N, 3) world frame, metres.
        half: (B, N, 3) half-axes, metres.
        rotation: (B, N, 3, 3) from own axes to the world's.
        stretched: (B, N) bool, texture fitted to the faces (pictures, printed boxes).
        glowing: (B, N) bool, lamps and bright windows.
    """

    kind: Tensor
    centre: Tensor
    half: Tensor
    rotation: Tensor
    stretched: Tensor
    glowing: Tensor


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


def ahead(layout: Layout, near: float, reach: Tensor, rolls: Tensor) -> Tensor:
    """Places (B, N, 2) on the ground in front of the camera.

    Args:
        layout: rooms and cameras.
        near: least distance, metres.
        reach: (B,) greatest distance, metres.
        rolls: (B, N, 2) uniform in [0, 1): bearing and distance.
    """
    spread = layout.camera.half_fov[:, None] * 1.15
    angle = layout.heading[:, None] + spread * (2 * rolls[..., 0] - 1)
    distance = near + (reach[:, None] - near) * rolls[..., 1] ** 1.4
    return torch.stack([angle.cos() * distance, angle.sin() * distance], -1)


def within(layout: Layout, place: Tensor, margin: float) -> Tensor:
    """Places (B, N, 2) moved into the room, a margin in metres from its walls."""
    low, high = layout.room_low[:, None, :2] + margin, layout.room_high[:, None, :2] - margin
    return torch.minimum(torch.maximum(place, low), high)


def cleared(place: Tensor, radius: Tensor, clearance: Tensor) -> Tensor:
    """Places (B, N, 2) pushed away from the camera until things of that radius are clear of it."""
    distance = place.norm(dim=-1).clamp_min(1e-3)
    wanted = torch.maximum(distance, radius + clearance)
    moved: Tensor = place * (wanted / distance)[..., None]
    return moved


def buried(centre: Tensor, hidden: Tensor) -> Tensor:
    """Centres (..., 3), those of hidden things far below the ground."""
    depth = torch.where(hidden, torch.full_like(centre[..., 2], _BURIED), centre[..., 2])
    return torch.cat([centre[..., :2], depth[..., None]], -1)
