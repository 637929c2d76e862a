"""The synthetic generator as a dataset: scene i is rendered from seed + i, whenever it is asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lotus2_ros.training.data.errors import DataError
from lotus2_ros.training.data.sample import Record
from lotus2_ros.training.held_out import SEED as HELD_OUT_SEED
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.scenes import SceneSource
from lotus2_ros.training.textures import (
    TRAINING_PHOTOGRAPHS,
    TexturePyramid,
    build_pyramid,
    load_photographs,
)

_CHUNK = 512
"""Rays handled at a time on a CPU: what fits its caches."""

_TEXTURES = 96


class Synthetic:
    """Rendered scenes with exact depth and normals; the sky is beyond range."""

    def __init__(
        self,
        size: tuple[int, int],
        count: int,
        *,
        seed: int = 0,
        device: str = 'cpu',
        textures: int = _TEXTURES,
    ) -> None:
        """Make it; nothing is rendered yet.

        Args:
            size: (height, width) of the pictures [px].
            count: number of scenes.
            seed: of the textures and of scene 0; scene i has seed + i.
            device: to render on, 'cpu' or a CUDA device.
            textures: number of textures.

        Raises:
            DataError: no scenes, or seeds that are those of the evaluation.
        """
        if count < 1 or seed < 0:
            raise DataError(f'{count} synthetic scenes from seed {seed}: both must not be negative')
        if seed <= HELD_OUT_SEED < seed + count:
            msg = f"seeds {seed} to {seed + count - 1} include {HELD_OUT_SEED}, the evaluation's"
            raise DataError(msg)
        self._height, self._width = size
        self._count = count
        self._seed = seed
        self._device = device
        self._textures = textures
        self._pyramid: TexturePyramid | None = None
        self.name = f'synthetic {self._width}x{self._height} from seed {seed}'

    def __len__(self) -> int:
        return self._count

    def __getstate__(self) -> dict[str, Any]:
        """Without the textures: each process makes the same ones itself."""
        return {**self.__dict__, '_pyramid': None}

    @torch.no_grad()
    def read(self, index: int) -> Record:
        """Render a scene."""
        if not 0 <= index < self._count:
            raise IndexError(f'scene {index} of {self._count}')
        textures = self._made_textures()
        generator = torch.Generator(self._device).manual_seed(self._seed + index)
        chunk = _CHUNK if generator.device.type == 'cpu' else 0
        source = SceneSource(textures, generator, chunk=chunk)
        sample = source.draw(1, self._height, self._width)
        image = ((sample.image[0].permute(1, 2, 0) * 0.5 + 0.5) * 255).round().byte()
        surface = ~sample.sky[0, 0].cpu().numpy()
        with np.errstate(divide='ignore'):
            depth = 1 / sample.disparity[0, 0].cpu().numpy()
        return Record(
            name=f'{self.name}, scene {index}',
            image=image.cpu().numpy(),
            depth=np.asarray(depth, np.float32),
            valid=np.ones_like(surface),
            normals=sample.normals[0].permute(1, 2, 0).cpu().numpy(),
            surface=surface,
        )

    def _made_textures(self) -> TexturePyramid:
        if self._pyramid is None:
            draws = Draws(torch.Generator(self._device).manual_seed(self._seed))
            photographs = load_photographs(TRAINING_PHOTOGRAPHS)
            self._pyramid = build_pyramid(photographs, draws, self._textures)
        return self._pyramid
