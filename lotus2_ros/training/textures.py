"""A pyramid of textures: crops of photographs that come with installed packages, and noise.

The photographs are read from scikit-image, scikit-learn and matplotlib where they are installed;
nothing is downloaded. Some photographs and all noise seeds of the evaluation are held out of
training, and the stereo motorcycle, which is a test image, is in neither part.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.training.patterns import MAKERS, SIDE
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.types import UInt8Array

TRAINING_PHOTOGRAPHS = (
    'astronaut', 'brick', 'chelsea', 'coins', 'grass', 'moon', 'page', 'rocket', 'text',
    'china', 'grace_hopper', 'retina', 'immunohistochemistry', 'hubble_deep_field',
)  # fmt: skip
HELD_OUT_PHOTOGRAPHS = ('coffee', 'gravel', 'flower', 'camera')

_SKIMAGE_SUFFIX = {'rocket': '.jpg', 'retina': '.jpg', 'hubble_deep_field': '.jpg'}
_SKLEARN_NAMES = ('china', 'flower')
_MATPLOTLIB_NAMES = ('grace_hopper',)
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
    """Pack crops of photographs (six in ten) and drawn patterns into a pyramid.

    One crop in two is changed: blended with another one, recoloured, posterised.

    Args:
        photographs: (H, W, 3) images.
        draws: source of randomness; decides the device.
        count: number of textures K.
    """
    from_photographs = (6 * count) // 10 if photographs else 0
    tiles = [_crop(photographs[i % len(photographs)], draws) for i in range(from_photographs)]
    tiles = [
        _changed(tile, tiles[(7 * i + 3) % len(tiles)], draws) if i % 2 else tile
        for i, tile in enumerate(tiles)
    ]
    tiles += [MAKERS[i % len(MAKERS)](draws) for i in range(count - from_photographs)]
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


def _changed(tile: Tensor, other: Tensor, draws: Draws) -> Tensor:
    """A crop blended with or multiplied by another one, then recoloured or posterised."""
    share = draws.uniform(0.2, 0.6, 1)
    blended = torch.lerp(tile, other, share)
    darkened = tile * (0.4 + 0.9 * other.mean(0, keepdim=True))
    tile = torch.where(draws.chance(0.5, 1), blended, darkened)
    gray = tile.mean(0, keepdim=True)
    low, high = draws.uniform(0.02, 0.45, 3, 1, 1), draws.uniform(0.4, 0.95, 3, 1, 1)
    tile = torch.where(draws.chance(0.4, 1), low + (high - low) * gray, tile)
    steps = draws.uniform(2.5, 7, 1)
    tile = torch.where(draws.chance(0.2, 1), (tile * steps).round() / steps, tile)
    contrast, brightness = draws.uniform(0.5, 1.6, 1), draws.uniform(-0.12, 0.12, 1)
    return 0.5 + contrast * (tile - 0.5) + brightness


def load_photographs(names: tuple[str, ...], folder: Path | None = None) -> list[UInt8Array]:
    """Read the named photographs from the installed packages.

    Args:
        names: of `TRAINING_PHOTOGRAPHS` or `HELD_OUT_PHOTOGRAPHS`.
        folder: take the same files from this folder instead.

    Raises:
        FileNotFoundError: a photograph is not there; install scikit-image, scikit-learn and
            matplotlib.
    """
    return [_read(folder / _file_name(name) if folder else photograph_path(name)) for name in names]


def photograph_path(name: str) -> Path:
    """Where an installed package keeps a photograph."""
    return _package_folder(name) / _file_name(name)


def _package_folder(name: str) -> Path:
    if name in _SKLEARN_NAMES:
        import sklearn.datasets

        return Path(sklearn.datasets.__file__).parent / 'images'
    if name in _MATPLOTLIB_NAMES:
        import matplotlib as mpl

        return Path(mpl.get_data_path()) / 'sample_data'
    import skimage

    return Path(skimage.__file__).parent / 'data'


def _file_name(name: str) -> str:
    if name in _SKLEARN_NAMES or name in _MATPLOTLIB_NAMES:
        return f'{name}.jpg'
    return _SKIMAGE_NAME.get(name, name) + _SKIMAGE_SUFFIX.get(name, '.png')


def _read(path: Path) -> UInt8Array:
    import cv2

    if not path.is_file():
        raise FileNotFoundError(f'no photograph {path}; install the packages for training')
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f'{path} is not a readable image')
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
