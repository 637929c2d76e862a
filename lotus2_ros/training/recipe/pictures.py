"""Sample pictures: image, truth, core and, in the second stage, sharpened, side by side."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lotus2_ros.model.tasks import picture
from lotus2_ros.training.data.sample import Batch
from lotus2_ros.training.recipe.stages import Stage
from lotus2_ros.types import UInt8Array

_GAP = 4
"""White pixels between pictures."""


def sample_sheet(stage: Stage, batch: Batch, count: int, sharpen_steps: int) -> UInt8Array:
    """One row a sample, in the colours that the VAE sees: disparity is grey, near is bright.

    Args:
        stage: being trained.
        batch: samples.
        count: rows, at most those of the batch.
        sharpen_steps: Euler steps in the sharpener stage.

    Returns:
        (H, W, 3).
    """
    rows = []
    for index in range(min(count, len(batch.names))):
        image = batch.image[index : index + 1]
        tiles = [image, batch.target[index : index + 1]]
        latents = stage.predictions(image, sharpen_steps)
        tiles += [stage.base.decode(latent) for latent in latents.values()]
        rows.append(_row([_pixels(tile) for tile in tiles]))
    return np.concatenate(_spaced(rows, axis=0), axis=0)


def _pixels(tile: Tensor) -> UInt8Array:
    values = picture(tile)[0].permute(1, 2, 0) * 255
    return values.round().to(torch.uint8).cpu().numpy()


def _row(tiles: list[UInt8Array]) -> UInt8Array:
    return np.concatenate(_spaced(tiles, axis=1), axis=1)


def _spaced(parts: list[UInt8Array], axis: int) -> list[UInt8Array]:
    shape = list(parts[0].shape)
    shape[axis] = _GAP
    gap = np.full(shape, 255, np.uint8)
    return [piece for part in parts for piece in (part, gap)][:-1]
