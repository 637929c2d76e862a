from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus2_ros.training.data.sample import BadSample, Record
from lotus2_ros.training.data.supervision import filled, supervision
from lotus2_ros.training.targets import disparity_map

IMAGE = np.zeros((48, 64, 3), np.uint8)
ALL = np.ones((48, 64), bool)


def depth_record(depth, valid=ALL):
    return Record('one', IMAGE, np.asarray(depth, np.float32), valid)


def random_depth(seed=0):
    return np.random.default_rng(seed).uniform(1, 10, (48, 64)).astype(np.float32)


def test_dense_depth_becomes_disparity_between_its_quantiles():
    depth = random_depth()
    target, mask = supervision(depth_record(depth), 'depth')
    low, high = np.quantile(1 / depth, [0.02, 0.98])
    expected = np.clip((1 / depth - low) / (high - low), 0, 1) * 2 - 1
    assert target.shape == (3, 48, 64)
    assert target.dtype == torch.float32
    for channel in target.numpy():
        np.testing.assert_allclose(channel, expected, atol=1e-5)
    assert mask.shape == (1, 48, 64)
    assert mask.all()
    # 2 % lie at each end.
    assert (target[0] == 1).float().mean().item() == pytest.approx(0.02, abs=0.002)
    assert (target[0] == -1).float().mean().item() == pytest.approx(0.02, abs=0.002)


def test_it_agrees_with_the_target_of_synthetic_scenes_where_all_is_known():
    rows, columns = np.indices((240, 320))
    depth = (2 + 0.01 * rows + 0.004 * columns).astype(np.float32)
    known = np.ones(depth.shape, bool)
    image = np.zeros((*depth.shape, 3), np.uint8)
    target, _ = supervision(Record('one', image, depth, known), 'depth')
    other = disparity_map(torch.from_numpy(1 / depth)[None, None].float())[0]
    assert (target - other).abs().max() < 0.03


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 100))
def test_the_target_does_not_depend_on_the_unit_of_depth(scale):
    first, _ = supervision(depth_record(random_depth()), 'depth')
    second, _ = supervision(depth_record(random_depth() * np.float32(scale)), 'depth')
    torch.testing.assert_close(first, second, atol=1e-4, rtol=0)


def test_quantiles_are_those_of_known_pixels_only():
    depth, valid = random_depth(), ALL.copy()
    expected, _ = supervision(depth_record(depth), 'depth')
    wide = np.concatenate([depth, np.full((48, 40), 0.001, np.float32)], 1)
    known = np.concatenate([valid, np.zeros((48, 40), bool)], 1)
    record = Record('one', np.zeros((48, 104, 3), np.uint8), wide, known)
    target, mask = supervision(record, 'depth')
    torch.testing.assert_close(target[:, :, :64], expected)
    assert np.array_equal(mask[0].numpy(), known)


def test_beyond_range_is_farthest_known_and_not_counted():
    depth = random_depth()
    expected, _ = supervision(depth_record(depth[12:], ALL[12:]), 'depth')
    sky = depth.copy()
    sky[:12] = np.inf
    target, mask = supervision(depth_record(sky), 'depth')
    assert (target[:, :12] == -1).all()
    assert mask.all()
    torch.testing.assert_close(target[:, 12:], expected)


@pytest.mark.parametrize('nothing', [np.nan, 0, -1, np.inf])
def test_what_stands_in_unknown_pixels_does_not_matter(nothing):
    depth, valid = random_depth(), np.random.default_rng(1).random((48, 64)) < 0.3
    first, mask = supervision(depth_record(np.where(valid, depth, 5), valid), 'depth')
    second, _ = supervision(depth_record(np.where(valid, depth, nothing), valid), 'depth')
    assert torch.equal(first, second)
    assert torch.isfinite(first).all()
    assert np.array_equal(mask[0].numpy(), valid)


def test_sparse_depth_is_filled_with_the_nearest_known_value():
    draws = np.random.default_rng(3)
    valid = draws.random((48, 64)) < 0.03
    values = draws.random((48, 64, 2))
    result = filled(values, valid)
    points = np.argwhere(valid)
    for row, column in draws.integers((0, 0), (48, 64), (200, 2)):
        distance = np.hypot(*(points - (row, column)).T)
        # The distance transform is approximate: nearly nearest ones count.
        near = points[distance <= distance.min() * 1.05 + 1e-9]
        assert any((result[row, column] == values[r, c]).all() for r, c in near)


def test_normals_are_kept_where_known_and_filled_elsewhere():
    normals = np.zeros((48, 64, 3), np.float32)
    normals[:, :32] = (0, 0, 1)
    normals[:, 32:] = (-1, 0, 0)
    surface = ALL.copy()
    surface[:, 60:] = False
    normals[:, 60:] = np.nan
    record = Record('one', IMAGE, random_depth(), ALL, normals, surface)
    target, mask = supervision(record, 'normals')
    assert (target[:, :, 0] == torch.tensor([0.0, 0, 1])[:, None]).all()
    assert (target[:, :, 63] == torch.tensor([-1.0, 0, 0])[:, None]).all()
    assert np.array_equal(mask[0].numpy(), surface)


@pytest.mark.parametrize(
    ('depth', 'valid', 'reason'),
    [
        (np.full((48, 64), 3.0), ALL, r'flat depth: everything is 3 m'),
        (np.where(np.indices((48, 64))[0] == 5, np.nan, 2.0), ALL, 'NaN or non-positive'),
        (random_depth() - 5, ALL, 'NaN or non-positive'),
        (random_depth(), ~ALL, 'empty depth: 0'),
        (np.full((48, 64), np.inf), ALL, 'empty depth: 0'),
    ],
    ids=['flat', 'NaN', 'negative', 'empty', 'sky only'],
)
def test_depth_that_teaches_nothing_is_a_bad_sample(depth, valid, reason):
    with pytest.raises(BadSample, match=reason):
        supervision(depth_record(depth, valid), 'depth')


def test_normals_that_teach_nothing_are_a_bad_sample():
    normals = np.zeros((48, 64, 3), np.float32)
    with pytest.raises(BadSample, match='no normals'):
        supervision(depth_record(random_depth()), 'normals')
    with pytest.raises(BadSample, match='empty normals'):
        supervision(Record('one', IMAGE, random_depth(), ALL, normals, ~ALL), 'normals')
    normals[3, 3] = np.nan
    with pytest.raises(BadSample, match='NaN normals'):
        supervision(Record('one', IMAGE, random_depth(), ALL, normals, ALL), 'normals')
