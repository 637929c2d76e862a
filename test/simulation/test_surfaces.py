from __future__ import annotations

import numpy as np
import pytest

from lotus2_ros.simulation import meshes
from lotus2_ros.simulation.textures import KINDS, SIDE, draw_texture


def volume(vertices, faces):
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float(np.einsum('ij,ij->i', a, np.cross(b, c)).sum() / 6)


def test_turned_bodies_and_rings_are_closed_and_face_outwards():
    cylinder = meshes.turned([(0, 0), (1, 0), (1, 2), (0, 2)])
    assert volume(*cylinder) == pytest.approx(2 * np.pi, rel=0.01)
    assert volume(*meshes.ring(1.0, 0.2)) == pytest.approx(2 * np.pi**2 * 0.04, rel=0.04)
    for vertices, faces in (cylinder, meshes.ring(1.0, 0.2)):
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        there, back = ({tuple(edge) for edge in way.tolist()} for way in (edges, edges[:, ::-1]))
        assert there == back
        assert len(there) == len(edges)
        assert faces.max() < len(vertices)


@pytest.mark.parametrize('kind', KINDS)
def test_a_texture_is_decided_by_its_generator(kind):
    first, second, other = (draw_texture(kind, np.random.default_rng(s)) for s in (1, 1, 2))
    assert first.shape == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    assert first.std() > 1
