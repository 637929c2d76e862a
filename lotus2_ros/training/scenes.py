"""Synthetic pictures with exact depth and normals: sampling, tracing, shading, camera in a row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.training.camera_effects import Development, develop, sample_development
from lotus2_ros.training.lighting import Lights, sample_lights, sky_colour
from lotus2_ros.training.materials import Materials, sample_materials, surface_at
from lotus2_ros.training.placement import FAR, Camera
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.ray_tracing import trace
from lotus2_ros.training.scene_sampling import Scene, sample_scene
from lotus2_ros.training.shading import shade
from lotus2_ros.training.textures import TexturePyramid

_SKY = 0.5 * FAR
_TOGETHER = 8


@dataclass(frozen=True)
class Sample:
    """B pictures with their ground truth.

    Attributes:
        image: (B, 3, H, W) in [-1, 1].
        disparity: (B, 1, H, W) inverse Z-depth in 1/m; 0 in the sky.
        normals: (B, 3, H, W) unit vectors in the training convention (x right, y down, z forward,
            a wall that faces the camera is (0, 0, 1)); (0, 0, 1) in the sky.
        sky: (B, 1, H, W) bool.
    """

    image: Tensor
    disparity: Tensor
    normals: Tensor
    sky: Tensor


Renderer = Callable[[Scene, Materials, Lights, Development, TexturePyramid, int, int, int], Sample]


def camera_rays(camera: Camera, height: int, width: int) -> Tensor:
    """(B, H*W, 3) directions through pixel centres in the optical frame, z = 1."""
    device = camera.half_fov.device
    x = (torch.arange(width, device=device) + 0.5) * (2 / width) - 1
    y = ((torch.arange(height, device=device) + 0.5) * 2 - height) / width
    slope = camera.half_fov.tan()[:, None, None]  # (B, 1, 1)
    across = (slope * x).expand(-1, height, -1)
    down = (slope * y[:, None]).expand(-1, -1, width)
    return torch.stack([across, down, torch.ones_like(across)], -1).flatten(1, 2)


def render(
    scene: Scene,
    materials: Materials,
    lights: Lights,
    development: Development,
    textures: TexturePyramid,
    height: int,
    width: int,
    chunk: int = 0,
) -> Sample:
    """Render B scenes; deterministic in its arguments and fit for torch.compile.

    Args:
        scene: geometry and cameras.
        materials: of the scene's surfaces.
        lights: of the scene.
        development: how the pictures are taken.
        textures: the pyramid the materials index.
        height: H.
        width: W.
        chunk: rays handled at a time; 0 is all at once.
    """
    camera = scene.camera
    optical = camera_rays(camera, height, width)
    world = torch.einsum('bij,bpj->bpi', camera.rotation, optical)
    hit = trace(scene.solids, scene.room_low, scene.room_high, camera.position, world, chunk)
    # Rays have z = 1 in the optical frame, so the ray parameter is the Z-depth.
    depth = hit.distance
    view = F.normalize(world, dim=-1)
    far = (hit.local.abs() > _SKY).any(-1) | (depth > _SKY)
    sky = scene.outdoor[:, None] & (hit.solid < 0) & far
    point = camera.position[:, None] + depth[..., None] * world

    pixel = depth * (camera.half_fov.tan() * 2 / width)[:, None]
    slant = (hit.normal * view).sum(-1).abs().clamp_min(0.15)
    surface = surface_at(materials, textures, hit, pixel / slant)
    linear = shade(scene, lights, textures, hit, point, view, surface, chunk)
    air = sky_colour(lights, textures, view)
    veil = 1 - torch.exp(-lights.haze[:, None] * depth)
    linear = linear * (1 - veil)[..., None] + lights.sky[:, None, 1] * veil[..., None]
    linear = torch.where(sky[..., None], air, linear)

    normals = -torch.einsum('bij,bpi->bpj', camera.rotation, hit.normal)
    ahead = torch.tensor([0.0, 0.0, 1.0], device=normals.device)
    normals = torch.where(sky[..., None], ahead, normals)
    disparity = torch.where(sky, 0.0, 1 / depth)
    return Sample(
        image=develop(_maps(linear, height), development),
        disparity=_maps(disparity[..., None], height),
        normals=_maps(normals, height),
        sky=_maps(sky[..., None], height),
    )


def _maps(rows: Tensor, height: int) -> Tensor:
    """(B, H*W, C) to (B, C, H, W)."""
    maps: Tensor = rows.unflatten(1, (height, -1)).permute(0, 3, 1, 2).contiguous()  # type: ignore[no-untyped-call]
    return maps


class SceneSource:
    """An endless, seeded stream of rendered scenes."""

    def __init__(
        self,
        textures: TexturePyramid,
        generator: torch.Generator,
        *,
        renderer: Renderer = render,
        chunk: int = 0,
    ) -> None:
        """Make a source.

        Args:
            textures: on the generator's device.
            generator: the only source of randomness.
            renderer: `render`, or a compiled version of it.
            chunk: rays handled at a time; 0 is all at once.
        """
        self._textures = textures
        self._draws = Draws(generator)
        self._renderer = renderer
        self._chunk = chunk
        self._waiting: dict[int, list[tuple[Scene, Materials, Lights]]] = {}

    @torch.no_grad()
    def draw(self, batch: int, height: int, width: int) -> Sample:
        """Render B new scenes at a size."""
        scene, materials, lights = self._next(batch)
        development = sample_development(self._draws, batch, height, width)
        return self._renderer(
            scene, materials, lights, development, self._textures, height, width, self._chunk
        )

    def restart(self, seed: int) -> None:
        """Begin another stream of scenes, whatever was drawn before."""
        self._draws = Draws(torch.Generator(self._draws.device).manual_seed(seed))
        self._waiting.clear()

    def skip(self, batch: int, height: int, width: int) -> None:
        """Draw B new scenes and leave them unrendered."""
        self._next(batch)
        sample_development(self._draws, batch, height, width)

    def _next(self, batch: int) -> tuple[Scene, Materials, Lights]:
        """Parameters of the next B scenes; many are drawn together, as each draw is tiny."""
        waiting = self._waiting.setdefault(batch, [])
        if not waiting:
            scene = sample_scene(self._draws, batch * _TOGETHER)
            materials = sample_materials(self._draws, scene, self._textures)
            lights = sample_lights(self._draws, scene, self._textures)
            for first in range(0, batch * _TOGETHER, batch):
                part = slice(first, first + batch)
                waiting.append((_rows(scene, part), _rows(materials, part), _rows(lights, part)))
        return waiting.pop(0)


def _rows(parameters: Any, part: slice) -> Any:
    """The same dataclass with a slice of the batch in each tensor, nested ones included."""
    changes = {
        field.name: value[part] if isinstance(value, Tensor) else _rows(value, part)
        for field in dataclasses.fields(parameters)
        for value in (getattr(parameters, field.name),)
    }
    return dataclasses.replace(parameters, **changes)
