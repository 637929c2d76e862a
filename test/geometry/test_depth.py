from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lotus2_ros.geometry.depth import depth_to_millimetres, disparity_to_depth
from lotus2_ros.geometry.edges import edge_mask

any_float32 = st.floats(width=32, allow_nan=True, allow_infinity=True)
images = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8)


def reference_depth(d: float, scale: float, shift: float, low: float, high: float) -> float:
    inverse = np.float32(np.float32(d) * np.float32(scale)) + np.float32(shift)
    if np.isnan(inverse):
        return np.nan
    if inverse <= 0:
        return np.inf
    z = np.float32(1.0) / inverse
    if z > high:
        return np.inf
    return np.nan if z < low or z == 0 else float(z)


@given(
    hnp.arrays(np.float32, images, elements=any_float32),
    st.floats(0.001, 100.0),
    st.floats(-2.0, 2.0),
    st.floats(0.0, 1.0),
    st.floats(1.5, 1000.0),
)
def test_every_pixel_follows_the_rule(disparity, scale, shift, low, high):
    before = disparity.copy()
    with np.errstate(all='ignore'):
        depth = disparity_to_depth(
            disparity, scale=scale, shift=shift, min_range=low, max_range=high
        )
        expected = [reference_depth(d, scale, shift, low, high) for d in disparity.flat]
    assert depth.dtype == np.float32
    assert depth.shape == disparity.shape
    np.testing.assert_allclose(depth.reshape(-1), expected, rtol=1e-6)
    np.testing.assert_array_equal(disparity, before)


@given(hnp.arrays(np.float32, images, elements=any_float32), st.floats(0.001, 100.0))
def test_depth_is_positive_or_marked_invalid_never_zero(disparity, scale):
    with np.errstate(all='ignore'):
        depth = disparity_to_depth(disparity, scale=scale, shift=0.1, min_range=0, max_range=50)
    finite = depth[np.isfinite(depth)]
    assert (finite > 0).all()
    assert (finite <= 50).all()
    assert not np.isneginf(depth).any()


def test_depth_is_that_of_the_formula():
    disparity = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    depth = disparity_to_depth(disparity, scale=2.0, shift=0.1, min_range=0.1, max_range=40.0)
    np.testing.assert_allclose(depth, [[10.0, 1 / 1.1, 1 / 2.1]], rtol=1e-6)


@given(hnp.arrays(np.float32, images, elements=any_float32))
def test_millimetres_are_the_rounded_depth_or_zero(depth):
    millimetres = depth_to_millimetres(depth)
    assert millimetres.dtype == np.uint16
    for z, mm in zip(depth.flat, millimetres.flat, strict=True):
        product = np.float32(z) * np.float32(1000) if np.isfinite(z) and abs(z) < 1e6 else -1.0
        expected = np.rint(product)
        assert mm == (expected if 0 <= expected <= 65535 else 0)


depths = st.one_of(
    st.floats(0.125, 50.0, width=32),
    st.sampled_from([np.float32(np.nan), np.float32(np.inf)]),
)


@given(hnp.arrays(np.float32, images, elements=depths), st.floats(0.01, 2.0))
def test_edges_are_pixels_with_a_jump_to_one_of_four_neighbours(depth, threshold):
    factor = np.float32(1.0 + threshold)
    expected = np.zeros(depth.shape, dtype=bool)
    height, width = depth.shape
    for row in range(height):
        for column in range(width):
            for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                r, c = row + dr, column + dc
                if not (0 <= r < height and 0 <= c < width):
                    continue
                a, b = depth[row, column], depth[r, c]
                if np.isnan(a) or np.isnan(b) or (np.isinf(a) and np.isinf(b)):
                    continue
                expected[row, column] |= max(a, b) > factor * min(a, b)
    np.testing.assert_array_equal(edge_mask(depth, threshold), expected)


def test_the_edge_of_a_box_is_marked_on_both_sides_and_its_faces_are_not():
    depth = np.full((5, 8), 4.0, dtype=np.float32)
    depth[:, :4] = 2.0
    mask = edge_mask(depth, 0.1)
    assert mask[:, 3:5].all()
    assert mask.sum() == 10


def test_sky_is_an_edge_and_a_hole_is_not():
    depth = np.full((1, 5), 3.0, dtype=np.float32)
    depth[0, 0], depth[0, 4] = np.inf, np.nan
    assert edge_mask(depth, 0.1).tolist() == [[True, True, False, False, False]]


def test_threshold_zero_keeps_everything():
    depth = np.array([[1.0, 9.0]], dtype=np.float32)
    assert not edge_mask(depth, 0.0).any()
