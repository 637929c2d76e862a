from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus2_ros.training.data.fitting import checked, fitted, mirrored
from lotus2_ros.training.data.sample import BadSample, Record


def record(height: int, width: int, seed: int = 0) -> Record:
    draws = np.random.default_rng(seed)
    normals = draws.standard_normal((height, width, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return Record(
        name='a record',
        image=draws.integers(0, 256, (height, width, 3), dtype=np.uint8),
        depth=draws.uniform(1, 9, (height, width)).astype(np.float32),
        valid=draws.random((height, width)) < 0.5,
        normals=normals.astype(np.float32),
        surface=draws.random((height, width)) < 0.5,
    )


def parts(one: Record) -> dict[str, np.ndarray]:
    return {key: value for key, value in vars(one).items() if key != 'name'}


@settings(max_examples=40, deadline=None)
@given(st.integers(5, 90), st.integers(5, 90), st.integers(1, 5), st.integers(1, 5))
def test_every_part_has_the_size_and_only_values_that_were_there(height, width, rows, columns):
    old = record(height, width)
    new = fitted(old, 16 * rows, 16 * columns)
    for name, values in parts(new).items():
        assert values.shape[:2] == (16 * rows, 16 * columns), name
        assert values.dtype == getattr(old, name).dtype, name
    assert set(new.depth.ravel()) <= set(old.depth.ravel())
    np.testing.assert_allclose(np.linalg.norm(new.normals, axis=-1), 1, atol=1e-5)


def test_halving_takes_image_means_and_nearest_depth():
    old = record(64, 96)
    new = fitted(old, 32, 48)
    blocks = old.image.reshape(32, 2, 48, 2, 3).mean((1, 3))
    assert np.abs(new.image - blocks).max() <= 0.75
    assert np.array_equal(new.depth, old.depth[1::2, 1::2])
    assert np.array_equal(new.valid, old.valid[1::2, 1::2])
    assert np.array_equal(new.surface, old.surface[1::2, 1::2])
    np.testing.assert_allclose(new.normals, old.normals[1::2, 1::2], atol=1e-6)


def test_a_quarter_is_the_mean_of_all_that_it_covers():
    old = record(64, 128)
    new = fitted(old, 16, 32)
    blocks = old.image.reshape(16, 4, 32, 4, 3).mean((1, 3))
    assert np.abs(new.image - blocks).max() <= 0.75


def test_a_wider_picture_is_cut_around_its_centre():
    old = record(32, 64)
    new = fitted(old, 32, 32)
    for name, values in parts(new).items():
        np.testing.assert_allclose(values, getattr(old, name)[:, 16:48], atol=1e-6, err_msg=name)


def test_image_and_depth_stay_together():
    ramp = np.linspace(0, 255, 400)
    old = Record(
        'ramp',
        np.repeat((ramp * np.ones((300, 1)))[..., None], 3, -1).round().astype(np.uint8),
        (ramp * np.ones((300, 1))).astype(np.float32) + 1,
        np.ones((300, 400), bool),
    )
    for height, width in ((96, 128), (160, 160), (480, 640), (48, 208)):
        new = fitted(old, height, width)
        assert np.abs(new.image[..., 0] - (new.depth - 1)).max() < 3


def test_the_right_size_is_left_alone():
    old = record(48, 64)
    assert fitted(old, 48, 64) is old


def test_mirrored_twice_is_the_same():
    old = record(32, 48)
    for name, values in parts(mirrored(mirrored(old))).items():
        assert np.array_equal(values, getattr(old, name)), name


def test_a_mirrored_normal_has_the_opposite_x():
    old = record(4, 6)
    new = mirrored(old)
    assert np.array_equal(new.normals[1, 0], old.normals[1, 5] * np.float32((-1, 1, 1)))
    assert np.array_equal(new.image, old.image[:, ::-1])
    assert np.array_equal(new.depth, old.depth[:, ::-1])
    assert np.array_equal(new.valid, old.valid[:, ::-1])
    assert np.array_equal(new.surface, old.surface[:, ::-1])


@pytest.mark.parametrize('part', ['depth', 'valid', 'normals', 'surface'])
def test_parts_of_other_sizes_are_a_bad_sample(part):
    old = record(32, 48)
    wrong = Record(**{**vars(old), part: getattr(old, part)[1:]})
    assert checked(old) is old
    with pytest.raises(BadSample, match=f'a record: size mismatch: {part}'):
        checked(wrong)
