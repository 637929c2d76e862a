"""Light of scenes: lamps, sun, sky, and what is mirrored in surfaces."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.scene_sampling import Scene
from lotus2_ros.training.textures import TexturePyramid

_FILLS = 3
"""Weak lights without shadow; together they look like one with an area."""


@dataclass(frozen=True)
class Lights:
    """Light of B scenes.

    Attributes:
        position: (B, 3) of the shadowing light, world frame.
        colour: (B, 3) of the shadowing light.
        falloff: (B,) attenuation per square metre; 0 outdoors.
        fill: (B, 3, 3) directions towards lights without shadow.
        fill_colour: (B, 3, 3).
        ambient: (B, 3).
        sky: (B, 2, 3) colours at the zenith and at the horizon.
        clouds: (B, 2) texture index and strength of clouds.
        haze: (B,) share of colour lost to haze per metre outdoors.
        mirrored: (B, 3) texture index, strength and turn of what surfaces mirror indoors.
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
    mirrored: Tensor


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
    tilt = torch.tensor([1.0, 0.1, -1.0], device=draws.device)
    hue = (1 + draws.normal(batch, 1) * 0.14 * tilt).clamp(0.4, 1.6)
    up = torch.tensor([0, 0, 0.6], device=draws.device)
    fill_hue = 2 - hue[:, None] + 0.12 * draws.normal(batch, _FILLS, 1) * tilt
    blue = torch.tensor([0.55, 0.75, 1.0], device=draws.device)
    overcast = draws.uniform(0, 1, batch, 1)
    zenith = (blue * (1 - overcast) + 0.8 * overcast) * draws.uniform(0.5, 1.2, batch, 1)
    horizon = 0.5 * zenith + 0.5 * draws.uniform(0.6, 1.3, batch, 1)
    # Under clouds, and in evenly lit rooms, shadows are faint.
    direct = draws.uniform(0.1, 1.3, batch, 1)
    direct = torch.where(outdoor, direct * (1.15 - overcast), direct)
    picture = draws.index(textures.count, batch, 2).float()
    return Lights(
        position=torch.where(outdoor, sun * 300.0, lamp),
        colour=hue * direct,
        falloff=torch.where(outdoor[:, 0], 0.0, draws.uniform(0.02, 0.12, batch)),
        fill=F.normalize(draws.normal(batch, _FILLS, 3) + up, dim=-1),
        fill_colour=draws.uniform(0.0, 0.35, batch, _FILLS, 1) * fill_hue.clamp(0.3, 1.7),
        ambient=draws.uniform(0.12, 0.6, batch, 1) * (1 + 0.3 * (1 - hue)),
        sky=torch.stack([zenith, horizon], 1),
        clouds=torch.stack([picture[:, 0], draws.uniform(0, 1.0, batch)], -1),
        haze=draws.uniform(0, 0.02, batch) * scene.outdoor,
        mirrored=torch.stack(
            [picture[:, 1], draws.uniform(0.4, 2.0, batch), draws.uniform(0, 4, batch)], -1
        ),
    )


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


def mirrored_colour(
    scene: Scene, lights: Lights, textures: TexturePyramid, direction: Tensor
) -> Tensor:
    """Linear colour (B, P, 3) that surfaces mirror from unit directions (B, P, 3).

    Not a second ray: a blurred picture all around stands for the room, lighter towards the
    ceiling; outdoors it is the sky above a dark ground.
    """
    height = direction[..., 2]
    turn = torch.atan2(direction[..., 1], direction[..., 0]) / math.pi + lights.mirrored[:, 2:]
    texture = lights.mirrored[:, :1].long().expand_as(height)
    around = textures.sample(texture, turn, height * 0.5, torch.full_like(height, 1 / 40)) ** 2.2
    around = around * lights.mirrored[:, None, 1:2] * (1 + 0.6 * height)[..., None]
    room = around * (lights.ambient + 0.5 * lights.colour)[:, None]
    blend = ((height + 0.05) / 0.1).clamp(0, 1)[..., None]
    rise = height.clamp(0, 1)[..., None] ** 0.5
    sky = lights.sky[:, None, 1] * (1 - rise) + lights.sky[:, None, 0] * rise
    outside = sky * blend + 0.35 * around * (1 - blend)
    return torch.where(scene.outdoor[:, None, None], outside, room)
