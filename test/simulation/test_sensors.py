"""The simulated sensors against each other: rays, raster, lidar and lens see one world."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import SMALL  # type: ignore[import-not-found]

from lotus2_ros.geometry.lens import Lens
from lotus2_ros.geometry.projection import ray_map
from lotus2_ros.geometry.rectification import Rectifier
from lotus2_ros.geometry.rigid import inverse, transform_points
from lotus2_ros.settings import SimulationSettings
from lotus2_ros.simulation.camera import brightness, true_normals
from lotus2_ros.simulation.depth_sensor import measured_depth
from lotus2_ros.simulation.engine import trace, view
from lotus2_ros.simulation.path import ClosedPath
from lotus2_ros.simulation.world import CORNERS

TIMES = (2.0, 17.0, 33.0, 46.0)
"""Yard, corridor, hall and yard again, at 1 m/s."""


def variant(robot, **changes):
    """A robot with other settings in the same world, or in a world of its own where it must be."""
    from lotus2_ros.simulation.robot import SimulatedRobot

    scene = None if {'seed', 'walkers'} & changes.keys() else robot.scene
    return SimulatedRobot(robot.settings.replaced(**changes), scene)


def rays_of(robot):
    flat = ray_map(robot.intrinsics)
    return np.concatenate([flat, np.ones((*flat.shape[:2], 1))], axis=-1)


@pytest.mark.parametrize('time', TIMES)
def test_depth_and_normals_are_those_of_rays_through_the_pixels(robot, time):
    depth = robot.true_depth(time)
    pose = robot.camera_pose(time)
    by_ray, normals, _ = view(
        robot.scene.model, robot.scene.data, pose[:3, 3], pose[:3, :3], rays_of(robot)
    )
    both = np.isfinite(depth) & np.isfinite(by_ray)
    assert both.mean() > 0.5
    assert (np.isfinite(depth) == np.isfinite(by_ray)).mean() > 0.98
    error = np.abs(depth[both] - by_ray[both]) / by_ray[both]
    assert np.median(error) < 1e-5
    assert np.mean(error > 0.01) < 0.04  # edges, and cylinders that are prisms to the raster
    mine = robot.true_normals(depth)
    judged = np.isfinite(mine[..., 0])
    assert judged.mean() > 0.4
    cosine = (mine * normals).sum(-1)[judged]
    assert np.mean(cosine > 0.999) > 0.9


def test_normals_of_a_slanted_plane_are_exact_and_edges_and_sky_have_none(robot):
    camera = robot.intrinsics
    rays = rays_of(robot)
    normal = np.array([0.3, -0.5, -0.8]) / np.linalg.norm([0.3, -0.5, -0.8])
    depth = (-2.0 / (rays @ normal)).astype(np.float32)
    depth[depth <= 0] = np.inf
    depth[:, 60:] = 9.0
    depth[:5] = np.inf
    found = true_normals(depth, camera)
    plane = np.zeros(depth.shape, bool)
    plane[6:-1, 1:58] = np.isfinite(depth[6:-1, 1:58])
    known = plane & np.isfinite(found[..., 0])
    assert known.sum() > 0.9 * plane.sum()
    np.testing.assert_allclose(found[known], np.broadcast_to(normal, (known.sum(), 3)), atol=1e-3)
    assert np.isnan(found[:5]).all()
    assert np.isnan(found[6:-1, 60]).all()
    np.testing.assert_allclose(found[10:-2, 70:-2, 2], -1.0, atol=1e-5)


def test_everything_is_decided_by_settings_and_time(robot):
    first_image = robot.image(2.0)
    with variant(robot, walkers=2) as other:  # a world built anew
        np.testing.assert_array_equal(other.image(2.0), first_image)
        other.image(33.0)  # what it was asked before is of no account
        for name in ('image', 'true_depth', 'reference_depth'):
            first, second = (getattr(r, name)(2.0) for r in (robot, other))
            np.testing.assert_array_equal(first, second)
        for first, second in zip(robot.lidar(2.0, 16), other.lidar(2.0, 16), strict=True):
            np.testing.assert_array_equal(first, second)
        for first, second in zip(robot.imu(2.0), other.imu(2.0), strict=True):
            np.testing.assert_array_equal(first, second)
        assert (robot.image(2.0) != robot.image(2.2)).any()


@pytest.mark.parametrize('time', TIMES)
def test_the_robot_drives_past_everything(robot, time):
    """Half a robot and some: every ray to the sides goes at least this far."""
    path = ClosedPath(CORNERS)
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    around = np.stack([np.cos(angles), np.sin(angles), np.zeros(72)], axis=-1)
    robot.scene.move(time)
    for x, y in path.points(1.0):
        for z in (0.1, 0.5, 1.0):
            hits = trace(robot.scene.model, robot.scene.data, np.array([x, y, z]), around)
            assert hits.distances.min() > 0.35, (x, y, z)


@pytest.mark.parametrize('lines', [16, 64])
def test_lidar_points_lie_on_what_the_camera_sees(robot, lines):
    time = 17.0
    with variant(robot, lidar_noise=0.0, lidar_dropout=0.0, speed=0.0, start=0.4) as still:
        scan = still.lidar(time, lines)
        depth = still.true_depth(time)
        to_camera = inverse(still.camera_pose(time)) @ still.drive.body(time) @ still.lidar_mounting
        points = transform_points(to_camera, scan.points.astype(np.float64))
        pixels = np.rint(Lens().project(points, still.intrinsics))
    ahead = np.isfinite(pixels).all(axis=1)
    ahead &= ((pixels >= 0) & (pixels < [96, 72])).all(axis=1)
    assert ahead.sum() > 30
    seen = depth[pixels[ahead, 1].astype(int), pixels[ahead, 0].astype(int)]
    error = np.abs(seen - points[ahead, 2]) / points[ahead, 2]
    # A pixel is wide, and the lidar sees past edges that the camera does not.
    assert np.median(error) < 0.02
    assert set(np.unique(scan.ring)) <= set(range(lines))
    assert scan.points.dtype == np.float32
    assert 0 <= scan.time.min() < scan.time.max() <= still.sweep


def test_lidar_noise_dropout_and_motion_show(robot):
    with variant(robot, lidar_noise=0.0, lidar_dropout=0.0) as clean:
        exact = clean.lidar(17.0, 16)
        noisy = variant(robot, lidar_noise=0.05, lidar_dropout=0.0)
        fewer = variant(robot, lidar_dropout=0.5)
        short = variant(robot, lidar_max_range=3.0, lidar_noise=0.0)
        spread = np.linalg.norm(noisy.lidar(17.0, 16).points, axis=1)
        ranges = np.linalg.norm(exact.points, axis=1)
        assert len(spread) == len(ranges)
        assert np.std(spread - ranges) == pytest.approx(0.05, rel=0.15)
        assert len(fewer.lidar(17.0, 16).points) == pytest.approx(0.5 * len(ranges), rel=0.1)
        assert np.linalg.norm(short.lidar(17.0, 16).points, axis=1).max() <= 3.0 + 1e-5
        # Each point was measured from where the robot was then: with that, walls are flat.
        poses = [clean.drive.body(17.0 + float(t)) @ clean.lidar_mounting for t in exact.time]
        world = np.array(
            [p[:3, :3] @ q + p[:3, 3] for p, q in zip(poses, exact.points, strict=True)]
        )
        floor = world[np.abs(world[:, 2]) < 0.02]
        assert len(floor) > 50
        assert np.quantile(np.abs(floor[:, 2] - 0.004), 0.95) < 0.002


def test_the_distorted_image_rectified_is_the_undistorted_one(robot):
    with (
        variant(robot, distortion=-0.25, image_noise=0.0) as bent,
        variant(robot, image_noise=0.0) as straight,
    ):
        k = bent.intrinsics
        rectifier = Rectifier(
            k.matrix.ravel().tolist(), list(bent.lens.coefficients), bent.lens.model,
            np.eye(3).ravel().tolist(), k.projection.ravel().tolist(), (k.width, k.height),
        )  # fmt: skip
        raw, wanted = bent.image(17.0), straight.image(17.0).astype(float)
        again = rectifier.apply(raw).astype(float)
        inside = rectifier.valid
        assert inside is not None
        assert np.abs(raw - wanted).mean() > 2 * np.abs(again - wanted)[inside].mean()
        assert np.median(np.abs(again - wanted)[inside]) < 3
        np.testing.assert_array_equal(bent.true_depth(17.0), straight.true_depth(17.0))


def test_noise_and_brightness_show_in_the_image(robot):
    with (
        variant(robot, image_noise=0.0) as clean,
        variant(robot, image_noise=0.04) as noisy,
        variant(robot, image_noise=0.0, brightness_wave=0.4) as waving,
    ):
        plain = clean.image(17.0).astype(float)
        middle = (plain > 40) & (plain < 215)
        assert np.std((noisy.image(17.0) - plain)[middle]) == pytest.approx(0.04 * 255, rel=0.1)
        gain = (waving.image(17.0).astype(float).mean(axis=(1, 2))) / plain.mean(axis=(1, 2))
        wanted = brightness(72, 17.0, 0.4)
        dim = wanted < 1
        np.testing.assert_allclose(gain[dim], wanted[dim], atol=0.03)
        assert not np.allclose(brightness(72, 17.0, 0.4), brightness(72, 17.2, 0.4), atol=0.1)


def test_the_depth_camera_has_holes_noise_and_a_range():
    rng = np.random.default_rng(0)
    true = np.full((120, 160), 2.0, np.float32)
    true[:, 80:] = 6.0
    true[:10] = np.inf
    kept = measured_depth(true, rng, holes=0.0, noise=0.0, max_range=8.0)
    near = np.isfinite(kept)
    np.testing.assert_array_equal(kept[near], true[near])
    assert np.isnan(kept[:10]).all()
    assert np.isnan(kept[20:, 79:81]).any(axis=1).all()  # the edge
    assert near[20:, :70].all()
    holes = measured_depth(true, rng, holes=0.4, noise=0.0, max_range=8.0)
    assert np.isnan(holes[12:]).mean() == pytest.approx(0.4, abs=0.12)
    noisy = measured_depth(true, rng, holes=0.0, noise=0.002, max_range=8.0)
    assert np.nanstd(noisy[20:, :70]) == pytest.approx(0.002 * 4, rel=0.1)
    assert np.nanstd(noisy[20:, 90:]) == pytest.approx(0.002 * 36, rel=0.1)
    assert np.isnan(measured_depth(true, rng, holes=0.0, noise=0.0, max_range=5.0)[20:, 90:]).all()


def test_walkers_move_and_can_be_left_out(robot):
    with variant(robot, walkers=0, seed=1) as empty:
        assert empty.scene.model.ngeom < robot.scene.model.ngeom - 20
        assert (empty.image(17.0) != robot.image(17.0)).mean() > 0.5  # another seed, other surfaces
    robot.scene.move(0.0)
    first = robot.scene.data.geom_xpos.copy()
    robot.scene.move(2.0)
    moved = np.linalg.norm(robot.scene.data.geom_xpos - first, axis=1)
    assert (moved > 0.5).sum() > 20
    assert (moved == 0).sum() > 400


def test_small_is_within_the_settings():
    assert SimulationSettings.from_mapping(SMALL).width == 96
