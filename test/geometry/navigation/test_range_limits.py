from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from navigation_scenes import CAMERA

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.limits import apply_limits

images = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8)
any_depth = st.one_of(
    st.floats(-1.0, 60.0, width=32),
    st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 0.5, 10.0]),
)


def expected_pixel(z: float, length: float, low: float, high: float, sky: bool):
    """(cause, what the pixel becomes)."""
    if sky:
        return 'sky', np.inf
    if np.isneginf(z):
        return 'near', np.nan
    if np.isnan(z) or z <= 0.0:
        return 'invalid', np.nan
    distance = np.float32(z) * np.float32(length)
    if distance > high:
        return 'far', np.inf
    if distance < low:
        return 'near', np.nan
    return 'kept', z


@settings(deadline=None)
@given(st.data(), st.floats(0.0, 5.0), st.floats(5.5, 50.0), st.booleans(), st.booleans())
def test_every_pixel_follows_the_rule_and_is_counted_once(data, low, high, with_sky, along):
    depth = data.draw(images.flatmap(lambda s: hnp.arrays(np.float32, s, elements=any_depth)))
    sky = data.draw(hnp.arrays(np.bool_, depth.shape)) if with_sky else None
    height, width = depth.shape
    camera = Intrinsics(5.0, 4.0, 2.0, 3.0, width, height)
    before = depth.copy()
    result = apply_limits(depth, low, high, sky, along_ray=camera if along else None)
    causes = dict.fromkeys(result.counts._fields, 0)
    for (row, column), z in np.ndenumerate(depth):
        x, y = (column - 2.0) / 5.0, (row - 3.0) / 4.0
        length = np.sqrt(np.float32(x) ** 2 + np.float32(y) ** 2 + np.float32(1)) if along else 1.0
        is_sky = sky is not None and bool(sky[row, column])
        cause, value = expected_pixel(float(z), float(length), low, high, is_sky)
        causes[cause] += 1
        np.testing.assert_equal(float(result.depth[row, column]), float(value))
    assert result.counts._asdict() == causes
    assert result.depth.dtype == np.float32
    np.testing.assert_array_equal(depth, before)


def test_a_wall_is_cut_square_by_depth_and_round_by_distance():
    wall = np.full((480, 640), 4.9, dtype=np.float32)
    by_depth = apply_limits(wall, 0.2, 5.0)
    by_distance = apply_limits(wall, 0.2, 5.0, along_ray=CAMERA)
    assert by_depth.counts.kept == wall.size
    assert np.isinf(by_distance.depth[0, 0])
    assert by_distance.depth[240, 320] == np.float32(4.9)
    assert by_distance.counts.far + by_distance.counts.kept == wall.size


def test_sky_clears_even_where_the_depth_is_unknown():
    depth = np.array([[np.nan, 1.0]], dtype=np.float32)
    assert np.isinf(apply_limits(depth, 0.2, 5.0, np.array([[True, True]])).depth).all()


def test_unusable_arguments_are_named():
    depth = np.ones((4, 4), dtype=np.float32)
    with pytest.raises(ValueError, match='below max_range'):
        apply_limits(depth, 5.0, 5.0)
    with pytest.raises(ValueError, match='sky mask'):
        apply_limits(depth, 0.1, 5.0, np.zeros((2, 2), dtype=bool))
    with pytest.raises(ValueError, match='640x480'):
        apply_limits(depth, 0.1, 5.0, along_ray=CAMERA)
