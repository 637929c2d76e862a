from __future__ import annotations

import cv2
import numpy as np
import pytest

from lotus2_ros.training.evaluation.benchmark import Sample, Skipped
from lotus2_ros.training.evaluation.depth_alignment import DepthRange
from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.training.evaluation.pairs import PairFolder, PairRules

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
DEPTH = np.random.default_rng(1).uniform(0.5, 9, (20, 30)).astype(np.float32)
NORMALS = np.zeros((20, 30, 3), np.float32) + np.array([0, 0, 1], np.float32)


def write_image(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    path.write_bytes(cv2.imencode(path.suffix, np.ascontiguousarray(stored))[1].tobytes())


def write_array(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def only(folder, rules=None):
    (sample,) = PairFolder(folder, rules).samples()
    assert isinstance(sample, Sample), sample
    return sample


def test_files_side_by_side(tmp_path):
    write_image(tmp_path / 'a.png', IMAGE)
    write_array(tmp_path / 'a_depth.npy', DEPTH)
    write_array(tmp_path / 'a_normal.npy', NORMALS)
    write_array(tmp_path / 'a_mask.npy', DEPTH > 5)
    sample = only(tmp_path)
    np.testing.assert_array_equal(sample.image, IMAGE)
    np.testing.assert_array_equal(sample.depth, DEPTH)
    np.testing.assert_array_equal(sample.valid, DEPTH > 5)
    np.testing.assert_array_equal(sample.surface, DEPTH > 5)
    np.testing.assert_array_equal(sample.normals, -NORMALS)


@pytest.mark.parametrize('pictures', ['image', 'rgb', 'images'])
def test_files_in_folders_of_their_own(tmp_path, pictures):
    write_image(tmp_path / 'x' / pictures / 'a.png', IMAGE)
    write_image(tmp_path / 'x' / 'depth' / 'a.png', (DEPTH * 1000).astype(np.uint16))
    sample = only(tmp_path)
    np.testing.assert_allclose(sample.depth, DEPTH, atol=1e-3)
    assert sample.normals is None


def test_units_range_and_direction_can_be_said(tmp_path):
    write_image(tmp_path / 'a.png', IMAGE)
    write_image(tmp_path / 'a_depth.png', (DEPTH * 256).astype(np.uint16))
    write_array(tmp_path / 'a_normal.npy', NORMALS)
    rules = PairRules(256.0, DepthRange(1.0, 5.0), outward=False)
    sample = only(tmp_path, rules)
    np.testing.assert_allclose(sample.depth, DEPTH, atol=1 / 256)
    assert sample.depth[sample.valid].max() < 5
    assert 0 < sample.valid.sum() < sample.valid.size
    np.testing.assert_array_equal(sample.normals, NORMALS)


def test_pictures_without_truth_and_broken_files_are_named(tmp_path):
    write_image(tmp_path / 'a.png', IMAGE)
    write_array(tmp_path / 'a_depth.npy', DEPTH)
    write_image(tmp_path / 'b.png', IMAGE)
    write_image(tmp_path / 'c.png', IMAGE)
    (tmp_path / 'c_depth.npy').write_bytes(b'not an array')
    write_image(tmp_path / 'd.png', IMAGE)
    write_array(tmp_path / 'd_depth.npy', np.full((20, 30), np.nan, np.float32))
    write_image(tmp_path / 'e.png', IMAGE)
    write_array(tmp_path / 'e_depth.npy', DEPTH)
    write_array(tmp_path / 'e_mask.npy', np.ones((4, 4), bool))
    entries = list(PairFolder(tmp_path).samples())
    assert [entry.name for entry in entries] == ['a.png', 'b.png', 'c.png', 'd.png', 'e.png']
    assert isinstance(entries[0], Sample)
    reasons = [entry.reason for entry in entries if isinstance(entry, Skipped)]
    expected = ['no depth and no normals', 'not a NumPy file', 'no pixel', 'a mask of']
    for reason, part in zip(reasons, expected, strict=True):
        assert part in reason


def test_truth_may_have_another_size_than_the_picture(tmp_path):
    write_image(tmp_path / 'a.png', IMAGE)
    write_array(tmp_path / 'a_depth.npy', DEPTH[:10, :15])
    assert only(tmp_path).truth_size == (10, 15)


def test_pickled_arrays_are_not_loaded(tmp_path):
    write_image(tmp_path / 'a.png', IMAGE)
    np.save(tmp_path / 'a_depth.npy', np.array([{'a': 1}], dtype=object), allow_pickle=True)
    (entry,) = PairFolder(tmp_path).samples()
    assert 'not a NumPy file of numbers' in entry.reason


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match='no such folder'):
        PairFolder(tmp_path / 'nowhere')
    write_image(tmp_path / 'a.png', IMAGE)
    with pytest.raises(EvaluationError, match='no picture with'):
        PairFolder(tmp_path)
