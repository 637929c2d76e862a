"""Materials, light and shadow: from what a ray hit to a linear colour."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.ray_tracing import Hit, first_entry, gather_rows
from lotus2_ros.training.scene_sampling import SOLIDS, Scene
from lotus2_ros.training.textures import TexturePyramid

_SURFACES = SOLIDS + 6
"""Materials per scene: one for each solid, one for each face of the room."""

_SHADOW_BIAS = 4e-3


@dataclass(frozen=True)
class Materials:
    """Per-surface properties, each (B, `_SURFACES`) or (B, `_SURFACES`, 3).

    Attributes:
        packed: (B, _SURFACES, 12) tint 3, texture index, texture strength, repeats per metre,
            checker strength, checkers per metre, gloss, offset 2, stretched.
    """

    packed: Tensor


@dataclass(frozen=True)
class Lights:
    """Light of B scenes.

    Attributes:
        position: (B, 3) of the shadowing light, world frame.
        colour: (B, 3) of the shadowing light.
        falloff: (B,) attenuation per square metre; 0 outdoors.
        fill: (B, 3) direction towards a second light without shadow.
        fill_colour: (B, 3).
        ambient: (B, 3).
        sky: (B, 2, 3) colours at the zenith and at the horizon.
        clouds: (B, 2) texture index and strength of clouds.
        haze: (B,) share of colour lost to haze per metre outdoors.
    """

    position: Tensor
    colour: Tensor
    falloff: Tensor
    fill: Tensor
    fill_colour: Tensor
    ambient: Tensor
    sky: Tensor
    clouds: Tensor
    haze: Tensor


def sample_materials(draws: Draws, scene: Scene, textures: TexturePyramid) -> Materials:
    """Draw a material for every surface; the parts of one thing often share it."""
    batch = len(scene.surroundings)
    shape = (batch, _SURFACES)
    lightness = draws.uniform(0.06, 0.9, *shape, 1)
    chroma = draws.normal(*shape, 3) * torch.where(draws.chance(0.4, *shape, 1), 0.28, 0.06)
    tint = (lightness * (1 + chroma)).clamp(0.03, 0.95)
    texture = draws.index(textures.count, *shape)[..., None].float()
    strength = draws.uniform(0.3, 1.0, *shape, 1) * draws.chance(0.65, *shape, 1)
    repeats = draws.logarithmic(0.15, 2.0, *shape, 1)
    checker = draws.uniform(0.2, 0.8, *shape, 1) * draws.chance(0.12, *shape, 1)
    pitch = draws.logarithmic(0.8, 8.0, *shape, 1)
    gloss = draws.uniform(0, 0.7, *shape, 1) * draws.chance(0.35, *shape, 1)
    offset = draws.uniform(0, 8, *shape, 2)
    stretched = F.pad(scene.stretched.float(), (0, 6))[..., None]
    strength = torch.where(stretched > 0, strength.clamp_min(0.8), strength)
    packed = torch.cat(
        [tint, texture, strength, repeats, checker, pitch, gloss, offset, stretched], -1
    )
    # A thing's parts take the first part's material two times in three.
    first = (scene.group[:, :, None] == scene.group[:, None]).float().argmax(-1)
    first = (
        F.pad(first, (0, 6))
        + F.pad(torch.arange(6, device=first.device), (SOLIDS, 0))
        + (F.pad(torch.full((6,), SOLIDS, device=first.device), (SOLIDS, 0)))
    )
    own = torch.arange(_SURFACES, device=first.device).expand(batch, -1)
    source = torch.where(draws.chance(0.6, *shape), first, own)
    return Materials(gather_rows(packed, source))


def sample_lights(draws: Draws, scene: Scene, textures: TexturePyramid) -> Lights:
    """Draw lamps for rooms, a sun and a sky for the open."""
    batch = len(scene.surroundings)
    outdoor = scene.outdoor[:, None]
    share = draws.uniform(0.1, 0.9, batch, 3)
    share[:, 2] = draws.uniform(0.6, 0.98, batch)
    lamp = scene.room_low + share * (scene.room_high - scene.room_low)
    bearing, height = draws.uniform(-3.2, 3.2, batch), draws.uniform(0.25, 1.4, batch)
    sun = torch.stack(
        [bearing.cos() * height.cos(), bearing.sin() * height.cos(), height.sin()], -1
    )
    warmth = draws.normal(batch, 1) * 0.12
    hue = 1 + warmth * torch.tensor([1.0, 0.1, -1.0], device=warmth.device)
    fill = F.normalize(
        draws.normal(batch, 3) + torch.tensor([0, 0, 0.6], device=hue.device), dim=-1
    )
    blue = torch.tensor([0.55, 0.75, 1.0], device=hue.device)
    overcast = draws.uniform(0, 1, batch, 1)
    zenith = (blue * (1 - overcast) + 0.8 * overcast) * draws.uniform(0.5, 1.2, batch, 1)
    horizon = 0.5 * zenith + 0.5 * draws.uniform(0.6, 1.3, batch, 1)
    clouds = torch.stack(
        [draws.index(textures.count, batch).float(), draws.uniform(0, 1.0, batch)], -1
    )
    return Lights(
        position=torch.where(outdoor, sun * 300.0, lamp),
        colour=hue * draws.uniform(0.35, 1.3, batch, 1),
        falloff=torch.where(outdoor[:, 0], 0.0, draws.uniform(0.02, 0.12, batch)),
        fill=fill,
        fill_colour=draws.uniform(0.0, 0.5, batch, 1) * (2 - hue),
        ambient=draws.uniform(0.12, 0.6, batch, 1) * (1 + 0.3 * (1 - hue)),
        sky=torch.stack([zenith, horizon], 1),
        clouds=clouds,
        haze=draws.uniform(0, 0.02, batch) * scene.outdoor,
    )


def albedo(
    materials: Materials, textures: TexturePyramid, hit: Hit, pixel: Tensor
) -> tuple[Tensor, Tensor]:
    """Diffuse colour (B, P, 3) and gloss (B, P) of what was hit.

    Args:
        materials: of the scene's surfaces.
        textures: the pyramid the materials index.
        hit: what each ray hit.
        pixel: (B, P) size of a pixel at the hit, metres.
    """
    axis = hit.local_normal.abs().argmax(-1)
    positive = hit.local_normal.gather(-1, axis[..., None])[..., 0] > 0
    face = SOLIDS + 2 * axis + positive.long()
    surface = torch.where(hit.solid < 0, face, hit.solid)
    row = gather_rows(materials.packed, surface)
    tint, texture = row[..., 0:3], row[..., 3].long()
    strength, repeats, checker, pitch, gloss = (row[..., i] for i in range(4, 9))
    stretched = row[..., 11] > 0
    x, y, z = hit.local.unbind(-1)
    u = torch.where(axis == 0, y, x)
    v = torch.where(axis == 2, y, z)
    checkers = ((u * pitch).floor() + (v * pitch).floor()).remainder(2)
    checkers = torch.where(pixel * pitch > 0.5, 0.5, checkers)
    ux, uy = hit.unit[..., 0] * 0.5 + 0.5, hit.unit[..., 1] * 0.5 + 0.5
    u = torch.where(stretched, ux, u * repeats + row[..., 9])
    v = torch.where(stretched, uy, v * repeats + row[..., 10])
    slant = (pixel * repeats).clamp_min(1e-6)
    sampled = textures.sample(texture, u, -v, slant) ** 2.2
    # Textured surfaces keep half of their tint.
    colour = tint * (1 - strength[..., None]) + strength[..., None] * sampled * (
        0.5 + 0.5 * tint / tint.mean(-1, keepdim=True)
    )
    return colour * (1 - checker * checkers)[..., None], gloss


def shade(
    scene: Scene,
    lights: Lights,
    hit: Hit,
    point: Tensor,
    view: Tensor,
    colour: Tensor,
    gloss: Tensor,
    chunk: int = 0,
) -> Tensor:
    """Linear colour (B, P, 3) of lit surfaces.

    Args:
        scene: geometry.
        lights: light.
        hit: what the camera's rays hit.
        point: (B, P, 3) world points.
        view: (B, P, 3) unit directions of the camera's rays.
        colour: (B, P, 3) diffuse colour.
        gloss: (B, P) strength of highlights.
        chunk: see `ray_tracing.first_entry`.
    """
    source = lights.position[:, None]
    lifted = point + hit.normal * _SHADOW_BIAS
    towards = source - lifted
    distance = towards.norm(dim=-1)
    towards = towards / distance[..., None]
    blocked, _ = first_entry(scene.solids, lights.position, lifted - source, chunk)
    lit = (blocked > 1 - 1e-5).float()
    cosine = (hit.normal * towards).sum(-1).clamp_min(0)
    halfway = F.normalize(towards - view, dim=-1)
    highlight = gloss * (hit.normal * halfway).sum(-1).clamp_min(0) ** 24
    strength = lit / (1 + lights.falloff[:, None] * distance**2)
    fill = (hit.normal * lights.fill[:, None]).sum(-1).clamp_min(0)
    upward = 0.75 + 0.25 * hit.normal[..., 2]
    light = (
        lights.ambient[:, None] * (upward * _openness(scene, point, hit))[..., None]
        + lights.colour[:, None] * (strength * cosine)[..., None]
        + lights.fill_colour[:, None] * fill[..., None]
    )
    glare: Tensor = lights.colour[:, None] * (strength * highlight)[..., None]
    lit_colour: Tensor = colour * light + glare
    return lit_colour


def _openness(scene: Scene, point: Tensor, hit: Hit) -> Tensor:
    """Share of ambient light left near the room's corners and the ground, (B, P)."""
    low = (point - scene.room_low[:, None]).clamp_min(0)
    high = (scene.room_high[:, None] - point).clamp_min(0)
    # A surface does not darken itself: only walls it faces away from or stands on count.
    facing = hit.normal.abs()
    near = torch.minimum(low, high)
    openness: Tensor = (1 - 0.4 * (1 - facing) * torch.exp(-near / 0.25)).prod(-1)
    return openness


def sky_colour(lights: Lights, textures: TexturePyramid, view: Tensor) -> Tensor:
    """Linear colour (B, P, 3) of the sky in unit directions (B, P, 3)."""
    height = view[..., 2].clamp(0, 1)
    blend = (1 - height)[..., None] ** 3
    colour = lights.sky[:, None, 0] * (1 - blend) + lights.sky[:, None, 1] * blend
    reach = 0.35 / (height + 0.15)
    texture = lights.clouds[:, :1].long().expand_as(height)
    clouds = textures.sample(
        texture, view[..., 0] * reach, view[..., 1] * reach, torch.full_like(height, 1 / 64)
    )
    return colour * (1 + lights.clouds[:, None, 1:] * (clouds.mean(-1, keepdim=True) - 0.5))
