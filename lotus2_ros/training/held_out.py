"""The evaluation scenes: other seeds, other photographs and other noise than training's."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.scenes import SceneSource
from lotus2_ros.training.textures import HELD_OUT_PHOTOGRAPHS, build_pyramid, load_photographs
from lotus2_ros.types import BoolArray, Float32Array, UInt8Array

SEED = 990_001
"""Far from every seed of training, which starts at `TrainingSettings.seed`."""

FARTHEST = 20.0
"""Metres beyond which depth is not judged: a robot's range, and the cut keeps a few far pixels from
deciding a mean of relative errors."""

_TEXTURES = 32
_CHUNK = 512


@dataclass(frozen=True)
class HeldOutScene:
    """One picture with its ground truth.

    Attributes:
        rgb: (H, W, 3) picture.
        depth: (H, W) Z-depth, metres; infinite in the sky.
        normals: (H, W, 3) unit normals facing the camera, optical frame.
        valid: (H, W) where depth is at most `FARTHEST`.
        surface: (H, W) where there is a surface, and so a normal.
    """

    rgb: UInt8Array
    depth: Float32Array
    normals: Float32Array
    valid: BoolArray
    surface: BoolArray


def held_out_scenes(
    count: int,
    *,
    height: int = 240,
    width: int = 320,
    photographs: Path | None = None,
    chosen: Container[int] | None = None,
) -> Iterator[HeldOutScene]:
    """Render the first `count` evaluation scenes on the CPU.

    Scene i is the same however many are asked for at a time.

    Args:
        count: number of scenes.
        height: H.
        width: W.
        photographs: folder with the photographs, if not where the packages keep them.
        chosen: indices of the scenes to render, of all; None is all.
    """
    generator = torch.Generator().manual_seed(SEED)
    images = load_photographs(HELD_OUT_PHOTOGRAPHS, photographs)
    textures = build_pyramid(images, Draws(generator), _TEXTURES)
    source = SceneSource(textures, generator, chunk=_CHUNK)
    for index in range(count):
        if chosen is not None and index not in chosen:
            source.skip(1, height, width)
            continue
        sample = source.draw(1, height, width)
        rgb = ((sample.image[0].permute(1, 2, 0) * 0.5 + 0.5) * 255).round().byte().numpy()
        disparity = sample.disparity[0, 0].numpy()
        surface = ~sample.sky[0, 0].numpy()
        with np.errstate(divide='ignore'):
            depth = (1 / disparity).astype(np.float32)
        yield HeldOutScene(
            rgb=rgb,
            depth=depth,
            normals=-sample.normals[0].permute(1, 2, 0).numpy(),
            valid=surface & (depth <= FARTHEST),
            surface=surface,
        )
