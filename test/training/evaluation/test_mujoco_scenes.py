from __future__ import annotations

import os

import numpy as np
import pytest

from lotus2_ros.training.evaluation.benchmark import Sample


@pytest.fixture(scope='module')
def scenes():
    if 'DISPLAY' not in os.environ:
        os.environ.setdefault('MUJOCO_GL', 'egl')
    pytest.importorskip('mujoco', reason='MuJoCo is not installed', exc_type=Exception)
    from lotus2_ros.training.evaluation import mujoco_scenes
    from lotus2_ros.training.evaluation.errors import EvaluationError

    try:
        mujoco_scenes.render_scene(0, 24, 32)
    except EvaluationError as error:
        pytest.skip(str(error))
    return mujoco_scenes


@pytest.fixture(scope='module', params=range(4))
def shot(scenes, request):
    """One of each kind of place."""
    return scenes.render_scene(request.param, 120, 160)


def test_depth_by_ray_is_the_renderers_depth(shot):
    seen = np.isfinite(shot.depth)
    assert seen.mean() > 0.5
    difference = np.abs(shot.raster_depth - shot.depth)[seen] / shot.depth[seen]
    # The rasteriser's ellipsoids and edges differ a little; where surfaces are flat nothing does.
    assert np.median(difference) < 1e-6
    assert np.mean(difference > 0.01) < 0.02
    assert shot.image.std() > 10


def test_normals_face_the_camera_and_agree_with_the_depths_own_slope(shot):
    x = (np.arange(160) + 0.5 - 80) / shot.focal
    y = (np.arange(120) + 0.5 - 60) / shot.focal
    rays = np.stack([*np.meshgrid(x, y), np.ones((120, 160))], -1)
    seen = np.isfinite(shot.depth)
    np.testing.assert_allclose(np.linalg.norm(shot.normals[seen], axis=-1), 1, atol=1e-5)
    assert ((shot.normals * rays).sum(-1)[seen] < 1e-6).all()
    points = np.where(seen, shot.depth, 0)[..., None] * rays
    across = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    slope = np.cross(down, across)
    slope /= np.linalg.norm(slope, axis=-1, keepdims=True).clip(1e-12)
    agreement = (slope * shot.normals[1:-1, 1:-1]).sum(-1)[seen[1:-1, 1:-1]]
    assert np.median(agreement) > 0.9999  # edges are in it, so not all agree
    assert np.mean(agreement > 0.99) > 0.7


def test_a_scene_is_decided_by_its_number(scenes):
    first, second, other = (scenes.render_scene(index, 24, 32) for index in (5, 5, 9))
    np.testing.assert_array_equal(first.depth, second.depth)
    np.testing.assert_array_equal(first.image, second.image)
    assert (first.depth != other.depth).any()


def test_the_benchmark_gives_usable_samples(scenes):
    samples = list(scenes.MujocoScenes(4, 48, 64).samples())
    assert [sample.name.split('_')[0] for sample in samples] == ['room', 'yard', 'store', 'table']
    for sample in samples:
        assert isinstance(sample, Sample)
        assert sample.valid.mean() > 0.3
        assert sample.depth[sample.valid].max() <= 20
        assert sample.known.all()
    assert len(scenes.MujocoScenes()) >= 100
