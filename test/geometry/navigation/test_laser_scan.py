from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from navigation_scenes import CAMERA, Scene, camera_to_level, render

from lotus2_ros.geometry.scan import ScanLayout, laser_scan

LAYOUT = ScanLayout.between(-0.5, 0.5, 101, range_min=0.2, range_max=6.0, low=0.1, high=0.8)
EMPTY = Scene()
POLE = Scene(poles=[(2.0, 0.0, 0.1, 1.5)])


def scan(scene: Scene, transform: np.ndarray, layout: ScanLayout = LAYOUT, **options):
    depth = render(scene, transform).astype(np.float32)
    return laser_scan(depth, CAMERA, transform, layout, **options)


def true_range_to_pole(angle: np.ndarray, x: float, y: float, radius: float) -> np.ndarray:
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    with np.errstate(invalid='ignore'):
        return along - np.sqrt(radius**2 - across**2)


@settings(deadline=None, max_examples=25)
@given(
    st.floats(0.8, 5.0), st.floats(-0.3, 0.3), st.floats(0.05, 0.4), st.floats(-10.0, 25.0),
    st.floats(-15.0, 15.0),
)  # fmt: skip
def test_beams_measure_a_pole_from_a_tilted_camera(distance, bearing, radius, pitch, roll):
    x, y = distance * math.cos(bearing), distance * math.sin(bearing)
    transform = camera_to_level(0.5, pitch, roll)
    ranges = scan(Scene(poles=[(x, y, radius, 0.7)]), transform).ranges
    angle = LAYOUT.angle_min + LAYOUT.angle_increment * np.arange(101)
    true = true_range_to_pole(angle, x, y, radius)
    half = 0.5 * LAYOUT.angle_increment
    # A beam is as wide as an increment: hold those to the truth that hit with all their width.
    sure = np.isfinite(true_range_to_pole(angle - half, x, y, radius))
    sure &= np.isfinite(true_range_to_pole(angle + half, x, y, radius))
    seen = sure & np.isfinite(ranges)
    if abs(pitch) < 10.0 and distance > 1.0:
        assert seen.sum() == sure.sum()
    ends = np.stack([true, *(true_range_to_pole(angle + s, x, y, radius) for s in (-half, half))])
    with np.errstate(invalid='ignore'):
        assert (ranges[seen] >= ends.min(axis=0)[seen] - 0.01).all()
        assert (ranges[seen] <= ends.max(axis=0)[seen] + 0.01).all()
    past = ~np.isfinite(true_range_to_pole(angle - half, x, y, radius))
    past &= ~np.isfinite(true_range_to_pole(angle + half, x, y, radius)) & ~sure
    assert not np.isfinite(
        ranges[past & (np.abs(angle - bearing) > radius / distance + half)]
    ).any()


def test_empty_space_is_clear_and_what_is_out_of_view_is_unknown():
    wide = ScanLayout.between(
        -math.pi, math.pi - 0.01, 629, range_min=0.2, range_max=6.0, low=0.1, high=0.8
    )
    ranges = scan(EMPTY, camera_to_level(0.5), wide).ranges
    angle = wide.angle_min + wide.angle_increment * np.arange(629)
    inside = np.abs(angle) < math.radians(34.0)
    outside = np.abs(angle) > math.radians(36.0)
    assert np.isposinf(ranges[inside]).all()
    assert np.isnan(ranges[outside]).all()


def test_the_floor_and_the_lintel_are_no_obstacles():
    lintel = Scene(boxes=[(3.0, 3.3, -9.0, 9.0, 1.2, 2.0)])
    assert scan(lintel, camera_to_level(0.5)).clear == 101


def test_a_beam_behind_an_obstacle_is_not_clear_and_beside_it_is():
    result = scan(POLE, camera_to_level(0.5))
    assert result.ranges[50] == pytest.approx(1.9, abs=0.01)
    assert np.isposinf(result.ranges[:40]).all()
    assert np.isposinf(result.ranges[61:]).all()
    assert result.hits + result.clear + result.unknown == 101
    assert 9 <= result.hits <= 12


def test_a_camera_over_the_band_clears_as_far_as_it_sees_the_floor():
    """From 1.5 m and 45 degrees down, the floor ends 4.7 m ahead: 6 m were not seen, 3 m were."""
    down = camera_to_level(1.5, 45.0)
    assert scan(EMPTY, down).unknown == 101
    near = ScanLayout.between(-0.3, 0.3, 61, range_min=0.2, range_max=3.0, low=0.1, high=0.8)
    assert scan(EMPTY, down, near).clear == 61


def test_a_table_over_the_band_hides_what_is_behind_and_under_it():
    table = Scene(boxes=[(1.0, 3.0, -3.0, 3.0, 1.0, 1.1)])
    transform = camera_to_level(1.6, 30.0)
    assert scan(table, transform).clear == 0


def test_unknown_depth_is_not_clear():
    transform = camera_to_level(0.5)
    depth = render(EMPTY, transform).astype(np.float32)
    depth[:, 200:440] = np.nan
    ranges = laser_scan(depth, CAMERA, transform, LAYOUT).ranges
    angle = LAYOUT.angle_min + LAYOUT.angle_increment * np.arange(101)
    hole = np.abs(angle) < math.atan(118 / CAMERA.fx)
    assert np.isnan(ranges[hole]).all()
    assert np.isposinf(ranges[np.abs(angle) > math.atan(125 / CAMERA.fx)]).all()


def test_what_is_left_out_neither_hits_nor_clears():
    transform = camera_to_level(0.5)
    everything = np.ones((480, 640), dtype=bool)
    assert scan(POLE, transform, leave_out=everything).unknown == 101


def test_something_nearer_than_range_min_is_not_clear():
    layout = ScanLayout.between(-0.5, 0.5, 101, range_min=2.5, range_max=6.0, low=0.1, high=0.8)
    result = scan(POLE, camera_to_level(0.5), layout)
    assert np.isnan(result.ranges[50])
    assert np.isposinf(result.ranges[30])


def test_something_farther_than_range_max_is_clear():
    far = Scene(boxes=[(7.0, 7.5, -9.0, 9.0, 0.0, 2.0)])
    assert scan(far, camera_to_level(0.5)).clear == 101


def test_ranges_are_counted_from_the_frame_not_from_the_camera():
    """The camera sits 0.3 m ahead of the base and 0.1 m to its left."""
    transform = camera_to_level(0.5)
    depth = render(POLE, transform).astype(np.float32)
    transform = transform.copy()
    transform[:2, 3] = [0.3, 0.1]
    result = laser_scan(depth, CAMERA, transform, LAYOUT)
    angle = math.atan2(0.1, 2.3)
    beam = round((angle - LAYOUT.angle_min) / LAYOUT.angle_increment)
    assert result.ranges[beam] == pytest.approx(math.hypot(2.3, 0.1) - 0.1, abs=0.01)
    assert np.isposinf(result.ranges[20])


@pytest.mark.parametrize(
    'change', [{'beams': 0}, {'angle_increment': 0.0}, {'range_min': 7.0}, {'low': 2.0}]
)
def test_an_unusable_layout_is_refused(change):
    values = {'angle_min': 0.0, 'angle_increment': 0.01, 'beams': 10, 'range_max': 6.0}
    with pytest.raises(ValueError, match='needs beams'):
        ScanLayout(**(values | change))


def test_sizes_that_differ_are_named():
    with pytest.raises(ValueError, match='intrinsics'):
        laser_scan(np.ones((4, 4), np.float32), CAMERA, np.eye(4), LAYOUT)
    with pytest.raises(ValueError, match='camera_to_level'):
        laser_scan(np.ones((480, 640), np.float32), CAMERA, np.eye(3), LAYOUT)
