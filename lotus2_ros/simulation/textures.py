"""Surfaces for MuJoCo models: patterns drawn here, and photographs that training never saw."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from lotus2_ros.types import AnyArray, UInt8Array

SIDE = 512
"""Texels along each side."""

_Maker = Callable[[np.random.Generator], AnyArray]


def draw_texture(kind: str, rng: np.random.Generator) -> UInt8Array:
    """Draw one texture.

    Args:
        kind: key of `KINDS`.
        rng: decides colours and pattern.

    Returns:
        (SIDE, SIDE, 3) uint8 RGB.
    """
    return np.asarray((KINDS[kind](rng).clip(0, 1) * 255).round(), np.uint8)


def photograph_texture(photograph: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """A random square of a photograph, (SIDE, SIDE, 3) uint8 RGB."""
    height, width = photograph.shape[:2]
    side = int(min(height, width) * rng.uniform(0.5, 1.0))
    top, left = (int(rng.integers(0, extent - side + 1)) for extent in (height, width))
    crop = np.ascontiguousarray(photograph[top : top + side, left : left + side])
    return np.asarray(cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _noise(rng: np.random.Generator, across: int, down: int, octaves: int = 4) -> AnyArray:
    """Smooth noise of about unit spread, (SIDE, SIDE, 1); more cells one way make a grain."""
    total: AnyArray = np.zeros((SIDE, SIDE))
    for octave in range(octaves):
        cells = max(2, min(SIDE, down << octave)), max(2, min(SIDE, across << octave))
        grid = rng.normal(size=cells)
        smooth = np.asarray(cv2.resize(grid, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))
        total = total + smooth / 1.6**octave
    return np.asarray(total / total.std())[..., None]


def _colour(rng: np.random.Generator, value: tuple[float, float], chroma: float) -> AnyArray:
    """A random colour: its brightness from a range, and how far its channels may differ."""
    return np.asarray(rng.uniform(*value) + rng.uniform(-chroma, chroma, 3))


def _wood(rng: np.random.Generator) -> AnyArray:
    base = np.array([0.55, 0.36, 0.2]) * rng.uniform(0.5, 1.5) + rng.uniform(-0.05, 0.05, 3)
    rings = np.sin(6 * _noise(rng, 2, 12, 3)) * 0.08
    return np.asarray(base * (1 + rings + 0.08 * _noise(rng, 3, 90, 2)))


def _brick(rng: np.random.Generator) -> AnyArray:
    rows = int(rng.integers(6, 14))
    columns = rows // 2
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    row = np.floor(y * rows).astype(int)
    shifted = x * columns + 0.5 * (row % 2)
    shade = rng.uniform(0.75, 1.2, (rows, columns + 1))
    value = shade[row, np.floor(shifted).astype(int) % (columns + 1)][..., None]
    joint = ((y * rows) % 1 < 0.09) | (shifted % 1 < 0.05)
    brick = _colour(rng, (0.35, 0.6), 0.04) + np.array([0.12, -0.02, -0.08])
    picture = brick * value * (1 + 0.06 * _noise(rng, 30, 30))
    return np.where(joint[..., None], _colour(rng, (0.55, 0.75), 0.02), picture)


def _tiles(rng: np.random.Generator) -> AnyArray:
    count = int(rng.integers(3, 9))
    y, x = np.mgrid[0:SIDE, 0:SIDE] * (count / SIDE)
    checker = (np.floor(x) + np.floor(y)).astype(int) % 2
    first = _colour(rng, (0.5, 0.9), 0.06)
    second = first if rng.uniform() < 0.5 else _colour(rng, (0.15, 0.7), 0.08)
    joint = (x % 1 < 0.03) | (y % 1 < 0.03)
    picture = np.where(checker[..., None] == 0, first, second) * (1 + 0.03 * _noise(rng, 8, 8))
    return np.where(joint[..., None], 0.45, picture)


def _plaster(rng: np.random.Generator) -> AnyArray:
    base = _colour(rng, (0.6, 0.9), 0.08)
    return base + 0.02 * _noise(rng, 40, 40, 3) + 0.015 * _noise(rng, 3, 3, 2)


def _fabric(rng: np.random.Generator) -> AnyArray:
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    period = int(rng.integers(4, 10))
    weave = 0.08 * np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / period)
    threads = 1 + weave[..., None] + 0.05 * _noise(rng, 6, 6)
    picture: AnyArray = _colour(rng, (0.2, 0.7), 0.2) * threads
    if rng.uniform() < 0.5:
        width = int(rng.integers(24, 80))
        band = ((x // width) % 2 == 0)[..., None]
        picture = np.where(band, picture, picture * 0.4 + 0.6 * _colour(rng, (0.3, 0.9), 0.15))
    return picture


def _marble(rng: np.random.Generator) -> AnyArray:
    vein = np.abs(np.sin(4 * _noise(rng, 3, 3, 5))) ** 0.4
    dark, light = _colour(rng, (0.2, 0.6), 0.05), _colour(rng, (0.75, 0.95), 0.03)
    return np.asarray(dark + (light - dark) * vein)


def _concrete(rng: np.random.Generator) -> AnyArray:
    base = _colour(rng, (0.4, 0.65), 0.02)
    pits: AnyArray = _noise(rng, 60, 60, 2) > 2.2
    return np.asarray(base + 0.04 * _noise(rng, 4, 4, 6) - 0.1 * pits)


def _grass(rng: np.random.Generator) -> AnyArray:
    green = np.array([0.25, 0.4, 0.14]) * rng.uniform(0.7, 1.3) + rng.uniform(-0.04, 0.06, 3)
    blades = 0.16 * _noise(rng, 120, 60, 2) + 0.12 * _noise(rng, 5, 5, 4)
    return np.asarray(green * (1 + blades))


def _leaves(rng: np.random.Generator) -> AnyArray:
    green = np.array([0.2, 0.36, 0.12]) * rng.uniform(0.6, 1.5) + rng.uniform(-0.04, 0.08, 3)
    return np.asarray(
        green * (1 + 0.35 * np.sign(_noise(rng, 40, 40, 2)) + 0.15 * _noise(rng, 90, 90, 1))
    )


def _paint(rng: np.random.Generator) -> AnyArray:
    return _colour(rng, (0.15, 0.9), 0.3) + 0.01 * _noise(rng, 20, 20)


def _label(rng: np.random.Generator) -> AnyArray:
    """Printed packaging: rectangles and lines of writing."""
    picture = np.empty((SIDE, SIDE, 3), np.uint8)
    picture[:] = _ink(rng, 0.25)
    for _ in range(int(rng.integers(3, 9))):
        corners = rng.integers(0, SIDE, (2, 2))
        (x0, y0), (x1, y1) = corners.min(0).tolist(), corners.max(0).tolist()
        picture[y0:y1, x0:x1] = _ink(rng, 0.3)
    for line in range(int(rng.integers(3, 10))):
        place = int(rng.integers(0, SIDE // 2)), 40 + 45 * line
        text = ''.join(chr(int(c)) for c in rng.integers(65, 91, 12))
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 1.2, _ink(rng, 0.1), 3)
    return np.asarray(picture / 255)


def _ink(rng: np.random.Generator, chroma: float) -> list[int]:
    colour = _colour(rng, (0.1, 0.9), chroma).clip(0, 1)
    return [round(255 * float(channel)) for channel in colour]


KINDS: dict[str, _Maker] = {
    'wood': _wood,
    'brick': _brick,
    'tiles': _tiles,
    'plaster': _plaster,
    'fabric': _fabric,
    'marble': _marble,
    'concrete': _concrete,
    'grass': _grass,
    'leaves': _leaves,
    'paint': _paint,
    'label': _label,
}
"""Kind of surface to what draws it."""
