"""Furniture, vessels, plants and vehicles for MuJoCo models.

Each stands on z = 0 of the group it is built in. Measures in metres.
"""

from __future__ import annotations

from collections.abc import Callable

from lotus2_ros.simulation import meshes
from lotus2_ros.simulation.model_writer import PHOTOGRAPH, ModelWriter

Thing = Callable[[ModelWriter], float]
"""Builds a thing around the origin and returns the radius it takes up on the floor."""


def table(model: ModelWriter) -> float:
    """A table with things on it."""
    rng = model.rng
    width, depth, height = rng.uniform(0.4, 0.9), rng.uniform(0.35, 0.6), rng.uniform(0.4, 0.78)
    wood = model.surface('wood')
    model.solid('box', wood, (width, depth, 0.02), (0, 0, height))
    leg = rng.uniform(0.02, 0.04)
    for x in (-1, 1):
        for y in (-1, 1):
            at = (x * (width - 0.06), y * (depth - 0.06), height / 2)
            model.solid('box', wood, (leg, leg, height / 2), at)
    for _ in range(int(rng.integers(1, 5))):
        at = (rng.uniform(-0.7, 0.7) * width, rng.uniform(-0.7, 0.7) * depth, height + 0.02)
        with model.group(at, rng.uniform(0, 360)):
            small_thing(model)
    return float(max(width, depth))


def chair(model: ModelWriter) -> float:
    """A chair with a back of slats."""
    rng = model.rng
    wood, seat = model.surface('wood'), rng.uniform(0.4, 0.48)
    model.solid('box', wood, (0.22, 0.22, 0.02), (0, 0, seat))
    for x in (-0.2, 0.2):
        model.solid('capsule', wood, (0.018, seat / 2), (x, 0.2, seat / 2))
        model.solid('capsule', wood, (0.018, seat), (x, -0.2, seat))
    for step in range(int(rng.integers(2, 5))):
        model.solid('box', wood, (0.2, 0.01, 0.035), (0, -0.2, seat + 0.15 + 0.11 * step))
    return 0.33


def shelf(model: ModelWriter) -> float:
    """Shelves with books and boxes."""
    rng = model.rng
    wood, width, levels = model.surface('wood'), rng.uniform(0.4, 0.7), int(rng.integers(3, 6))
    pitch = rng.uniform(0.3, 0.4)
    for side in (-1, 1):
        model.solid(
            'box', wood, (0.015, 0.16, levels * pitch / 2), (side * width, 0, levels * pitch / 2)
        )
    covers = [model.surface('label') for _ in range(3)] + [model.surface('paint')]
    for level in range(levels + 1):
        model.solid('box', wood, (width, 0.16, 0.012), (0, 0, 0.02 + level * pitch))
        x = -width + 0.04
        while level < levels and x < width - 0.1:
            thick, tall = rng.uniform(0.012, 0.05), rng.uniform(0.09, 0.13)
            if rng.uniform() < 0.75:
                cover = covers[int(rng.integers(len(covers)))]
                at = (x + thick, rng.uniform(-0.03, 0.05), 0.032 + level * pitch + tall)
                model.solid('box', cover, (thick, 0.09, tall), at, (0, rng.uniform(-4, 4), 0))
            x += 2 * thick + rng.uniform(0.0, 0.03)
    return float(width + 0.1)


def sofa(model: ModelWriter) -> float:
    """A sofa with round arms and cushions."""
    rng = model.rng
    cloth, width = model.surface('fabric'), rng.uniform(0.6, 1.0)
    model.solid('box', cloth, (width, 0.4, 0.2), (0, 0, 0.22))
    model.solid('box', cloth, (width, 0.1, 0.3), (0, -0.36, 0.6), (-8, 0, 0))
    for side in (-1, 1):
        model.solid('capsule', cloth, (0.11, 0.34), (side * width, 0.0, 0.5), (90, 0, 0))
    cushion = model.surface('fabric')
    for _ in range(int(rng.integers(1, 4))):
        at = (rng.uniform(-0.7, 0.7) * width, -0.16, 0.58)
        model.solid('ellipsoid', cushion, (0.22, 0.09, 0.2), at, (-20, rng.uniform(-20, 20), 0))
    return float(width + 0.15)


def floor_lamp(model: ModelWriter) -> float:
    """A lamp on a pole, its shade lit."""
    metal, shade = model.surface('paint', shine=0.8), model.surface('plaster', glow=0.5)
    height = model.rng.uniform(1.3, 1.7)
    model.solid('cylinder', metal, (0.15, 0.015), (0, 0, 0.015))
    model.solid('cylinder', metal, (0.012, height / 2), (0, 0, height / 2))
    profile = [(0, 0.0), (0.2, 0.0), (0.12, 0.26), (0, 0.26)]
    model.shape(model.mesh(*meshes.turned(profile)), shade, (0, 0, height))
    return 0.22


def plant(model: ModelWriter) -> float:
    """A potted plant."""
    rng = model.rng
    pot = [(0, 0), (0.11, 0), (0.16, 0.26), (0.14, 0.26), (0.13, 0.2), (0, 0.2)]
    model.shape(model.mesh(*meshes.turned(pot)), model.surface('paint'), (0, 0, 0))
    leaf = model.surface('leaves', shine=0.2)
    for _ in range(int(rng.integers(8, 18))):
        yaw, lean, size = rng.uniform(0, 360), rng.uniform(10, 70), rng.uniform(0.12, 0.3)
        with model.group((0, 0, 0.22), yaw):
            at = (0.5 * size, 0, size)
            model.solid('ellipsoid', leaf, (0.045, 0.008, size), at, (0, lean, 0))
    return 0.35


def crates(model: ModelWriter) -> float:
    """A stack of boxes, a little out of true."""
    rng = model.rng
    height, size = 0.0, rng.uniform(0.25, 0.45)
    for _ in range(int(rng.integers(1, 5))):
        half = [size * rng.uniform(0.6, 1.0) for _ in range(3)]
        at = (rng.uniform(-0.05, 0.05), rng.uniform(-0.05, 0.05), height + half[2])
        kind = ('wood', 'label', PHOTOGRAPH)[int(rng.integers(3))]
        model.solid('box', model.surface(kind), half, at, (0, 0, rng.uniform(-25, 25)))
        height += 2 * half[2]
    return float(size * 1.3)


def barrel(model: ModelWriter) -> float:
    """A barrel with hoops, standing or lying."""
    rng = model.rng
    profile = [(0, 0), (0.26, 0), (0.3, 0.25), (0.31, 0.45), (0.3, 0.65), (0.26, 0.9), (0, 0.9)]
    body, hoop = model.mesh(*meshes.turned(profile)), model.mesh(*meshes.ring(0.3, 0.015))
    skin, iron = model.surface('paint' if rng.uniform() < 0.6 else 'wood'), model.surface('paint')
    lying = rng.uniform() < 0.25
    turn, at = ((90, 0, 0), (0, 0.45, 0.31)) if lying else ((0, 0, 0), (0, 0, 0))
    model.shape(body, skin, at, turn)
    if not lying:
        for z in (0.27, 0.63):
            model.shape(hoop, iron, (0, 0, z))
    return 0.5 if lying else 0.36


def small_thing(model: ModelWriter) -> float:
    """Something that stands on a table."""
    makers = (_mug, _vase, _bowl, _books, _ball, _tin, _ring_toy, _laptop)
    return makers[int(model.rng.integers(len(makers)))](model)


def _mug(model: ModelWriter) -> float:
    glaze = model.surface('paint', shine=0.7)
    wall = [(0, 0), (0.04, 0), (0.042, 0.1), (0.037, 0.1), (0.035, 0.012), (0, 0.012)]
    model.shape(model.mesh(*meshes.turned(wall)), glaze, (0, 0, 0))
    model.shape(model.mesh(*meshes.ring(0.027, 0.006)), glaze, (0.05, 0, 0.05), (90, 0, 0))
    return 0.09


def _vase(model: ModelWriter) -> float:
    rng = model.rng
    belly, neck, tall = rng.uniform(0.06, 0.11), rng.uniform(0.025, 0.05), rng.uniform(0.18, 0.34)
    outside = [(0, 0), (0.6 * belly, 0), (belly, 0.35 * tall), (0.8 * belly, 0.6 * tall)]
    inside = [(neck, 0.85 * tall), (1.3 * neck, tall), (1.1 * neck, tall), (0.8 * neck, 0.8 * tall)]
    profile = [*outside, *inside, (0, 0.75 * tall)]
    glaze = model.surface('marble' if rng.uniform() < 0.5 else 'paint', shine=0.8)
    model.shape(model.mesh(*meshes.turned(profile)), glaze, (0, 0, 0))
    return float(belly)


def _bowl(model: ModelWriter) -> float:
    wall = [(0, 0), (0.06, 0), (0.13, 0.07), (0.12, 0.07), (0.05, 0.015), (0, 0.015)]
    model.shape(model.mesh(*meshes.turned(wall)), model.surface('marble', shine=0.5), (0, 0, 0))
    fruit = model.surface('paint', shine=0.5)
    for _ in range(int(model.rng.integers(0, 6))):
        x, y = model.rng.uniform(-0.05, 0.05, 2)
        model.solid('sphere', fruit, (0.036,), (x, y, 0.06))
    return 0.13


def _books(model: ModelWriter) -> float:
    rng, height = model.rng, 0.0
    for _ in range(int(rng.integers(1, 6))):
        thick = rng.uniform(0.008, 0.025)
        cover = model.surface('label' if rng.uniform() < 0.6 else PHOTOGRAPH)
        half = (rng.uniform(0.07, 0.11), rng.uniform(0.1, 0.14), thick)
        model.solid('box', cover, half, (0, 0, height + thick), (0, 0, rng.uniform(-20, 20)))
        height += 2 * thick
    return 0.16


def _ball(model: ModelWriter) -> float:
    size = model.rng.uniform(0.04, 0.12)
    model.solid('sphere', model.surface('fabric', shine=0.4), (size,), (0, 0, size))
    return float(size)


def _tin(model: ModelWriter) -> float:
    size, tall = model.rng.uniform(0.03, 0.05), model.rng.uniform(0.05, 0.09)
    model.solid('cylinder', model.surface('label', shine=0.6), (size, tall), (0, 0, tall))
    return float(size)


def _ring_toy(model: ModelWriter) -> float:
    for step in range(int(model.rng.integers(2, 5))):
        radius = 0.08 - 0.015 * step
        mesh = model.mesh(*meshes.ring(radius, 0.02))
        model.shape(mesh, model.surface('paint', shine=0.5), (0, 0, 0.02 + 0.036 * step))
    return 0.1


def _laptop(model: ModelWriter) -> float:
    shell, screen = model.surface('paint', shine=0.5), model.surface(PHOTOGRAPH, glow=0.6)
    model.solid('box', shell, (0.16, 0.11, 0.008), (0, 0, 0.008))
    with model.group((0, -0.11, 0.012)):
        model.solid('box', shell, (0.16, 0.004, 0.105), (0, -0.03, 0.1), (15, 0, 0))
        model.solid('box', screen, (0.15, 0.002, 0.095), (0, -0.024, 0.101), (15, 0, 0))
    return 0.2


def tree(model: ModelWriter) -> float:
    """A tree with a crown of several balls of leaves."""
    rng = model.rng
    trunk, bark = rng.uniform(1.0, 2.2), model.surface('wood')
    model.solid('cylinder', bark, (rng.uniform(0.08, 0.2), trunk / 2), (0, 0, trunk / 2))
    leaf = model.surface('leaves')
    for _ in range(int(rng.integers(5, 12))):
        x, y = rng.normal(0, 0.5, 2)
        size = rng.uniform(0.35, 0.8, 3).tolist()
        model.solid('ellipsoid', leaf, size, (x, y, trunk + rng.uniform(0, 1.6)))
    return 0.8


def conifer(model: ModelWriter) -> float:
    """A tree of cones."""
    rng = model.rng
    model.solid('cylinder', model.surface('wood'), (0.1, 0.3), (0, 0, 0.3))
    leaf, wide, z = model.surface('leaves'), rng.uniform(0.7, 1.1), 0.5
    for _ in range(int(rng.integers(3, 6))):
        profile = [(0, 0), (wide, 0), (0.02, 0.9), (0, 0.9)]
        model.shape(model.mesh(*meshes.turned(profile)), leaf, (0, 0, z))
        wide, z = wide * 0.8, z + 0.55
    return 0.9


def car(model: ModelWriter) -> float:
    """A car of two blocks on wheels."""
    rng = model.rng
    lacquer, glass = model.surface('paint', shine=0.9), model.surface('marble', shine=1.0)
    model.solid('box', lacquer, (2.0, 0.85, 0.3), (0, 0, 0.6))
    cabin = meshes.wedge(0.78, 1.15, 0.0, rng.uniform(0.5, 0.65))
    model.shape(model.mesh(cabin), glass, (-0.2, 0, 0.9))
    tyre = model.surface('concrete', shine=0.1)
    for x in (-1.25, 1.3):
        for y in (-0.85, 0.85):
            model.solid('cylinder', tyre, (0.33, 0.11), (x, y, 0.33), (90, 0, 0))
    return 2.1


def house(model: ModelWriter) -> float:
    """A house with a gable roof, a door and windows."""
    rng = model.rng
    width, depth, height = rng.uniform(2, 3.5), rng.uniform(2, 3), rng.uniform(1.2, 1.8)
    wall = model.surface('brick' if rng.uniform() < 0.6 else 'plaster', shine=0)
    model.solid('box', wall, (width, depth, height), (0, 0, height))
    gable = meshes.roof(width + 0.3, depth + 0.3, rng.uniform(0.9, 1.8))
    model.shape(model.mesh(gable), model.surface('tiles'), (0, 0, 2 * height))
    glass, door = model.surface('marble', shine=1.0), model.surface('wood')
    for side in (-1, 1):
        model.solid('box', door, (0.45, 0.05, 1.0), (rng.uniform(-1, 1), side * depth, 1.0))
        for x in (-0.6, 0.6):
            model.solid('box', glass, (0.4, 0.06, 0.45), (x * width, side * depth, 1.3 * height))
            model.solid('box', glass, (0.06, 0.4, 0.45), (side * width, x * depth, 1.3 * height))
    return float(max(width, depth) * 1.2)


def rock(model: ModelWriter) -> float:
    """A stone, half sunk."""
    size = model.rng.uniform(0.2, 0.9)
    stone = model.mesh(meshes.stone(model.rng, size))
    model.shape(stone, model.surface('concrete'), (0, 0, 0.2 * size))
    return float(size)


def bench(model: ModelWriter) -> float:
    """A garden bench of slats."""
    wood, iron = model.surface('wood'), model.surface('paint')
    for y in (-0.18, -0.06, 0.06, 0.18):
        model.solid('box', wood, (0.8, 0.045, 0.02), (0, y, 0.45))
    for z in (0.6, 0.75, 0.88):
        model.solid('box', wood, (0.8, 0.015, 0.045), (0, -0.26, z))
    for x in (-0.65, 0.65):
        model.solid('capsule', iron, (0.025, 0.42), (x, -0.24, 0.43))
        model.solid('capsule', iron, (0.025, 0.2), (x, 0.16, 0.22))
    return 0.9


FURNITURE: tuple[Thing, ...] = (table, chair, chair, shelf, sofa, floor_lamp, plant, crates)
STORES: tuple[Thing, ...] = (crates, crates, barrel, barrel, shelf, chair)
OUTDOORS: tuple[Thing, ...] = (tree, tree, conifer, car, rock, rock, bench, crates, barrel)
