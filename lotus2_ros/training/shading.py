"""Light on surfaces: one light with hard shadows, weak ones without, corners, reflections."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.training.lighting import Lights, mirrored_colour
from lotus2_ros.training.materials import Surface
from lotus2_ros.training.ray_tracing import Hit, first_entry
from lotus2_ros.training.scene_sampling import Scene
from lotus2_ros.training.textures import TexturePyramid

_SHADOW_BIAS = 4e-3


def shade(
    scene: Scene,
    lights: Lights,
    textures: TexturePyramid,
    hit: Hit,
    point: Tensor,
    view: Tensor,
    surface: Surface,
    chunk: int = 0,
) -> Tensor:
    """Linear colour (B, P, 3) of lit surfaces.

    Args:
        scene: geometry.
        lights: light.
        textures: the pyramid that reflections are taken from.
        hit: what the camera's rays hit.
        point: (B, P, 3) world points.
        view: (B, P, 3) unit directions of the camera's rays.
        surface: what was hit is made of.
        chunk: see `ray_tracing.first_entry`.
    """
    normal = hit.normal
    source = lights.position[:, None]
    lifted = point + normal * _SHADOW_BIAS
    towards = source - lifted
    distance = towards.norm(dim=-1).clamp_min(1e-3)
    towards = towards / distance[..., None]
    blocked, _ = first_entry(scene.solids, lights.position, lifted - source, chunk)
    lit = (blocked > 1 - 1e-5).float()
    cosine = (normal * towards).sum(-1).clamp_min(0)
    halfway = F.normalize(towards - view, dim=-1)
    highlight = surface.gloss * (normal * halfway).sum(-1).clamp_min(0) ** surface.exponent
    strength = lit / (1 + lights.falloff[:, None] * distance**2)
    upward = 0.75 + 0.25 * normal[..., 2]
    ambient = lights.ambient[:, None] * (upward * _openness(scene, point, hit))[..., None]
    light = ambient + lights.colour[:, None] * (strength * cosine)[..., None]
    for index in range(lights.fill.shape[1]):
        facing = (normal * lights.fill[:, None, index]).sum(-1).clamp_min(0)
        light = light + lights.fill_colour[:, None, index] * facing[..., None]
    matt = surface.colour * (light + surface.glow[..., None])

    along = (normal * view).sum(-1, keepdim=True)
    image = mirrored_colour(scene, lights, textures, view - 2 * along * normal)
    metal = surface.metal[..., None]
    image = image * (1 - metal + metal * surface.colour)
    # Schlick's approximation of Fresnel's equations, for surfaces that mirror at all.
    base = surface.mirror[..., None]
    share = base + (1 - base) * (1 + along).clamp(0, 1) ** 5 * (base > 0) * 0.6
    glare = lights.colour[:, None] * (strength * highlight)[..., None]
    lit_colour: Tensor = matt * (1 - share) + image * share + glare
    return lit_colour


def _openness(scene: Scene, point: Tensor, hit: Hit) -> Tensor:
    """Share of ambient light left near the room's corners and the ground, (B, P)."""
    low = (point - scene.room_low[:, None]).clamp_min(0)
    high = (scene.room_high[:, None] - point).clamp_min(0)
    # A surface does not darken itself: only walls it faces away from or stands on count.
    facing = hit.normal.abs()
    near = torch.minimum(low, high)
    # Undersides close to the ground get least of all.
    below = (-hit.normal[..., 2]).clamp_min(0) * torch.exp(-low[..., 2] / 0.5)
    open_ = (1 - 0.5 * (1 - facing) * torch.exp(-near / 0.25)).prod(-1)
    openness: Tensor = open_ * (1 - 0.7 * below)
    return openness
