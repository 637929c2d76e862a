"""The world: a building of two rooms, a hall and a corridor beside a yard, and a path through all.

x to the east, y to the north, z up, in metres. The building lies in the west, its doors open to the
yard in the east:

    y =  6  +----------------------------+ . . . . . . . . .
            |            hall           =>  yard: houses,
    y =  1  +--=-----+-------------------+   trees, a car,
            | room   |     (closed)      |   people, a fence
    y = -3  |        +-------------------+   and the horizon
            |       <=     corridor     <=
    y = -5  +--------+-------------------+ . . . . . . . . .
          x = -14   -8                   0
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lotus2_ros.photographs import SAMPLES, read_photograph
from lotus2_ros.simulation import things
from lotus2_ros.simulation.model_writer import PHOTOGRAPH, QUICK, ModelWriter
from lotus2_ros.simulation.path import ClosedPath
from lotus2_ros.simulation.people import person

CORNERS = (
    *((8.0, -3.2), (5.0, -4.0), (2.2, -4.0), (-0.5, -4.0), (-3.5, -4.0), (-6.5, -4.0)),
    *((-8.6, -4.0), (-10.4, -3.6), (-11.6, -2.4), (-11.6, -0.6), (-11.6, 1.0), (-11.4, 2.4)),
    *((-10.2, 3.4), (-8.0, 3.6), (-5.0, 3.6), (-2.5, 3.6), (0.0, 3.6), (2.5, 3.6), (5.0, 4.2)),
    *((7.6, 3.6), (9.2, 1.2), (9.2, -1.4)),
)
"""Control points of the robot's path."""

CEILING = 2.7
_DOOR = 2.1
_THICK = 0.06
"""Half the thickness of a wall."""

EXTENT = 18.0
"""Half the width of what the sun's shadows are drawn for [m]."""

AMBIENT = 0.42

_VARIANTS = 6
"""Textures of each kind: drawing them is most of the time that building takes."""

_CLEARANCE = 0.55
"""Half the width of the path kept free of things."""


class Walker(NamedTuple):
    """Someone who goes to and fro between two points.

    Attributes:
        name: of the moving body.
        start: (x, y) [m].
        end: (x, y) [m].
        period: time for there and back [s].
    """

    name: str
    start: tuple[float, float]
    end: tuple[float, float]
    period: float


WALKERS = (
    Walker('walker0', (6.5, 1.6), (6.5, -1.6), 9.0),
    Walker('walker1', (-7.5, 5.2), (-2.5, 5.2), 13.0),
)
"""People who walk beside the path, never on it."""


def build_world(seed: int, walkers: int = len(WALKERS)) -> tuple[str, dict[str, bytes]]:
    """Write the world.

    Args:
        seed: decides surfaces, colours and clutter; walls, doors and the path are always the same.
        walkers: how many people walk, see `WALKERS`.

    Returns:
        MJCF, and its files by name.
    """
    rng = np.random.default_rng((seed, 1))
    photographs = [read_photograph(path) for path in sorted(SAMPLES.glob('*.jpg'))]
    model = ModelWriter(rng, photographs, variants=_VARIANTS)
    path = ClosedPath(CORNERS)
    _building(model)
    _furnish(model, path)
    _yard(model, path)
    for walker in WALKERS[:walkers]:
        with model.moving(walker.name):
            person(model, step_deg=18.0)
    _lights(model)
    return model.write(AMBIENT, EXTENT, QUICK), model.assets


def _building(model: ModelWriter) -> None:
    rng = model.rng
    wood = model.surface('wood', flat=True, repeat=rng.uniform(0.5, 0.9), shine=0.1)
    tiles = model.surface('tiles', flat=True, repeat=rng.uniform(0.5, 0.8), shine=0.2)
    stone = model.surface('concrete', flat=True, repeat=0.5, shine=0.1)
    white = model.surface('plaster', flat=True, repeat=0.4, shine=0)
    # Floors lie a little above the yard's ground; the corridor's reaches under both its doors.
    for surface, west, east, south, north in (
        *((wood, -14, -8, -5, 1), (stone, -8, 0.06, -5, -3), (tiles, -14, 0.06, 1, 6)),
    ):
        half, middle = (
            ((east - west) / 2, (north - south) / 2),
            ((east + west) / 2, (north + south) / 2),
        )
        model.solid('plane', surface, (*half, 1), (*middle, 0.004))
        model.solid('plane', white, (*half, 1), (*middle, CEILING), (180, 0, 0))
    roof = model.surface('tiles')
    model.solid('box', roof, (7.2, 5.7, 0.1), (-7, 0.5, CEILING + 0.11))
    brick = model.surface('brick', flat=True, repeat=0.6, shine=0)
    paper = model.surface('plaster', flat=True, repeat=0.6, shine=0.05)
    cloth = model.surface('fabric', flat=True, repeat=0.8, shine=0)
    block = model.surface('concrete', flat=True, repeat=0.5, shine=0)
    edge = model.surface('plaster', shine=0)
    # From, to, surface on the left when going from one to the other, on the right; doors last.
    walls = (
        ((-14, -5), (0, -5), block, brick, ()),
        ((0, -5), (0, 6), block, brick, ((0.1, 1.9), (7.8, 9.4))),
        ((0, 6), (-14, 6), cloth, brick, ()),
        ((-14, 6), (-14, -5), paper, brick, ()),
        ((-14, 1), (-8, 1), cloth, paper, ((1.6, 3.2),)),
        ((-8, 1), (0, 1), cloth, white, ()),
        ((-8, -5), (-8, 1), paper, paper, ((0.2, 1.8),)),
        ((-8, -3), (0, -3), white, block, ()),
    )
    for start, end, left, right, doors in walls:
        _wall(model, start, end, (left, right, edge), doors)


def _wall(
    model: ModelWriter,
    start: tuple[float, float],
    end: tuple[float, float],
    surfaces: tuple[str, str, str],
    doors: tuple[tuple[float, float], ...],
) -> None:
    """A wall with openings, from the distance to the distance along it."""
    length = math.dist(start, end)
    yaw = math.degrees(math.atan2(end[1] - start[1], end[0] - start[0]))
    edges = [0.0, *(mark for door in doors for mark in door), length]
    with model.group((*start, 0.0), yaw):
        for near, far in zip(edges[::2], edges[1::2], strict=True):
            _panel(model, (near, far), (0.0, CEILING), surfaces)
        for near, far in doors:
            _panel(model, (near, far), (_DOOR, CEILING), surfaces)


def _panel(
    model: ModelWriter,
    along: tuple[float, float],
    heights: tuple[float, float],
    surfaces: tuple[str, str, str],
) -> None:
    half = ((along[1] - along[0]) / 2, (heights[1] - heights[0]) / 2)
    at = ((along[1] + along[0]) / 2, (heights[1] + heights[0]) / 2)
    left, right, edge = surfaces
    model.solid('box', edge, (half[0], _THICK, half[1]), (at[0], 0, at[1]))
    # The planes carry the pattern; in front of the box, so that they never fight for a pixel.
    model.solid('plane', left, (*half, 1), (at[0], _THICK + 0.004, at[1]), (-90, 0, 0))
    model.solid('plane', right, (*half, 1), (at[0], -_THICK - 0.004, at[1]), (90, 0, 0))


def _furnish(model: ModelWriter, path: ClosedPath) -> None:
    """Furniture along the walls, things lying about where the robot does not drive, pictures."""
    placed = (
        *((things.sofa, -13.3, -2.0, 270), (things.shelf, -10.6, 0.7, 180)),
        *((things.table, -9.2, -0.6, 20), (things.chair, -9.4, -1.9, 160)),
        *((things.floor_lamp, -13.5, -4.4, 0), (things.plant, -13.4, 0.4, 0)),
        *((things.shelf, -12.4, -4.7, 0), (things.crates, -12.9, -3.6, 30)),
        *((things.shelf, -6.0, 1.35, 0), (things.shelf, -4.2, 1.35, 0)),
        *((things.table, -7.4, 2.0, 10), (things.chair, -6.6, 2.4, 250)),
        *((things.barrel, -1.2, 5.3, 0), (things.crates, -1.2, 1.7, 0)),
        *((things.crates, -13.2, 5.3, 15), (things.sofa, -12.9, 3.6, 270)),
        *(
            (things.plant, -9.5, 5.4, 0),
            (things.table, -9.4, 1.7, 90),
            (things.chair, -3.2, 2.2, 40),
        ),
        *((things.crates, -5.0, -3.25, 5), (things.plant, -1.5, -4.75, 0)),
    )
    for maker, x, y, yaw in placed:
        with model.group((x, y, 0.004), yaw):
            maker(model)
    for x, y, yaw in ((-9.0, 0.3, 200), (-8.9, 5.0, 250), (-2.6, 2.1, 100)):
        with model.group((x, y, 0.004), yaw):
            person(model, step_deg=float(model.rng.uniform(0, 8)))
    _small_things(model, path, (-13.5, -8.5), (-4.6, 0.6), 4)
    _small_things(model, path, (-13.5, -0.5), (1.4, 5.6), 7)
    frame = model.surface('paint')
    for x, y, face in (
        *((-10.0, 5.93, 1), (-6.0, 5.93, 1), (-2.5, 5.93, 1), (-9.8, 1.07, -1), (-3.0, 1.07, -1)),
        *((-4.0, -4.93, -1), (-6.2, -3.07, 1), (-2.4, -3.07, 1), (-11.0, -4.93, -1)),
    ):
        wide, tall = model.rng.uniform(0.25, 0.55), model.rng.uniform(0.2, 0.4)
        model.solid('box', frame, (wide + 0.03, 0.015, tall + 0.03), (x, y, 1.5))
        picture = model.surface(PHOTOGRAPH)
        model.solid('box', picture, (wide, 0.02, tall), (x, y - 0.002 * face, 1.5))


def _small_things(
    model: ModelWriter,
    path: ClosedPath,
    east_west: tuple[float, float],
    south_north: tuple[float, float],
    count: int,
) -> None:
    """Things on the floor, off the path."""
    way = path.points(0.2)
    done = 0
    while done < count:
        place = np.array([model.rng.uniform(*east_west), model.rng.uniform(*south_north)])
        if np.linalg.norm(way - place, axis=1).min() > _CLEARANCE + 0.25:
            with model.group((*place.tolist(), 0.004), float(model.rng.uniform(0, 360))):
                things.small_thing(model)
            done += 1


def _yard(model: ModelWriter, path: ClosedPath) -> None:
    """Ground to the horizon, a paved way, houses in the distance, things beside the path."""
    rng = model.rng
    grass = model.surface('grass', flat=True, repeat=0.4, shine=0)
    model.solid('plane', grass, (90, 90, 1), (0, 0, 0))
    paving = model.surface('tiles', flat=True, repeat=0.5, shine=0)
    model.solid('plane', paving, (5.2, 6.0, 1), (5.3, 0.0, 0.003))
    model.sky((0.35, 0.55, 0.85), (0.85, 0.9, 0.95))
    placed = (
        *((things.house, 22.0, 7.0, 80), (things.house, 20.0, -9.0, 110)),
        *((things.house, 6.0, 20.0, 10), (things.house, 3.0, -21.0, 0)),
        *(
            (things.car, 12.6, 3.5, 80),
            (things.bench, 5.6, -5.5, 180),
            (things.bench, 2.6, 1.2, 90),
        ),
        *((things.tree, 12.0, -4.0, 0), (things.tree, 3.2, 8.5, 0), (things.conifer, 8.5, 8.0, 0)),
        *((things.tree, 9.0, -8.0, 0), (things.conifer, 14.0, 0.0, 0), (things.rock, 6.4, -1.9, 0)),
        *((things.rock, 1.6, -6.0, 0), (things.barrel, 1.0, -2.4, 0), (things.crates, 1.0, 1.6, 0)),
        *(
            (things.crates, 7.0, 5.9, 20),
            (things.barrel, 11.2, -2.0, 0),
            (things.rock, 11.5, 6.5, 0),
        ),
    )
    for maker, x, y, yaw in placed:
        with model.group((x, y, 0.0), yaw):
            maker(model)
    for x, y, yaw in ((4.2, 1.9, 300), (3.4, -2.2, 30), (10.8, 2.6, 180)):
        with model.group((x, y, 0.0), yaw):
            person(model, step_deg=float(rng.uniform(0, 12)))
    _small_things(model, path, (1.5, 8.0), (-2.4, 2.4), 4)
    wood = model.surface('wood', shine=0)
    for x, y, yaw, reach in ((16.5, 0.0, 90, 11.0), (8.0, 11.0, 0, 8.0), (8.0, -11.0, 0, 8.0)):
        with model.group((x, y, 0.0), yaw):
            for z in (0.4, 0.9):
                model.solid('box', wood, (reach, 0.025, 0.05), (0, 0, z))
            for k in range(-int(reach / 1.5), int(reach / 1.5) + 1):
                model.solid('box', wood, (0.05, 0.03, 0.55), (1.5 * k, -0.05, 0.55))


def _lights(model: ModelWriter) -> None:
    """The sun, and lamps that end before the next room: they cast no shadows through walls."""
    sun = np.array([-0.45, 0.5, -0.75])
    at = np.array([-1.0, 0.0, 0.0]) - 12 * sun
    model.lamp(at.tolist(), sun.tolist(), (0.62, 0.6, 0.55), sun=True)
    for x, y in ((-11.0, -2.0), (-10.0, 3.5), (-3.5, 3.5), (-4.0, -4.0)):
        model.lamp((x, y, CEILING - 0.2), (0, 0, -1), (0.5, 0.47, 0.42), fade=0.08)
