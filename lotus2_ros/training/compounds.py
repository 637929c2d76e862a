"""Templates of things made of several solids: furniture, vehicles, people, trees.

Each part is (kind, centre, half-axes, turn about x, turn about y) in the compound's own frame:
x forward, z up, origin on the ground, metres and radians. Cylinders run along their own z before
the turns. Templates are only rough likenesses: what matters is that thin, overlapping, raised and
round parts occur together as they do in real places.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from lotus2_ros.training.ray_tracing import BOX, CYLINDER, ELLIPSOID

PARTS = 9
"""Solids a compound may have; templates with fewer are padded with hidden ones."""

Vector = tuple[float, float, float]
Part = tuple[int, Vector, Vector, float, float]

_RIGHT = math.pi / 2


def _box(centre: Vector, half: Vector, x: float = 0.0, y: float = 0.0) -> Part:
    return (BOX, centre, half, x, y)


def _ball(centre: Vector, half: Vector, x: float = 0.0, y: float = 0.0) -> Part:
    return (ELLIPSOID, centre, half, x, y)


def _tube(centre: Vector, radius: float, half: float, x: float = 0.0, y: float = 0.0) -> Part:
    return (CYLINDER, centre, (radius, radius, half), x, y)


def _legs(x: float, y: float, height: float, radius: float) -> list[Part]:
    half = height / 2
    return [_tube((sx * x, sy * y, half), radius, half) for sx in (-1, 1) for sy in (-1, 1)]


TEMPLATES: dict[str, list[Part]] = {
    'table': [
        _box((0, 0, 0.73), (0.65, 0.4, 0.02)),
        *_legs(0.58, 0.34, 0.71, 0.03),
        _box((0.2, 0.1, 0.85), (0.12, 0.09, 0.1)),
        _tube((-0.25, -0.05, 0.84), 0.06, 0.09),
        _ball((-0.05, 0.15, 0.83), (0.08, 0.08, 0.08)),
    ],
    'chair': [
        _box((0, 0, 0.45), (0.22, 0.22, 0.025)),
        *_legs(0.19, 0.19, 0.43, 0.02),
        _box((-0.21, 0, 0.75), (0.02, 0.21, 0.22), 0, -0.15),
    ],
    'shelf': [
        _box((0, -0.45, 0.9), (0.17, 0.02, 0.9)),
        _box((0, 0.45, 0.9), (0.17, 0.02, 0.9)),
        _box((0, 0, 0.1), (0.17, 0.45, 0.02)),
        _box((0, 0, 0.65), (0.17, 0.45, 0.02)),
        _box((0, 0, 1.2), (0.17, 0.45, 0.02)),
        _box((0, 0, 1.75), (0.17, 0.45, 0.02)),
        _box((0, -0.2, 0.82), (0.12, 0.15, 0.15)),
        _box((0, 0.2, 1.35), (0.1, 0.2, 0.12)),
        _tube((0.02, 0.25, 0.3), 0.12, 0.18),
    ],
    'motorcycle': [
        _tube((-0.7, 0, 0.31), 0.31, 0.06, _RIGHT),
        _tube((0.7, 0, 0.31), 0.31, 0.06, _RIGHT),
        _box((0.0, 0, 0.38), (0.27, 0.16, 0.2)),
        _ball((0.12, 0, 0.78), (0.3, 0.16, 0.15)),
        _box((-0.4, 0, 0.74), (0.33, 0.13, 0.06), 0, 0.15),
        _tube((0.6, 0, 0.65), 0.07, 0.38, 0, -0.35),
        _tube((0.45, 0, 1.02), 0.025, 0.36, _RIGHT),
        _tube((-0.4, -0.18, 0.3), 0.07, 0.42, 0, _RIGHT),
        _ball((0.62, 0, 0.86), (0.13, 0.13, 0.13)),
    ],
    'person': [
        _tube((0, -0.1, 0.42), 0.08, 0.42),
        _tube((0.05, 0.1, 0.42), 0.08, 0.42),
        _ball((0, 0, 1.15), (0.15, 0.22, 0.36)),
        _tube((0.05, -0.25, 1.12), 0.05, 0.3, 0.12),
        _tube((-0.02, 0.25, 1.12), 0.05, 0.3, -0.12),
        _ball((0, 0, 1.62), (0.11, 0.09, 0.14)),
    ],
    'car': [
        _box((0, 0, 0.6), (2.1, 0.85, 0.32)),
        _box((-0.2, 0, 1.15), (1.1, 0.75, 0.27)),
        _tube((1.3, 0.75, 0.32), 0.32, 0.12, _RIGHT),
        _tube((1.3, -0.75, 0.32), 0.32, 0.12, _RIGHT),
        _tube((-1.3, 0.75, 0.32), 0.32, 0.12, _RIGHT),
        _tube((-1.3, -0.75, 0.32), 0.32, 0.12, _RIGHT),
        _box((0.9, 0, 0.98), (0.3, 0.7, 0.1), 0, 0.5),
    ],
    'tree': [
        _tube((0, 0, 1.0), 0.13, 1.0),
        _ball((0, 0, 2.5), (1.0, 1.0, 0.9)),
        _ball((0.5, 0.3, 2.1), (0.7, 0.6, 0.6)),
        _ball((-0.5, -0.2, 2.2), (0.6, 0.7, 0.5)),
        _ball((0.1, -0.5, 3.1), (0.6, 0.6, 0.6)),
    ],
    'lamp': [
        _tube((0, 0, 0.03), 0.18, 0.03),
        _tube((0, 0, 0.8), 0.02, 0.8),
        _ball((0, 0, 1.65), (0.18, 0.18, 0.16)),
    ],
    'sofa': [
        _box((0, 0, 0.25), (0.42, 0.9, 0.2)),
        _box((-0.36, 0, 0.6), (0.12, 0.9, 0.3), 0, -0.12),
        _box((0, 0.85, 0.42), (0.42, 0.11, 0.22)),
        _box((0, -0.85, 0.42), (0.42, 0.11, 0.22)),
        _box((0.05, 0.4, 0.5), (0.3, 0.36, 0.07)),
        _box((0.05, -0.4, 0.5), (0.3, 0.36, 0.07)),
    ],
    'ladder': [
        _box((0, -0.22, 1.0), (0.03, 0.02, 1.0), 0, 0.25),
        _box((0, 0.22, 1.0), (0.03, 0.02, 1.0), 0, 0.25),
        *[
            _tube((0.25 * (z - 1), 0, z), 0.02, 0.22, _RIGHT)
            for z in (0.3, 0.6, 0.9, 1.2, 1.5, 1.8)
        ],
    ],
    'stack': [
        _box((0, 0, 0.2), (0.3, 0.25, 0.2)),
        _box((0.03, 0.02, 0.55), (0.22, 0.2, 0.15)),
        _box((-0.02, 0.05, 0.8), (0.15, 0.14, 0.1)),
        _box((0.1, -0.55, 0.15), (0.2, 0.2, 0.15)),
        _tube((-0.45, 0.2, 0.3), 0.16, 0.3),
        _tube((0.5, 0.3, 0.12), 0.12, 0.3, _RIGHT),
        _box((-0.3, -0.35, 0.5), (0.04, 0.2, 0.5), 0, 0.2),
    ],
    'bench': [
        _box((0, 0, 0.85), (0.35, 1.0, 0.04)),
        _box((0, -0.85, 0.4), (0.3, 0.06, 0.4)),
        _box((0, 0.85, 0.4), (0.3, 0.06, 0.4)),
        _box((0, 0, 0.25), (0.3, 0.8, 0.02)),
        _box((-0.1, 0.4, 1.0), (0.15, 0.2, 0.12)),
        _tube((0.1, -0.2, 1.02), 0.07, 0.13),
        _tube((0.0, -0.5, 1.0), 0.1, 0.1),
        _box((0.05, 0.1, 0.42), (0.18, 0.25, 0.15)),
        _ball((-0.1, -0.7, 1.0), (0.1, 0.14, 0.12)),
    ],
}

INDOOR = (
    'table', 'chair', 'shelf', 'motorcycle', 'person', 'lamp', 'sofa', 'ladder', 'stack', 'bench',
)  # fmt: skip
OUTDOOR = ('car', 'tree', 'person', 'motorcycle', 'stack', 'ladder', 'bench')


@functools.cache
def template_table(device: torch.device | str) -> Tensor:
    """(T, PARTS, 9) table of all templates: kind, centre 3, half-axes 3, turns 2; kind -1 pads."""
    table = torch.full((len(TEMPLATES), PARTS, 9), 0.0)
    table[..., 0] = -1
    for row, parts in zip(table, TEMPLATES.values(), strict=True):
        for slot, (kind, centre, half, x, y) in zip(row, parts, strict=False):
            slot.copy_(torch.tensor([kind, *centre, *half, x, y]))
    return table.to(device)


def template_indices(names: tuple[str, ...]) -> list[int]:
    """Rows of `template_table` that hold the named templates."""
    order = list(TEMPLATES)
    return [order.index(name) for name in names]
