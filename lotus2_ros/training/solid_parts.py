"""Words in which templates of compound things are written."""

from __future__ import annotations

import math

from lotus2_ros.training.ray_tracing import (
    BARS,
    BOX,
    CYLINDER,
    ELLIPSOID,
    GRID,
    LEAVES,
    PANEL,
    RING,
)

Vector = tuple[float, float, float]
Row = tuple[float, ...]
"""Kind, centre 3, half-axes 3, turn about x, turn about y, cut-out 4."""

RIGHT = math.pi / 2

_WHOLE = (0.0, 0.0, 0.0, 0.0)


def box(centre: Vector, half: Vector, x: float = 0.0, y: float = 0.0) -> Row:
    """A box with half-axes in metres, turned about x and y."""
    return (BOX, *centre, *half, x, y, *_WHOLE)


def ball(centre: Vector, half: Vector, x: float = 0.0, y: float = 0.0) -> Row:
    """An ellipsoid."""
    return (ELLIPSOID, *centre, *half, x, y, *_WHOLE)


def tube(centre: Vector, radius: float, half: float, x: float = 0.0, y: float = 0.0) -> Row:
    """A cylinder that runs along its own z before the turns."""
    return (CYLINDER, *centre, radius, radius, half, x, y, *_WHOLE)


def legs(x: float, y: float, height: float, radius: float) -> list[Row]:
    """Four upright tubes at the corners of a rectangle of half-sides x and y."""
    half = height / 2
    return [tube((sx * x, sy * y, half), radius, half) for sx in (-1, 1) for sy in (-1, 1)]


def _panel(centre: Vector, half: tuple[float, float], x: float, y: float, cut: Row) -> Row:
    return (PANEL, *centre, *half, 0.01, x, y, *cut)


def wheel(centre: Vector, radius: float, spokes: float, rim: float = 0.16) -> Row:
    """An upright ring with spokes that rolls along x."""
    return _panel(centre, (radius, radius), RIGHT, 0.0, (RING, spokes, 0, rim))


def railing(centre: Vector, length: float, height: float, bars: float, share: float) -> Row:
    """Upright bars along x between two rails; half-sides in metres, bars cover a share."""
    return _panel(centre, (length, height), RIGHT, 0.0, (BARS, bars, 0, share))


def lattice(
    centre: Vector, half: tuple[float, float], across: float, down: float, share: float, x: float
) -> Row:
    """A grid of wires or slats."""
    return _panel(centre, half, x, 0.0, (GRID, across, down, share))


def leaves(centre: Vector, half: tuple[float, float], size: float, x: float, y: float) -> Row:
    """A sheet of foliage; more and smaller leaves with a larger `size` count."""
    return _panel(centre, half, x, y, (LEAVES, size, 0.85 * size, 0.12))
