"""Traces of JPEG in pictures: quantised cosine transforms of 8 x 8 blocks.

Tables and colour conversion are those of ITU-T T.81, Annex K, and of JFIF; colour is not
subsampled, its quantisation alone coarsens it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK = 8

_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)

_COLOUR = 1.8
"""The standard's table for colour is coarser, about this much."""


def quantisation_steps(coarseness: Tensor) -> Tensor:
    """Steps (B, 2, 8, 8) for brightness and colour, for images in [0, 1].

    Args:
        coarseness: (B,) multiple of the standard tables' steps (1 is a quality of 50 %, 0.2 one
            of 90 %); 0 stands for no compression.
    """
    table = torch.tensor(_LUMINANCE, device=coarseness.device) / 255
    steps = table * coarseness[:, None, None]
    return torch.stack([steps, _COLOUR * steps], 1)


def compressed(image: Tensor, steps: Tensor) -> Tensor:
    """What is left of images after compression.

    Args:
        image: (B, 3, H, W) in [0, 1].
        steps: (B, 2, 8, 8) of `quantisation_steps`; images with zeros are returned as they are.
    """
    height, width = image.shape[-2:]
    padded = F.pad(image, [0, -width % _BLOCK, 0, -height % _BLOCK], mode='replicate')
    red, green, blue = padded.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    colours = torch.stack([luma, (blue - luma) / 1.772, (red - luma) / 1.402], 1)
    tiled = colours.unflatten(-1, (-1, _BLOCK)).unflatten(2, (-1, _BLOCK))  # type: ignore[no-untyped-call]
    basis = _cosines(image.device)
    spectrum = torch.einsum('ui,bchiwj,vj->bchuwv', basis, tiled, basis)
    step = torch.cat([steps, steps[:, 1:]], 1).clamp_min(1e-6)[:, :, None, :, None]
    kept = (spectrum / step).round() * step
    tiles = torch.einsum('ui,bchuwv,vj->bchiwj', basis, kept, basis)
    luma, to_blue, to_red = tiles.flatten(4, 5).flatten(2, 3).unbind(1)
    red, blue = luma + 1.402 * to_red, luma + 1.772 * to_blue
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    result = torch.stack([red, green, blue], 1)[..., :height, :width]
    return torch.where(steps[:, :1, :1, :1] > 0, result, image)


def _cosines(device: torch.device) -> Tensor:
    """(8, 8) orthonormal cosine transform, frequencies by samples."""
    frequency = torch.arange(_BLOCK, device=device)[:, None]
    sample = torch.arange(_BLOCK, device=device)
    basis = torch.cos(math.pi * (2 * sample + 1) * frequency / (2 * _BLOCK))
    return basis * torch.where(frequency == 0, math.sqrt(1 / _BLOCK), math.sqrt(2 / _BLOCK))
