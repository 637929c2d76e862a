from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from navigation_scenes import CAMERA, CORRIDOR, SCENES, Scene, camera_to_level, render, smeared

from lotus2_ros.geometry.edges import flying_pixels
from lotus2_ros.geometry.intrinsics import Intrinsics

SMALL = Intrinsics(300.0, 300.0, 31.5, 23.5, 64, 48)
SMALL_UPRIGHT = Intrinsics(300.0, 300.0, 23.5, 31.5, 48, 64)


def profile(near: float, far: float, between: int) -> np.ndarray:
    """(48, 64) depth of two walls that face the camera, joined by a ramp of inverse depth."""
    inverse = np.full(64, 1.0 / near)
    inverse[30:] = 1.0 / far
    inverse[29 : 31 + between] = np.linspace(1.0 / near, 1.0 / far, between + 2)
    return np.tile((1.0 / inverse).astype(np.float32), (48, 1))


def facing() -> np.ndarray:
    normals = np.zeros((48, 64, 3), dtype=np.float32)
    normals[..., 2] = -1.0
    return normals


@settings(deadline=None)
@given(st.floats(0.3, 5.0), st.floats(1.4, 20.0), st.integers(0, 6), st.booleans(), st.booleans())
def test_exactly_the_pixels_between_two_surfaces_are_marked(near, ratio, between, upright, mirror):
    depth = profile(near, near * ratio, between)
    expected = np.zeros(depth.shape, dtype=bool)
    expected[:, 30 : 30 + between] = True
    if mirror:
        depth, expected = depth[:, ::-1], expected[:, ::-1]
    camera = SMALL
    if upright:
        depth, expected, camera = depth.T, expected.T, SMALL_UPRIGHT
    result = flying_pixels(np.ascontiguousarray(depth), None, camera)
    # A pixel within the tolerance of a surface belongs to it, wherever it is on the ramp.
    inverse = 1.0 / depth
    expected &= (inverse < 0.97 / near) & (0.97 * inverse > 1.0 / (near * ratio))
    np.testing.assert_array_equal(result.mask, expected)
    assert result.pixels == expected.sum()
    assert result.share == pytest.approx(expected.mean())


@settings(deadline=None)
@given(
    st.floats(0.2, 3.0),
    st.floats(-0.02, 0.02),
    st.floats(-0.02, 0.02),
)
def test_a_plane_is_never_marked_however_obliquely_it_is_seen(inverse, along_x, along_y):
    column, row = np.meshgrid(np.arange(64), np.arange(48))
    w = inverse + along_x * column + along_y * row
    with np.errstate(divide='ignore'):
        depth = np.where(w > 0.01, 1.0 / w, np.nan).astype(np.float32)
    assert flying_pixels(depth, None, SMALL).pixels == 0


@settings(deadline=None)
@given(st.floats(0.01, 100.0), st.integers(0, 1000))
def test_the_unit_of_length_does_not_matter(scale, seed):
    rng = np.random.default_rng(seed)
    depth = profile(1.0, 2.5, 4) * rng.normal(1.0, 0.002, (48, 64)).astype(np.float32)
    first = flying_pixels(depth, None, SMALL).mask
    power = np.float32(2.0 ** round(np.log2(scale)))  # exact in floating point
    np.testing.assert_array_equal(flying_pixels(depth * power, None, SMALL).mask, first)
    assert first.any()


@pytest.mark.parametrize('radius', [0.01, 0.02, 0.04])
@pytest.mark.parametrize('how', ['half', 'soft', 'softer'])
def test_a_thin_pole_keeps_its_ridge(radius, how):
    """Of 3, 6 and 12 px: every row of it keeps pixels, and they are nearer than anything else."""
    scene = Scene(boxes=[(8.0, 8.2, -9.0, 9.0, 0.0, 5.0)], poles=[(3.0, 0.0, radius, 2.5)])
    depth = smeared(render(scene, camera_to_level(1.2)), how).astype(np.float32)
    mask = flying_pixels(depth, None, CAMERA).mask
    rows = slice(60, 300)
    ridge = depth[rows].argmin(axis=1)
    assert (np.abs(ridge - CAMERA.cx) < 2).all()
    assert not mask[rows][np.arange(len(ridge)), ridge].any()


@pytest.mark.parametrize('how', ['half', 'soft', 'softer'])
@pytest.mark.parametrize('name', SCENES)
def test_no_pixel_is_left_that_belongs_to_no_surface(name, how):
    """Of those off by 10 cm and 5 % from all surfaces around them, all but 1 in 200.

    Those are cut off by the image border, or the bottom of a gap of one or two pixels.
    """
    truth = render(SCENES[name], camera_to_level(0.6, 8.0))
    depth = smeared(truth, how)
    with np.errstate(invalid='ignore'):
        off = np.full(depth.shape, np.inf)
        around = np.pad(truth, 4, mode='edge')
        for row in range(9):
            for column in range(9):
                true = around[row : row + 480, column : column + 640]
                off = np.fmin(off, np.abs(depth - true) / np.maximum(0.1, 0.05 * true))
    stray = (off > 1.0) & (depth < 8.0)
    result = flying_pixels(depth.astype(np.float32), None, CAMERA)
    assert stray.sum() > 1000
    assert (stray & ~result.mask).sum() <= 0.005 * stray.sum()
    assert result.share < 0.1


def test_a_corridor_of_grazing_walls_without_smear_is_left_alone():
    truth = render(CORRIDOR, camera_to_level(0.3))
    assert flying_pixels(truth.astype(np.float32), None, CAMERA).share < 0.005


@pytest.mark.parametrize('noise', [0.01, 0.02, 0.04])
def test_noise_from_pixel_to_pixel_is_not_taken_for_edges(noise):
    rng = np.random.default_rng(2)
    wall = (2.0 * rng.normal(1.0, noise, (480, 640))).astype(np.float32)
    assert flying_pixels(wall, None, CAMERA).share < 0.001
    wall[:, 320:] *= 3.0
    wall[:, 320] = 3.0  # between the two
    mask = flying_pixels(wall, None, CAMERA).mask
    assert mask[:, 320].mean() > 0.98
    assert mask[:, :310].mean() < 0.001


def test_the_outline_against_the_sky_is_marked_and_the_sky_is_not():
    depth = np.full((48, 64), 3.0, dtype=np.float32)
    depth[:, 30], depth[:, 31], depth[:, 32:] = 5.0, 12.0, np.inf
    expected = np.zeros((48, 64), dtype=bool)
    expected[:, 30:32] = True
    np.testing.assert_array_equal(flying_pixels(depth, None, SMALL).mask, expected)


def test_a_hole_says_nothing_about_its_neighbours():
    depth = profile(1.0, 2.5, 4)
    whole = flying_pixels(depth, None, SMALL).mask
    depth[10:20, 5:15] = np.nan
    depth[25:30, 50:60] = 0.0
    np.testing.assert_array_equal(flying_pixels(depth, None, SMALL).mask, whole)


def test_an_image_without_depth_has_no_share():
    nothing = np.full((48, 64), np.nan, dtype=np.float32)
    result = flying_pixels(nothing, facing(), SMALL)
    assert (result.pixels, result.share) == (0, 0.0)


def test_normals_that_face_the_camera_give_a_wide_ramp_away():
    """Sixteen pixels are too wide for the flanks of the window: it could be a grazing wall."""
    depth = profile(1.0, 4.0, 16)
    without = flying_pixels(depth, None, SMALL).mask
    assert not without[:, 36:40].any()
    with_normals = flying_pixels(depth, facing(), SMALL).mask
    assert with_normals[:, 32:44].all()
    assert not with_normals[:, :29].any()
    assert not with_normals[:, 48:].any()


def test_normals_that_agree_with_a_grazing_wall_leave_it():
    inverse = np.linspace(1.0, 0.25, 64)  # a wall seen at 16 to 4 degrees
    depth = np.tile((1.0 / inverse).astype(np.float32), (48, 1))
    # n . r is proportional to w: n_x / fx is its change per column, n_z what it is at x = 0.
    change = inverse[1] - inverse[0]
    normal = np.array([300.0 * change, 0.0, inverse[0] + 31.5 * change])
    normals = np.broadcast_to(normal / np.linalg.norm(normal), (48, 64, 3)).astype(np.float32)
    assert flying_pixels(depth, normals, SMALL).pixels == 0
    assert flying_pixels(depth, facing(), SMALL, view_angle=20.0).pixels > 0


def test_nothing_is_written_into_the_arguments():
    depth = profile(1.0, 2.5, 4)
    depth[3, 3] = np.nan
    before = depth.copy()
    flying_pixels(depth, facing(), SMALL)
    np.testing.assert_array_equal(depth, before)


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'ratio': 1.0}, 'ratio'),
        ({'view_angle': 0.0}, 'view_angle'),
        ({'window': 0}, 'window'),
        ({'normals': np.zeros((3, 3, 3), np.float32)}, 'normals'),
        ({'intrinsics': CAMERA}, '640x480'),
    ],
)
def test_unusable_arguments_are_named(change, said):
    arguments = {'depth': profile(1.0, 2.0, 2), 'normals': None, 'intrinsics': SMALL} | change
    with pytest.raises(ValueError, match=said):
        flying_pixels(**arguments)
