"""Meshes for MuJoCo models: turned vessels, rings, roofs, stones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lotus2_ros.types import AnyArray

_SEGMENTS = 40


def turned(profile: Sequence[tuple[float, float]]) -> tuple[AnyArray, AnyArray]:
    """A body of revolution about z.

    Args:
        profile: radius and height, from the bottom's middle over the outside to the top or, for a
            vessel, down again on the inside; first and last radius are 0.

    Returns:
        (V, 3) vertices and (F, 3) faces, outside counter-clockwise.
    """
    angles = np.arange(_SEGMENTS) * (2 * np.pi / _SEGMENTS)
    rings = [(r, z) for r, z in profile if r > 0]
    vertices = [(r * np.cos(a), r * np.sin(a), z) for r, z in rings for a in angles]
    bottom, top = len(vertices), len(vertices) + 1
    vertices += [(0.0, 0.0, profile[0][1]), (0.0, 0.0, profile[-1][1])]
    faces = []
    for k in range(_SEGMENTS):
        after = (k + 1) % _SEGMENTS
        faces.append((bottom, after, k))
        last = (len(rings) - 1) * _SEGMENTS
        faces.append((top, last + k, last + after))
        for ring in range(len(rings) - 1):
            a, b = ring * _SEGMENTS + k, ring * _SEGMENTS + after
            c, d = a + _SEGMENTS, b + _SEGMENTS
            faces += [(a, b, d), (a, d, c)]
    return np.array(vertices), np.array(faces)


def ring(radius: float, thickness: float) -> tuple[AnyArray, AnyArray]:
    """A torus about z; radius of its middle line and of its tube."""
    small = 16
    u = np.arange(_SEGMENTS) * (2 * np.pi / _SEGMENTS)
    v = np.arange(small) * (2 * np.pi / small)
    out = radius + thickness * np.cos(v)
    vertices = np.stack(
        [
            np.cos(u)[:, None] * out,
            np.sin(u)[:, None] * out,
            np.broadcast_to(thickness * np.sin(v), (_SEGMENTS, small)),
        ],
        -1,
    ).reshape(-1, 3)
    i, j = np.mgrid[0:_SEGMENTS, 0:small]
    a, b = i * small + j, (i + 1) % _SEGMENTS * small + j
    c, d = i * small + (j + 1) % small, (i + 1) % _SEGMENTS * small + (j + 1) % small
    faces = np.concatenate([np.stack([a, b, d], -1), np.stack([a, d, c], -1)]).reshape(-1, 3)
    return vertices, faces


def roof(width: float, depth: float, height: float) -> AnyArray:
    """Corners (6, 3) of a gable roof, its ridge along y; half width and half depth."""
    sides = [(x, y, 0.0) for x in (-width, width) for y in (-depth, depth)]
    return np.array([*sides, (0.0, -depth, height), (0.0, depth, height)])


def stone(rng: np.random.Generator, size: float) -> AnyArray:
    """Points (24, 3) whose hull is an angular stone."""
    points = rng.normal(size=(24, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points * rng.uniform(0.7, 1.0, (24, 1)) * size * rng.uniform(0.5, 1, 3))


def wedge(width: float, length: float, low: float, high: float) -> AnyArray:
    """Corners (8, 3) of a block that narrows towards its top, such as a car's cabin."""
    bottom = [(x * length, y * width, low) for x in (-1, 1) for y in (-1, 1)]
    top = [(x * length * 0.6, y * width * 0.82, high) for x in (-1, 1) for y in (-1, 1)]
    return np.array(bottom + top)
