"""Shapes of people, standing and in mid-step."""

from __future__ import annotations

import math

from lotus2_ros.simulation.model_writer import ModelWriter


def person(model: ModelWriter, *, step_deg: float = 0.0) -> float:
    """A person who stands on z = 0 and looks along x.

    Args:
        model: to build in.
        step_deg: angle of each leg to the vertical, one forward, one back; arms swing against them.

    Returns:
        The radius taken up on the floor [m].
    """
    rng = model.rng
    size = rng.uniform(0.92, 1.08)
    skin = model.surface('plaster', shine=0.1)
    shirt, trousers = model.surface('fabric', shine=0), model.surface('fabric', shine=0)
    shoes, hair = model.surface('paint', shine=0.4), model.surface('wood', shine=0.1)
    hip, shoulder = 0.86 * size, 1.42 * size
    for side, swing in ((-1, step_deg), (1, -step_deg)):
        # A body turned about y by a positive angle leans its lower end back.
        with model.group((0, 0.1 * side, hip), 0.0):
            model.solid('capsule', trousers, (0.075, 0.36 * size), *_hanging(0.39 * size, swing))
            foot, _ = _hanging(0.8 * size, swing)
            model.solid('ellipsoid', shoes, (0.13, 0.05, 0.05), (foot[0] + 0.05, 0, foot[2]))
        with model.group((0, 0.24 * side, shoulder), 0.0):
            model.solid('capsule', shirt, (0.05, 0.13), *_hanging(0.16, -0.8 * swing))
            model.solid('capsule', skin, (0.04, 0.13), *_hanging(0.44, -0.8 * swing))
    middle = 0.5 * (hip + shoulder)
    half = 0.5 * (shoulder - hip)
    model.solid('ellipsoid', shirt, (0.13, 0.2, half + 0.1), (0, 0, middle))
    model.solid('capsule', shirt, (0.09, 0.12), (0, 0, shoulder - 0.02), (90, 0, 0))
    model.solid('cylinder', skin, (0.05, 0.06), (0, 0, shoulder + 0.1))
    model.solid('ellipsoid', skin, (0.1, 0.085, 0.12), (0.01, 0, shoulder + 0.24 * size))
    model.solid('ellipsoid', hair, (0.105, 0.09, 0.09), (-0.02, 0, shoulder + 0.28 * size))
    return 0.4


def _hanging(
    length: float, swing_deg: float
) -> tuple[tuple[float, float, float], tuple[float, ...]]:
    """Middle and turn of a limb that hangs from the origin, its middle `length` away."""
    angle = math.radians(swing_deg)
    at = (-length * math.sin(angle), 0.0, -length * math.cos(angle))
    return at, (0.0, swing_deg, 0.0)
