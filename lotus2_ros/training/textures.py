"""A pyramid of textures: crops of photographs that come with installed packages, and noise.

The photographs are read from scikit-image, scikit-learn and matplotlib where they are installed;
nothing is downloaded. Some photographs and all noise seeds of the evaluation are held out of
training, and the stereo motorcycle, which is a test image, is in neither part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.training.random_draws import Draws
from lotus2_ros.types import UInt8Array

SIDE = 256
"""Texels along each side of the finest level."""

TRAINING_PHOTOGRAPHS = (
    'astronaut', 'brick', 'chelsea', 'coins', 'grass', 'moon', 'page', 'rocket', 'text',
    'china', 'grace_hopper', 'retina', 'immunohistochemistry', 'hubble_deep_field',
)  # fmt: skip
HELD_OUT_PHOTOGRAPHS = ('coffee', 'gravel', 'flower', 'camera')

_SKIMAGE_SUFFIX = {'rocket': '.jpg', 'retina': '.jpg', 'hubble_deep_field': '.jpg'}
_SKIMAGE_NAME = {'immunohistochemistry': 'ihc'}


@dataclass(frozen=True)
class TexturePyramid:
    """K square textures at halving resolutions, packed flat.

    Attributes:
        texels: (T, 3) float32 in [0, 1]; level by level, texture by texture, row by row.
        count: K.
        levels: number of resolutions, `SIDE` first.
    """

    texels: Tensor
    count: int
    levels: int

    def sample(self, texture: Tensor, u: Tensor, v: Tensor, footprint: Tensor) -> Tensor:
        """Bilinear lookup in mirrored repetition.

        Args:
            texture: (...) int64 index of the texture.
            u: (...) horizontal coordinate; a texture spans [0, 1].
            v: (...) vertical coordinate, downwards.
            footprint: (...) size of a pixel in the same unit; chooses the level.

        Returns:
            (..., 3) colours.
        """
        level = (footprint * SIDE).clamp_min(1).log2().floor().clamp(0, self.levels - 1)
        side = SIDE / level.exp2()
        # Texels before level l: K SIDE² (1 + 1/4 + ... ) = K SIDE² (4 - 4^(1-l)) / 3.
        start = (self.count * SIDE * SIDE * (4 - 4 * (-2 * level).exp2()) / 3).round().long()
        start = start + texture * (side * side).long()
        x, y = _mirrored(u) * side - 0.5, _mirrored(v) * side - 0.5
        x0, y0 = x.floor(), y.floor()
        fx, fy = (x - x0)[..., None], (y - y0)[..., None]
        last = side - 1

        def texel(column: Tensor, row: Tensor) -> Tensor:
            column = torch.minimum(column.clamp_min(0), last)
            row = torch.minimum(row.clamp_min(0), last)
            return self.texels[start + (row * side + column).long()]

        top = texel(x0, y0) * (1 - fx) + texel(x0 + 1, y0) * fx
        bottom = texel(x0, y0 + 1) * (1 - fx) + texel(x0 + 1, y0 + 1) * fx
        return top * (1 - fy) + bottom * fy


def _mirrored(coordinate: Tensor) -> Tensor:
    """Mirrored repetition into [0, 1], so that no seam shows."""
    return (torch.remainder(coordinate, 2) - 1).abs()


def build_pyramid(photographs: list[UInt8Array], draws: Draws, count: int = 96) -> TexturePyramid:
    """Pack crops of photographs (six in ten) and procedural noise into a pyramid.

    Args:
        photographs: (H, W, 3) images.
        draws: source of randomness; decides the device.
        count: number of textures K.
    """
    from_photographs = (6 * count) // 10 if photographs else 0
    tiles = [_crop(photographs[i % len(photographs)], draws) for i in range(from_photographs)]
    makers: tuple[Callable[[Draws], Tensor], ...] = (_cloud, _tiles, _stripes, _speckle)
    tiles += [makers[i % len(makers)](draws) for i in range(count - from_photographs)]
    level = torch.stack(tiles).clamp(0, 1)  # (K, 3, SIDE, SIDE)
    levels = []
    while level.shape[-1] >= 4:
        levels.append(level.permute(0, 2, 3, 1).reshape(-1, 3))
        level = F.avg_pool2d(level, 2)
    return TexturePyramid(torch.cat(levels).contiguous(), count, len(levels))


def _crop(photograph: UInt8Array, draws: Draws) -> Tensor:
    """A random square crop at a random scale and turn, (3, SIDE, SIDE)."""
    image = torch.from_numpy(np.ascontiguousarray(photograph)).to(draws.device)
    height, width = image.shape[:2]
    longest = min(height, width)
    side = int(longest * draws.uniform(0.35, 1.0, 1).item())
    top = int(draws.index(height - side + 1, 1).item())
    left = int(draws.index(width - side + 1, 1).item())
    crop = image[top : top + side, left : left + side].permute(2, 0, 1)[None].float() / 255
    crop = F.interpolate(crop, (SIDE, SIDE), mode='bilinear', align_corners=False, antialias=True)
    return torch.rot90(crop[0], int(draws.index(4, 1).item()), (1, 2))


def _octaves(draws: Draws, channels: int, coarsest: int, finest: int, gain: float) -> Tensor:
    """Sum of smooth noises of doubling frequency, standardised, (channels, SIDE, SIDE)."""
    total = torch.zeros(channels, SIDE, SIDE, device=draws.device)
    cells, weight = coarsest, 1.0
    while cells <= finest:
        grid = draws.normal(1, channels, cells, cells)
        total += weight * F.interpolate(
            grid, (SIDE, SIDE), mode='bicubic', align_corners=False
        ).squeeze(0)
        cells, weight = cells * 2, weight * gain
    return (total - total.mean()) / total.std().clamp_min(1e-4)


def _cloud(draws: Draws) -> Tensor:
    gray = _octaves(draws, 1, 4, 128, draws.uniform(0.5, 0.95, 1).item())
    tint = _octaves(draws, 3, 4, 32, 0.6)
    return 0.5 + 0.16 * gray + 0.05 * tint


def _tiles(draws: Draws) -> Tensor:
    """Tiles, bricks or planks with grout."""
    rows, columns = (2 ** int(draws.index(3, 1).item() + 1) for _ in range(2))
    colours = draws.uniform(-0.12, 0.12, 1, 1, rows, columns)
    field = F.interpolate(colours, (SIDE, SIDE), mode='nearest')[0].expand(3, -1, -1)
    line = torch.arange(SIDE, device=draws.device)
    grout = (line % (SIDE // rows) < 3)[:, None] | (line % (SIDE // columns) < 3)[None]
    dark = draws.uniform(-0.3, 0.2, 1).item()
    pattern: Tensor = 0.55 + field + 0.04 * _octaves(draws, 3, 16, 128, 0.9) + dark * grout
    return pattern


def _stripes(draws: Draws) -> Tensor:
    """Grain such as wood's: noise stretched one way."""
    grain = F.interpolate(draws.normal(1, 1, 128, 6), (SIDE, SIDE), mode='bicubic')[0]
    turned = grain.transpose(1, 2) if draws.chance(0.5, 1).item() else grain
    return 0.5 + 0.1 * turned + 0.08 * _octaves(draws, 3, 4, 64, 0.6)


def _speckle(draws: Draws) -> Tensor:
    gray = _octaves(draws, 1, 32, 256, 1.0)
    blots = (_octaves(draws, 1, 8, 16, 0.8) > 0.9).float()
    return 0.5 + 0.12 * gray.expand(3, -1, -1) - draws.uniform(-0.3, 0.3, 1).item() * blots


def load_photographs(names: tuple[str, ...], folder: Path | None = None) -> list[UInt8Array]:
    """Read the named photographs from the installed packages.

    Args:
        names: of `TRAINING_PHOTOGRAPHS` or `HELD_OUT_PHOTOGRAPHS`.
        folder: take the same files from this folder instead.

    Raises:
        FileNotFoundError: a photograph is not there; install scikit-image, scikit-learn and
            matplotlib.
    """
    paths = [photograph_path(name) for name in names]
    return [_read(folder / path.name if folder else path) for path in paths]


def photograph_path(name: str) -> Path:
    """Where an installed package keeps a photograph."""
    if name in ('china', 'flower'):
        import sklearn.datasets

        return Path(sklearn.datasets.__file__).parent / 'images' / f'{name}.jpg'
    if name == 'grace_hopper':
        import matplotlib as mpl

        return Path(mpl.get_data_path()) / 'sample_data' / 'grace_hopper.jpg'
    import skimage

    file = _SKIMAGE_NAME.get(name, name) + _SKIMAGE_SUFFIX.get(name, '.png')
    return Path(skimage.__file__).parent / 'data' / file


def _read(path: Path) -> UInt8Array:
    import cv2

    if not path.is_file():
        raise FileNotFoundError(f'no photograph {path}; install the packages for training')
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f'{path} is not a readable image')
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
