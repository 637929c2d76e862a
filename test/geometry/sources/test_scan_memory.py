"""Scans of the way behind: where they are, how long they count, and what they are good for."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ray_scene import CAMERA, LIDAR_AXES, Scene, abs_rel, look_down, predicted

from lotus2_ros.geometry.lens import PINHOLE
from lotus2_ros.geometry.rigid import from_rotation_vector, inverse, transform_points
from lotus2_ros.geometry.scale.estimate import ScaleEstimate
from lotus2_ros.geometry.scale.lidar_points import (
    LidarScan,
    visible_points,
    with_earlier_points,
)
from lotus2_ros.geometry.scale.lidar_samples import lidar_samples
from lotus2_ros.geometry.scale.lidar_source import lidar_scale
from lotus2_ros.geometry.scale.scan_memory import Drive, ScanMemory

WAY = 3.0
VECTORS = arrays(np.float64, 3, elements=st.floats(-0.5, 0.5))
SCAN = np.random.default_rng(0).uniform(-5.0, 5.0, (200, 3))


def at(x: float, turn_deg: float = 0.0) -> np.ndarray:
    return from_rotation_vector(np.array([0.0, np.radians(turn_deg), 0.0]), np.array([x, 0.0, 0.0]))


def driven(memory: ScanMemory, poses, *, seconds=0.5, points=SCAN) -> np.ndarray:
    """A scan at each pose; what the last one was told of those before."""
    for number, pose in enumerate(poses):
        found = memory.earlier(pose, number * seconds, WAY)
        memory.keep(points, pose, number * seconds)
    return found


@given(VECTORS, VECTORS, VECTORS, VECTORS)
def test_a_point_is_where_it_was_in_the_world(turn, shift, other_turn, other_shift):
    memory = ScanMemory()
    first = from_rotation_vector(turn, shift)
    second = from_rotation_vector(other_turn, other_shift)
    assert len(memory.earlier(first, 0.0, WAY)) == 0
    memory.keep(SCAN, first, 0.0)
    found = memory.earlier(second, 0.1, WAY)
    there = transform_points(first, SCAN)
    np.testing.assert_allclose(transform_points(second, found), there, atol=1e-9)


@pytest.mark.parametrize(
    ('poses', 'kept'),
    [
        ([at(0.0)] * 9, 1),
        ([at(0.1 * i) for i in range(9)], 3),
        ([at(0.3 * i) for i in range(9)], 9),
        ([at(0.0, 5.0 * i) for i in range(9)], 3),
        ([at(0.0, 20.0 * i) for i in range(9)], 9),
    ],
    ids=['standing', 'slow', 'driving', 'turning slowly', 'turning'],
)
def test_scans_of_one_place_are_kept_once(poses, kept):
    memory = ScanMemory()
    driven(memory, poses)
    assert len(memory) == kept


def test_the_way_that_counts_is_that_of_the_wheels():
    memory = ScanMemory()
    to_and_fro = [at(0.5 * (i % 2)) for i in range(20)]
    driven(memory, to_and_fro)
    assert len(memory) == 7  # six half metres back, and the new one


@pytest.mark.parametrize(
    ('pose', 'time_s'),
    [(at(0.3), -0.1), (at(1.6), 0.05), (at(60.0), 2.0), (at(0.3), 100.0)],
    ids=['time goes back', 'a jump', 'a far jump', 'long ago'],
)
def test_what_no_longer_holds_is_forgotten(pose, time_s):
    memory = ScanMemory()
    memory.earlier(at(0.0), 0.0, 200.0)
    memory.keep(SCAN, at(0.0), 0.0)
    assert len(memory.earlier(pose, time_s, 200.0)) == 0
    assert len(memory) == 0
    memory.keep(SCAN, pose, time_s)
    assert len(memory.earlier(pose, time_s, 200.0)) == len(SCAN)


def test_of_a_large_scan_some_points_are_kept_and_always_the_same():
    many = np.random.default_rng(1).uniform(-5.0, 5.0, (20_000, 3))
    one, other = (driven(ScanMemory(), [at(0.0), at(0.3)], points=many) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert 100 < len(one) < 2000
    kept = {tuple(point) for point in np.round(transform_points(at(0.3), one), 9)}
    assert kept <= {tuple(point) for point in np.round(many, 9)}


def wall(z: float, half_width: float = 1.0) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-half_width, half_width, 40), np.linspace(-0.8, 0.8, 30))
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, z)], axis=1)


def test_who_has_gone_hides_nothing_and_who_has_come_hides_what_was_seen():
    near, far = wall(1.5, 0.3), wall(4.0)
    now = visible_points(far, CAMERA, PINHOLE)
    both = with_earlier_points(now, near, CAMERA, PINHOLE)
    assert len(both) > len(now)
    np.testing.assert_array_equal(both[: len(now)], now)
    now = visible_points(near, CAMERA, PINHOLE)
    both = with_earlier_points(now, far, CAMERA, PINHOLE)
    added = both[len(now) :]
    across = 1.5 / 4.0 * np.abs(added[:, 0])  # where they are at the distance of the near wall
    assert (across < 0.2).mean() < 0.02
    assert (across > 0.3).any()


def test_what_is_behind_the_camera_or_beside_the_image_does_not_count():
    now = visible_points(wall(4.0), CAMERA, PINHOLE)
    for gone in (wall(-2.0), wall(4.0) + np.array([50.0, 0.0, 0.0]), np.empty((0, 3))):
        np.testing.assert_array_equal(with_earlier_points(now, gone, CAMERA, PINHOLE), now)


def bent(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As a network sees it that errs by some per cent in patches, and exaggerates distances."""
    patches = cv2.resize(rng.normal(size=(4, 4)), depth.shape[::-1])
    return depth**1.3 * np.exp(0.03 * patches)


def hall(rng: np.random.Generator) -> Scene:
    """A hall with boxes along its walls, and a camera that looks down on the floor before it."""
    corners = np.array([[-2.0, -2.0, -3.0], [2.0, 0.45, 14.0]])
    boxes = []
    for z in range(3, 13, 2):
        size = rng.uniform([0.3, 0.4, 0.3], [0.8, 1.5, 0.8])
        centre = np.array([rng.choice([-1.5, 1.5]), 0.45 - size[1] / 2, z])
        boxes.append(np.array([centre - size / 2, centre + size / 2]))
    return Scene(0.45, corners, boxes, look_down(rng, 15.0))


def errors_of_a_drive(seed: int) -> tuple[float, float]:
    """AbsRel with the scans on the way and without, at the end of 3.3 m.

    The lowest line of the lidar points 7 degrees down and meets the floor 3.7 m ahead.
    """
    rng = np.random.default_rng(seed)
    start = hall(rng)
    memory = ScanMemory()
    for step in range(12):
        forward = np.array([0.0, 0.0, 0.3 * step])
        scene = dataclasses.replace(
            start, room=start.room - forward, boxes=[box - forward for box in start.boxes]
        )
        points = scene.scan(LIDAR_AXES, 32)
        points = points[points[:, 2] > -0.12 * np.hypot(points[:, 0], points[:, 1])]
        depth = scene.depth()
        disparity = predicted(bent(depth, rng), rng)
        scan = LidarScan(points, scene.level_to_camera @ LIDAR_AXES)
        to_world = from_rotation_vector(np.zeros(3), forward) @ inverse(scene.level_to_camera)
        drive = Drive(memory, to_world, 0.5 * step, WAY)
        samples = lidar_samples(scan, CAMERA, drive=drive)
        drive.keep(samples.scanned)
        found = (
            lidar_scale(disparity, samples),
            lidar_scale(disparity, lidar_samples(scan, CAMERA)),
        )
    assert len(memory) == 11
    errors = []
    for estimate in found:
        assert isinstance(estimate, ScaleEstimate), estimate
        errors.append(abs_rel(disparity, estimate.a, estimate.b, depth))
    return errors[0], errors[1]


def test_floor_that_was_scanned_on_the_way_mends_what_is_below_the_lowest_line():
    errors = np.array([errors_of_a_drive(seed) for seed in range(8)])
    with_it, alone = errors.mean(axis=0)
    assert with_it < 0.85 * alone
    assert np.count_nonzero(errors[:, 0] < errors[:, 1]) >= 7
