from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lotus2_ros.geometry.cloud import cloud_fields, nav_cloud, organized_cloud

shapes = st.tuples(st.integers(1, 6), st.integers(1, 6))
coordinates = st.floats(-100, 100, width=32) | st.sampled_from(
    [np.float32(np.nan), np.float32(np.inf), np.float32(-np.inf)]
)


@given(st.data(), shapes, st.booleans(), st.booleans(), st.booleans())
def test_a_cloud_is_read_back_as_it_was_written(data, shape, with_rgb, with_normals, with_keep):
    points = data.draw(hnp.arrays(np.float32, (*shape, 3), elements=coordinates))
    rgb = data.draw(hnp.arrays(np.uint8, (*shape, 3))) if with_rgb else None
    normals = (
        data.draw(hnp.arrays(np.float32, (*shape, 3), elements=st.floats(-1, 1, width=32)))
        if with_normals
        else None
    )
    keep = data.draw(hnp.arrays(np.bool_, shape)) if with_keep else None
    cloud, fields, step = organized_cloud(points, rgb, normals, keep=keep)

    assert (fields, step) == cloud_fields(rgb=with_rgb, normals=with_normals)
    assert cloud.size == shape[0] * shape[1] * step
    layout = np.dtype(
        {
            'names': [name for name, _, _ in fields],
            'offsets': [offset for _, offset, _ in fields],
            'formats': ['<u4' if name == 'rgb' else '<f4' for name, _, _ in fields],
            'itemsize': step,
        }
    )
    table = cloud.view(layout).reshape(shape)
    valid = np.isfinite(points).all(axis=-1)
    if keep is not None:
        valid &= keep
    for axis, name in enumerate('xyz'):
        np.testing.assert_array_equal(table[name][valid], points[..., axis][valid])
        assert np.isnan(table[name][~valid]).all()
        if normals is not None:
            np.testing.assert_array_equal(table[f'normal_{name}'][valid], normals[valid][:, axis])
            assert np.isnan(table[f'normal_{name}'][~valid]).all()
    if rgb is not None:
        red, green, blue = np.moveaxis(rgb.astype(np.uint32), -1, 0)
        np.testing.assert_array_equal(table['rgb'], red << 16 | green << 8 | blue)


def test_a_message_buffer_is_filled_in_place():
    points = np.ones((2, 3, 3), dtype=np.float32)
    buffer = np.full(2 * 3 * 12, 255, dtype=np.uint8)
    cloud = organized_cloud(points, out=buffer)
    assert cloud.data is buffer
    np.testing.assert_array_equal(buffer.view('<f4'), np.ones(18))


def test_parts_that_do_not_fit_are_refused():
    points = np.ones((2, 3, 3), dtype=np.float32)
    with pytest.raises(ValueError, match='rgb'):
        organized_cloud(points, np.zeros((2, 2, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match='bytes'):
        organized_cloud(points, out=np.zeros(4, dtype=np.uint8))


@given(st.data(), shapes, st.integers(1, 4))
def test_the_nav_cloud_is_every_nth_finite_point(data, shape, stride):
    points = data.draw(hnp.arrays(np.float32, (*shape, 3), elements=coordinates))
    keep = data.draw(hnp.arrays(np.bool_, shape))
    expected = [
        points[row, column]
        for row in range(0, shape[0], stride)
        for column in range(0, shape[1], stride)
        if np.isfinite(points[row, column]).all() and keep[row, column]
    ]
    cloud = nav_cloud(points, stride, keep=keep)
    assert cloud.flags.c_contiguous
    assert cloud.dtype == np.float32
    np.testing.assert_array_equal(cloud, np.reshape(expected, (-1, 3)))
