"""Drawn textures: clouds, tiles, bricks, wood, carpet, print, fronts of machines and cupboards."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.training.random_draws import Draws

SIDE = 256
"""Texels along each side of a texture."""


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


def _wood(draws: Draws) -> Tensor:
    """Planks with rings: the sine of a distance that noise disturbs."""
    line = torch.arange(SIDE, device=draws.device) / SIDE
    planks = 2 ** int(torch.randint(0, 4, (1,), generator=draws.host).item())
    plank = (line * planks).floor().long()
    shift = draws.uniform(0, 9, planks)[plank][None]
    warp = F.interpolate(draws.normal(1, 1, 6, 24), (SIDE, SIDE), mode='bicubic')[0, 0]
    across = (line * planks % 1)[None]
    rings = (draws.uniform(8, 40, 1) * across + shift + 1.5 * warp).sin()
    gap = ((across < 0.02) | (across > 0.98)).float() * (planks > 1)
    tone = draws.uniform(0.25, 0.7, 1) + draws.uniform(-0.08, 0.08, planks)[plank][None]
    gray = tone + 0.05 * rings + 0.03 * _octaves(draws, 1, 32, 128, 0.9)[0] - 0.2 * gap
    warm = torch.tensor([1.25, 1.0, 0.7], device=draws.device)
    planked: Tensor = gray * warm[:, None, None]
    return planked


def _bricks(draws: Draws) -> Tensor:
    """Rows of bricks, each second row shifted by half a brick, with mortar."""
    rows = 2 ** int(torch.randint(2, 5, (1,), generator=draws.host).item())
    y, x = torch.meshgrid(*[torch.arange(SIDE, device=draws.device)] * 2, indexing='ij')
    height, width = SIDE // rows, 2 * SIDE // rows
    row = y // height
    column = ((x + (row % 2) * (width // 2)) % SIDE) // width
    shades = draws.uniform(-0.1, 0.1, rows, rows)[row, column]
    joint = ((y % height) < 3) | (((x + (row % 2) * (width // 2)) % width) < 3)
    colour = torch.tensor([0.6, 0.45, 0.38], device=draws.device) + draws.uniform(-0.15, 0.2, 3)
    face = colour[:, None, None] + shades + 0.05 * _octaves(draws, 1, 16, 128, 0.9)
    mortar = draws.uniform(0.4, 0.8, 1) + 0.03 * _octaves(draws, 1, 32, 128, 0.9)
    return torch.where(joint, mortar, face)


def _carpet(draws: Draws) -> Tensor:
    """Weave: fine noise over a faint regular pattern."""
    line = torch.arange(SIDE, device=draws.device) * draws.uniform(0.2, 1.2, 1)
    weave = line.sin()[:, None] * line.cos()[None]
    base = draws.uniform(0.15, 0.75, 3, 1, 1)
    return base + 0.06 * weave + 0.07 * _octaves(draws, 1, 64, 256, 1.0)


def _print(draws: Draws) -> Tensor:
    """A poster or label: blocks of colour, a picture-like patch and lines of words."""
    paper = draws.uniform(0.55, 1.0, 3, 1, 1).expand(-1, SIDE, SIDE).clone()
    for _ in range(4):
        top, left, bottom, right = _rectangle(draws, 24, 160)
        paper[:, top:bottom, left:right] = draws.uniform(0.02, 0.95, 3, 1, 1)
    words = F.interpolate(draws.uniform(0, 1, 1, 1, SIDE, 64), (SIDE, SIDE))[0, 0] > 0.45
    pitch = int(torch.randint(8, 28, (1,), generator=draws.host).item())
    y = torch.arange(SIDE, device=draws.device)
    lines = words[y // pitch * pitch] & ((y % pitch) < pitch // 2)[:, None]
    top, left, bottom, right = _rectangle(draws, 60, 220)
    area = torch.zeros(SIDE, SIDE, dtype=torch.bool, device=draws.device)
    area[top:bottom, left:right] = True
    return torch.where(lines & area, draws.uniform(0.0, 0.4, 3, 1, 1), paper)


def _front(draws: Draws) -> Tensor:
    """A machine's or a cupboard's front: panels with edges, knobs, windows of a house."""
    front = draws.uniform(0.1, 0.9, 3, 1, 1).expand(-1, SIDE, SIDE).clone()
    rows, columns = (int(torch.randint(1, 6, (1,), generator=draws.host).item()) for _ in range(2))
    inner = draws.uniform(0.02, 0.95, 3, 1, 1)
    margin = int(torch.randint(4, 18, (1,), generator=draws.host).item())
    y = torch.arange(SIDE, device=draws.device) % (SIDE // rows)
    x = torch.arange(SIDE, device=draws.device) % (SIDE // columns)
    pane = ((y > margin) & (y < SIDE // rows - margin))[:, None]
    pane = pane & ((x > margin) & (x < SIDE // columns - margin))[None]
    front = torch.where(pane, inner, front)
    edge = ((y == margin) | (y == margin + 1))[:, None] & (x > margin)[None]
    front = torch.where(edge, 0.5 * front, front)
    return front + 0.03 * _octaves(draws, 1, 4, 64, 0.7)


def _rectangle(draws: Draws, least: int, most: int) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of a rectangle with sides within limits, texels."""
    sides = torch.randint(least, most, (2,), generator=draws.host).tolist()
    top, left = (
        int(torch.randint(0, SIDE - side + 1, (1,), generator=draws.host).item()) for side in sides
    )
    return top, left, top + sides[0], left + sides[1]


MAKERS: tuple[Callable[[Draws], Tensor], ...] = (
    _cloud, _wood, _tiles, _print, _speckle, _bricks, _stripes, _front, _carpet, _cloud, _print,
)  # fmt: skip
"""Each draws one texture (3, SIDE, SIDE), of which values beyond [0, 1] are cut."""
