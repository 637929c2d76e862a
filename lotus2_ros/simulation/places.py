"""Places for MuJoCo models: rooms, stores, yards, table tops, with room for a camera."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lotus2_ros.simulation import things
from lotus2_ros.simulation.model_writer import PHOTOGRAPH, ModelWriter

_TRIES = 60


@dataclass(frozen=True)
class Place:
    """A built place.

    Attributes:
        reach: half width and half depth within which a camera may stand [m].
        heights: lowest and highest the camera may be [m].
        target: heights of what it looks at [m].
        distance: farthest the target may be [m].
        ambient: light from everywhere, 0 to 1.
        extent: size of the place for clipping and shadows [m].
    """

    reach: tuple[float, float]
    heights: tuple[float, float]
    target: tuple[float, float]
    distance: float
    ambient: float
    extent: float


def room(model: ModelWriter) -> Place:
    """A furnished room with windows and pictures."""
    rng = model.rng
    half = (rng.uniform(1.7, 3.2), rng.uniform(1.7, 3.2))
    height = rng.uniform(2.4, 3.0)
    _walls(model, half, height, ('wood', 'tiles', 'fabric', 'concrete'), ('plaster', 'fabric'))
    _fixtures(model, half, height)
    scatter(model, half, things.FURNITURE, int(rng.integers(5, 10)))
    warm = rng.uniform(0.85, 1.0), rng.uniform(0.8, 0.95), rng.uniform(0.65, 0.95)
    for _ in range(int(rng.integers(1, 3))):
        at = (rng.uniform(-0.6, 0.6) * half[0], rng.uniform(-0.6, 0.6) * half[1], height - 0.1)
        model.lamp(at, (0, 0, -1), [0.7 * c for c in warm])
    reach = (half[0] - 0.3, half[1] - 0.3)
    return Place(reach, (0.4, 1.8), (0.3, 1.3), 6.0, rng.uniform(0.35, 0.55), 5.0)


def store(model: ModelWriter) -> Place:
    """A long store with pillars, stacks, barrels and pipes under the ceiling."""
    rng = model.rng
    half = (rng.uniform(1.8, 3.0), rng.uniform(5.0, 9.0))
    height = rng.uniform(2.8, 4.2)
    _walls(model, half, height, ('concrete', 'tiles'), ('brick', 'concrete', 'plaster'))
    pillar, pipe = model.surface('concrete'), model.surface('paint', shine=0.6)
    spacing = rng.uniform(2, 3.5)
    for place in range(-2, 3):
        for side in (-1, 1):
            at = (side * half[0] * 0.92, place * spacing, height / 2)
            model.solid('box', pillar, (0.12, 0.12, height / 2), at)
    for _ in range(int(rng.integers(1, 4))):
        high = (rng.uniform(-0.8, 0.8) * half[0], 0.0, height - rng.uniform(0.15, 0.4))
        model.solid('capsule', pipe, (rng.uniform(0.03, 0.09), half[1]), high, (90, 0, 0))
    scatter(model, half, things.STORES, int(rng.integers(10, 20)))
    for k in (-0.6, 0.1, 0.7):
        model.lamp((0, k * half[1], height - 0.1), (0, 0, -1), (0.45, 0.45, 0.42))
    return Place((half[0] * 0.6, half[1] * 0.9), (0.5, 1.8), (0.3, 1.3), 12.0, 0.38, 8.0)


def yard(model: ModelWriter) -> Place:
    """Open ground with houses, trees, cars and a fence, in the sun."""
    rng = model.rng
    ground = ('grass', 'grass', 'concrete', 'tiles')[int(rng.integers(4))]
    model.solid(
        'plane', model.surface(ground, flat=True, repeat=0.4, shine=0), (40, 40, 1), (0,) * 3
    )
    model.sky(
        (rng.uniform(0.2, 0.5), rng.uniform(0.4, 0.65), rng.uniform(0.7, 0.95)),
        (rng.uniform(0.7, 0.95), rng.uniform(0.75, 0.95), rng.uniform(0.8, 1.0)),
    )
    _path(model)
    half = (9.0, 9.0)
    taken = scatter(model, half, (things.house,), int(rng.integers(1, 4)), clear=3.0)
    scatter(model, half, things.OUTDOORS, int(rng.integers(9, 18)), taken=taken)
    fence(model, rng.uniform(10, 12))
    azimuth, elevation = rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(25, 70))
    sun = (
        -math.cos(azimuth) * math.cos(elevation),
        -math.sin(azimuth) * math.cos(elevation),
        -math.sin(elevation),
    )
    strength = rng.uniform(0.6, 0.8)
    model.lamp([-12 * c for c in sun], sun, (strength, 0.95 * strength, 0.85 * strength), sun=True)
    return Place((6.0, 6.0), (0.5, 2.2), (0.4, 1.6), 12.0, rng.uniform(0.3, 0.45), 12.0)


def table_top(model: ModelWriter) -> Place:
    """Small things on a table, close by."""
    rng = model.rng
    half, height = (rng.uniform(1.2, 2.0), rng.uniform(1.2, 2.0)), 2.6
    _walls(model, half, height, ('wood', 'tiles'), ('plaster', 'brick', 'fabric'), floor=-0.75)
    kind = ('wood', 'marble', 'fabric', 'plaster')[int(rng.integers(4))]
    top = model.surface(kind, flat=True, repeat=1.0)
    side = model.surface('wood')
    model.solid('box', side, (0.7, 0.45, 0.015), (0, 0, -0.017))
    model.solid('plane', top, (0.7, 0.45, 1), (0, 0, 0))
    for x in (-0.6, 0.6):
        model.solid('cylinder', side, (0.03, 0.36), (x, 0.3, -0.39))
        model.solid('cylinder', side, (0.03, 0.36), (x, -0.3, -0.39))
    small: tuple[things.Thing, ...] = (things.small_thing,)
    scatter(model, (0.62, 0.4), small, int(rng.integers(6, 13)), clear=0.0, guess=0.1)
    at = (rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8), 1.5)
    model.lamp(at, [-c for c in at], (0.7, 0.66, 0.6))
    return Place((1.0, 1.0), (0.15, 0.7), (0.0, 0.12), 0.5, rng.uniform(0.3, 0.5), 2.0)


PLACES: tuple[Callable[[ModelWriter], Place], ...] = (room, yard, store, table_top)
"""Scene i is of kind i modulo their number."""


def _walls(
    model: ModelWriter,
    half: tuple[float, float],
    height: float,
    floors: Sequence[str],
    walls: Sequence[str],
    floor: float = 0.0,
) -> None:
    rng = model.rng
    ground = model.surface(
        floors[int(rng.integers(len(floors)))], flat=True, repeat=rng.uniform(0.4, 1)
    )
    model.solid('plane', ground, (half[0], half[1], 1), (0, 0, floor))
    white = model.surface('plaster', flat=True, repeat=0.4, shine=0)
    model.solid('plane', white, (half[0], half[1], 1), (0, 0, floor + height), (180, 0, 0))
    kind, middle = walls[int(rng.integers(len(walls)))], floor + height / 2
    paper = model.surface(kind, flat=True, repeat=rng.uniform(0.35, 0.8), shine=0.05)
    for side in (-1, 1):
        beside, ahead = (side * half[0], 0, middle), (0, side * half[1], middle)
        model.solid('plane', paper, (height / 2, half[1], 1), beside, (0, -side * 90, 0))
        model.solid('plane', paper, (half[0], height / 2, 1), ahead, (side * 90, 0, 0))


def _fixtures(model: ModelWriter, half: tuple[float, float], height: float) -> None:
    """Skirting, windows, pictures and a rug."""
    rng = model.rng
    board, frame = model.surface('wood'), model.surface('paint')
    for side in (-1, 1):
        model.solid('box', board, (0.01, half[1], 0.05), (side * half[0], 0, 0.05))
        model.solid('box', board, (half[0], 0.01, 0.05), (0, side * half[1], 0.05))
        bright = model.surface('plaster', glow=0.8)
        at = (side * half[0], rng.uniform(-0.4, 0.4) * half[1], 0.55 * height)
        model.solid('box', frame, (0.05, 0.55, 0.5), at)
        model.solid('box', bright, (0.06, 0.24, 0.44), (at[0], at[1] - 0.26, at[2]))
        model.solid('box', bright, (0.06, 0.24, 0.44), (at[0], at[1] + 0.26, at[2]))
        for _ in range(int(rng.integers(1, 3))):
            wide, tall = rng.uniform(0.2, 0.5, 2)
            place = (rng.uniform(-0.6, 0.6) * half[0], side * half[1], rng.uniform(1.3, 1.8))
            model.solid('box', frame, (wide + 0.03, 0.02, tall + 0.03), place)
            model.solid('box', model.surface(PHOTOGRAPH), (wide, 0.03, tall), place)
    rug = (rng.uniform(0.5, 1.0), rng.uniform(0.5, 1.0), 0.006)
    model.solid(
        'box', model.surface('fabric', shine=0), rug, (0, 0, 0.006), (0, 0, rng.uniform(0, 90))
    )


def _path(model: ModelWriter) -> None:
    paving = model.surface('tiles', flat=True, repeat=0.5, shine=0)
    yaw = model.rng.uniform(0, 180)
    model.solid('plane', paving, (20, model.rng.uniform(0.6, 2.0), 1), (0, 0, 0.01), (0, 0, yaw))


def fence(model: ModelWriter, reach: float) -> None:
    """A wooden fence around a square, `reach` from its middle to a side [m]."""
    wood = model.surface('wood', shine=0)
    for yaw in (0, 90, 180, 270):
        with model.group((0, 0, 0), yaw):
            for z in (0.4, 0.9):
                model.solid('box', wood, (reach, 0.025, 0.05), (0, reach, z))
            posts = int(reach / 0.75)
            for k in range(-posts, posts + 1):
                model.solid('box', wood, (0.06, 0.03, 0.6), (k * 0.75, reach - 0.04, 0.6))


def scatter(
    model: ModelWriter,
    half: tuple[float, float],
    makers: Sequence[things.Thing],
    count: int,
    *,
    clear: float = 0.5,
    guess: float = 0.6,
    taken: list[tuple[float, float, float]] | None = None,
) -> list[tuple[float, float, float]]:
    """Put things down where there is room.

    Args:
        model: to build in.
        half: half width and half depth of the ground.
        makers: what to choose from.
        count: how many to try.
        clear: radius around the middle to leave free.
        guess: radius to look for room for, before a thing is built.
        taken: circles (x, y, radius) that are occupied already.

    Returns:
        All occupied circles.
    """
    rng = model.rng
    circles = list(taken or [])
    for _ in range(count):
        maker = makers[int(rng.integers(len(makers)))]
        size = 3.2 if maker is things.house else 2.0 if maker is things.car else guess
        for _ in range(_TRIES):
            x, y = (float(rng.uniform(-1, 1)) * max(h - 0.6 * size, 0.0) for h in half)
            free = all(math.hypot(x - u, y - v) > r + size for u, v, r in circles)
            if free and math.hypot(x, y) > clear + (size if clear else 0):
                with model.group((x, y, 0), rng.uniform(0, 360)):
                    circles.append((x, y, maker(model)))
                break
    return circles
