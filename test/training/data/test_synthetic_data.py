from __future__ import annotations

import pickle

import numpy as np
import pytest

from lotus2_ros.training.data.sample import Record
from lotus2_ros.training.data.synthetic import Synthetic

SIZE = (48, 64)


@pytest.fixture(scope='module')
def dataset():
    return Synthetic(SIZE, 40, seed=3, textures=4)


@pytest.fixture(scope='module')
def records(dataset):
    return [dataset.read(index) for index in range(6)]


def same(first: Record, second: Record) -> bool:
    return all(
        np.array_equal(getattr(first, part), getattr(second, part))
        for part in ('image', 'depth', 'valid', 'normals', 'surface')
    )


def test_a_scene_depends_on_its_number_alone(dataset, records):
    assert same(dataset.read(4), records[4])
    assert same(pickle.loads(pickle.dumps(dataset)).read(2), records[2])  # noqa: S301
    assert not same(records[0], records[1])


def test_scene_i_is_rendered_from_seed_plus_i(records):
    """Of the textures the first seed decides, of the scene the sum."""
    other = Synthetic(SIZE, 40, seed=4, textures=4)
    assert np.array_equal(other.read(0).depth, records[1].depth)


def test_depth_is_known_everywhere_and_normals_are_unit_vectors(records):
    for record in records:
        assert record.image.shape == (*SIZE, 3)
        assert record.image.dtype == np.uint8
        assert record.valid.all()
        assert np.isfinite(record.depth[record.surface]).all()
        np.testing.assert_allclose(np.linalg.norm(record.normals, axis=-1), 1, atol=1e-4)


def test_the_sky_is_beyond_range(dataset):
    scenes = (dataset.read(index) for index in range(len(dataset)))
    outdoors = next(record for record in scenes if not record.surface.all())
    assert outdoors.valid.all()
    assert np.isinf(outdoors.depth[~outdoors.surface]).all()


def test_a_scene_beyond_the_last_is_an_error(dataset):
    with pytest.raises(IndexError, match='scene 40 of 40'):
        dataset.read(40)
