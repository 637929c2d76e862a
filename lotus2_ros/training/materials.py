"""What surfaces are made of: colour, texture, gloss, mirror-like share and glow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.ray_tracing import Hit, gather_rows
from lotus2_ros.training.scene_sampling import SOLIDS, Scene
from lotus2_ros.training.textures import TexturePyramid

_SURFACES = SOLIDS + 6
"""Materials per scene: one for each solid, one for each face of the room."""


@dataclass(frozen=True)
class Materials:
    """Per-surface properties.

    Attributes:
        packed: (B, _SURFACES, 20) tint 3, texture index, texture strength, repeats per metre,
            checker strength, checkers per metre, gloss, offset 2, stretched, second texture
            index, its strength, its repeats relative to the first, texture contrast, mirror-like
            share, metal, glow, highlight exponent.
    """

    packed: Tensor


@dataclass(frozen=True)
class Surface:
    """What each ray found.

    Attributes:
        colour: (B, P, 3) diffuse colour.
        gloss: (B, P) strength of highlights.
        exponent: (B, P) sharpness of highlights.
        mirror: (B, P) share of light reflected as by a mirror, seen straight on.
        metal: (B, P) share of its colour that a reflection takes.
        glow: (B, P) light the surface gives, as a multiple of its colour.
    """

    colour: Tensor
    gloss: Tensor
    exponent: Tensor
    mirror: Tensor
    metal: Tensor
    glow: Tensor


def sample_materials(draws: Draws, scene: Scene, textures: TexturePyramid) -> Materials:
    """Draw a material for every surface; the parts of one thing often share it."""
    batch = len(scene.surroundings)
    shape = (batch, _SURFACES)
    stretched = F.pad(scene.stretched.float(), (0, 6))[..., None]
    glowing = F.pad(scene.glowing.float(), (0, 6))[..., None]
    texture = draws.index(textures.count, *shape, 2).float()
    strength = draws.uniform(0.25, 1.0, *shape, 1) * draws.chance(0.68, *shape, 1)
    # Pictures and printed boxes show their print.
    strength = torch.where(stretched > 0, strength.clamp_min(0.8), strength)
    second = draws.uniform(0.1, 0.8, *shape, 1) * draws.chance(0.4, *shape, 1)
    metal = draws.chance(0.1, *shape, 1).float()
    mirror = draws.uniform(0.02, 0.45, *shape, 1) * draws.chance(0.3, *shape, 1)
    mirror = torch.maximum(mirror, metal * draws.uniform(0.3, 0.8, *shape, 1))
    # White light of a lamp, or a window's: bright, and little of their own colour.
    glow = glowing * draws.uniform(0.5, 3.0, *shape, 1) * draws.chance(0.75, *shape, 1)
    packed = torch.cat(
        [
            torch.where(glow > 0, 0.9, _tints(draws, shape)),
            texture[..., :1],
            torch.where(glow > 0, 0.3 * strength, strength),
            draws.logarithmic(0.15, 3.0, *shape, 1),
            draws.uniform(0.2, 0.8, *shape, 1) * draws.chance(0.08, *shape, 1),
            draws.logarithmic(0.8, 8.0, *shape, 1),
            draws.uniform(0, 0.8, *shape, 1) * draws.chance(0.4, *shape, 1),
            draws.uniform(0, 8, *shape, 2),
            stretched,
            texture[..., 1:],
            second,
            draws.logarithmic(0.3, 4.0, *shape, 1),
            draws.logarithmic(0.25, 1.4, *shape, 1),
            mirror,
            metal,
            glow,
            draws.logarithmic(6, 150, *shape, 1),
        ],
        -1,
    )
    shared = gather_rows(packed, _sources(draws, scene))
    # Glow and print belong to the part, not to the thing.
    return Materials(torch.where(stretched + glowing > 0, packed, shared))


def _tints(draws: Draws, shape: tuple[int, int]) -> Tensor:
    """Colours (B, N, 3): most things are nearly grey or brown, some are black, white or vivid."""
    lightness = draws.uniform(0.04, 0.85, *shape, 1)
    bright = torch.arange(shape[1], device=draws.device)[:, None] >= SOLIDS
    pale = draws.chance(0.6, *shape, 1) & bright
    lightness = torch.where(pale, 0.45 + 0.5 * lightness, lightness)
    dark = draws.chance(0.15, *shape, 1) & ~bright
    lightness = torch.where(dark, 0.12 * lightness, lightness)
    roll = draws.uniform(0, 1, *shape, 1)
    amount = torch.where(roll < 0.15, 0.8, torch.where(roll < 0.4, 0.28, 0.06))
    brown = draws.chance(0.3, *shape, 1) * torch.tensor([0.25, 0.0, -0.3], device=draws.device)
    return (lightness * (1 + draws.normal(*shape, 3) * amount + brown)).clamp(0.015, 0.95)


def _sources(draws: Draws, scene: Scene) -> Tensor:
    """(B, _SURFACES) whose material each surface takes: often that of its thing's first part."""
    batch, solids = scene.group.shape
    device = scene.group.device
    # Groups are the same in every scene, so one row tells them all.
    first = (scene.group[0, :, None] == scene.group[0]).float().argmax(-1)
    faces = torch.arange(SOLIDS, _SURFACES, device=device)
    first = torch.cat([first, faces]).expand(batch, -1)
    # Walls mostly share one material as well; floor and ceiling (the last two) do not.
    first = torch.cat([first[:, : solids + 1], first[:, solids : solids + 1].expand(-1, 3),
                       first[:, solids + 4 :]], 1)  # fmt: skip
    own = torch.arange(_SURFACES, device=device).expand(batch, -1)
    return torch.where(draws.chance(0.55, batch, _SURFACES), first, own)


def surface_at(materials: Materials, textures: TexturePyramid, hit: Hit, pixel: Tensor) -> Surface:
    """The surfaces that were hit.

    Args:
        materials: of the scene's surfaces.
        textures: the pyramid the materials index.
        hit: what each ray hit.
        pixel: (B, P) size of a pixel at the hit, metres.
    """
    axis = hit.local_normal.abs().argmax(-1)
    positive = hit.local_normal.gather(-1, axis[..., None])[..., 0] > 0
    face = SOLIDS + 2 * axis + positive.long()
    row = gather_rows(materials.packed, torch.where(hit.solid < 0, face, hit.solid))
    tint = row[..., 0:3]
    strength, repeats, checker, pitch = (row[..., i] for i in range(4, 8))
    stretched = row[..., 11] > 0
    u, v = _across(hit.local, axis)
    checkers = ((u * pitch).floor() + (v * pitch).floor()).remainder(2)
    checkers = torch.where(pixel * pitch > 0.5, 0.5, checkers)
    unit_u, unit_v = _across(hit.unit, axis)
    u = torch.where(stretched, unit_u * 0.5 + 0.5, u * repeats + row[..., 9])
    v = torch.where(stretched, unit_v * 0.5 + 0.5, v * repeats + row[..., 10])
    footprint = (pixel * repeats).clamp_min(1e-6)
    sampled = textures.sample(row[..., 3].long(), u, -v, footprint)
    finer = row[..., 14]
    other = textures.sample(row[..., 12].long(), u * finer, v * finer, footprint * finer)
    # The second one dirties, wears or shades the first; the mean brightness stays.
    sampled = sampled * (1 + row[..., 13, None] * (1.6 * other - 0.8))
    sampled = (0.5 + (sampled - 0.5) * row[..., 15, None]).clamp(0.01, 1.2) ** 2.2
    # Textured surfaces keep half of their tint.
    colour = tint * (1 - strength[..., None]) + strength[..., None] * sampled * (
        0.5 + 0.5 * tint / tint.mean(-1, keepdim=True)
    )
    return Surface(
        colour=colour * (1 - checker * checkers)[..., None],
        gloss=row[..., 8],
        exponent=row[..., 19],
        mirror=row[..., 16],
        metal=row[..., 17],
        glow=row[..., 18],
    )


def _across(point: Tensor, axis: Tensor) -> tuple[Tensor, Tensor]:
    """The two coordinates of (B, P, 3) in the faces square to an axis (B, P)."""
    x, y, z = point.unbind(-1)
    return torch.where(axis == 0, y, x), torch.where(axis == 2, y, z)
