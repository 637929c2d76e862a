"""The figures of `lotus2 evaluate --live`, on results whose error is known."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.mounting import Mounting
from lotus2_ros.geometry.projection import unproject
from lotus2_ros.ros import plan
from lotus2_ros.ros.truth_listener import Moment, Scan
from lotus2_ros.settings import NodeSettings
from lotus2_ros.tools import live_figures as figures
from lotus2_ros.tools.live_report import LiveReport

CAMERA = Intrinsics.from_hfov(75.0, 160, 120)
ON_BASE = Mounting(0.6, pitch_deg=5.0).optical_to_base
RNG = np.random.default_rng(0)


def room() -> np.ndarray:
    """(H, W) depth of a floor, a wall 4 m ahead and a box 2 m ahead, seen by CAMERA."""
    rays = np.dstack([unproject(np.ones((120, 160), np.float32), CAMERA)])
    down = rays @ ON_BASE[:3, :3].T
    with np.errstate(divide='ignore'):
        floor = np.where(down[..., 2] < 0, -0.6 / down[..., 2], np.inf)
        wall = np.where(down[..., 0] > 0, 4.0 / down[..., 0], np.inf)
    depth = np.minimum(floor, wall)
    box = 2.0 / down[..., 0]
    at = down * box[..., None]
    hit = (np.abs(at[..., 1]) < 0.4) & (at[..., 2] > -0.6) & (at[..., 2] < 0.2)
    return np.where(hit, np.minimum(depth, box), depth).astype(np.float32)


TRUTH = room()


def moment(stamp: float, depth: np.ndarray, *, truth: np.ndarray = TRUTH, a: float = 1.3) -> Moment:
    disparity = ((1 / depth - 0.05) / a).astype(np.float32)
    points = unproject(depth, CAMERA)
    made = Moment(
        stamp=round(stamp * 1e9), depth=truth, camera=CAMERA, on_base=ON_BASE,
        normals=np.tile(np.array([0, 0, -1], np.float32), (120, 160, 1)),
    )  # fmt: skip
    tilted = np.array([0.0, math.sin(0.2), -math.cos(0.2)], np.float32)
    made.results = {
        plan.DEPTH_IMAGE: depth,
        plan.DISPARITY: disparity,
        plan.NORMALS_IMAGE: np.tile(tilted, (120, 160, 1)),
        plan.POINTS: points,
        plan.NAV_POINTS: points.reshape(1, -1, 3),
    }
    made.latencies = {plan.DEPTH_IMAGE: 0.25}
    made.scale = {'state': 'locked', 'inlier share': '0.900', 'age [s]': 'inf'}
    return made


def test_depth_off_by_a_tenth_has_that_error_and_the_oracle_none():
    found = figures.moment_figures(moment(0.0, 1.1 * TRUTH), NodeSettings(), occupancy=False)
    assert found['abs_rel'] == pytest.approx(0.1, rel=1e-4)
    assert found['delta1'] == 1.0
    assert found['depth_share'] == 1.0
    assert found['oracle_abs_rel'] < 1e-4
    assert found['cloud_error'] == pytest.approx(0.1, rel=1e-3)
    assert found['a'] == pytest.approx(1.3, rel=1e-4)
    assert found['b'] == pytest.approx(0.05, abs=1e-4)
    assert found['normals_mean_deg'] == pytest.approx(math.degrees(0.2), abs=0.05)
    assert found['latency depth/image'] == 0.25


def test_the_oracle_is_never_worse_than_any_scale():
    noisy = (1 / TRUTH * RNG.uniform(0.7, 1.3, TRUTH.shape)).astype(np.float32)
    best = figures.oracle_abs_rel(noisy, TRUTH)
    for a in np.linspace(0.8, 1.2, 9):
        for b in np.linspace(-0.05, 0.05, 5):
            tried = float(np.mean(np.abs(1 / (a * noisy + b) / TRUTH - 1)))
            assert best <= tried + 1e-3
    assert math.isnan(figures.oracle_abs_rel(noisy, np.full_like(TRUTH, np.inf)))


def test_the_navigation_cloud_is_judged_by_obstacles_and_free_cells():
    right = figures.nav_figures(unproject(TRUTH, CAMERA).reshape(1, -1, 3), TRUTH, CAMERA, ON_BASE)
    assert right['nav_found'] > 0.99
    assert right['nav_marked'] < 0.01
    near = unproject(0.7 * TRUTH, CAMERA).reshape(1, -1, 3)
    wrong = figures.nav_figures(near, TRUTH, CAMERA, ON_BASE)
    assert wrong['nav_found'] < 0.5
    assert wrong['nav_marked'] > 0.01


def test_scan_beams_are_right_or_wrong_by_the_truths_nearest_point():
    angles = np.arange(-30, 31) * math.radians(1.0)
    exact = 4.0 / np.cos(angles)
    exact[np.abs(np.tan(angles)) * 2.0 < 0.4] = 2.0 / np.cos(
        angles[np.abs(np.tan(angles)) * 2.0 < 0.4]
    )

    def judge(ranges):
        scan = Scan(ranges.astype(np.float32), float(angles[0]), math.radians(1.0), 8.0)
        found = figures.scan_figures(scan, TRUTH, CAMERA, ON_BASE, NodeSettings())
        return found['scan_right']

    assert judge(exact) > 0.94  # a beam at the box's edge may be of either
    assert judge(exact * 1.2) < 0.1
    half = np.where(np.arange(61) < 30, exact, exact + 1)
    assert judge(half) == pytest.approx(0.5, abs=0.06)


def test_flicker_is_of_still_pixels_only():
    first = RNG.uniform(1, 2, (50, 60)).astype(np.float32)
    second = first.copy()
    second[:, :10] += 5
    still = np.ones(first.shape, bool)
    still[:, :10] = False
    assert figures.flicker(first, second, still) == 0.0
    assert figures.flicker(first, first + np.float32(0.096), still) == pytest.approx(0.1, rel=0.05)
    assert math.isnan(figures.flicker(first, second, np.zeros_like(still)))
    assert not figures.unchanged(first, second)[:, :10].any()
    assert figures.unchanged(first, second)[:, 10:].all()


def test_a_report_sums_up_what_came_and_writes_it(tmp_path):
    report = LiveReport(NodeSettings())
    spread = 0.03
    for k in range(12):
        a = 1.3 * math.exp(spread if k % 2 else -spread)
        report.add(moment(0.2 * k, TRUTH * (1.02 if k % 2 else 0.98), a=a))
    summary = report.summary()
    assert summary['images'] == 12
    assert summary['figures']['abs_rel'] == pytest.approx(0.02, rel=0.01)
    assert summary['figures']['log_a_jitter'] == pytest.approx(spread, rel=0.05)
    assert summary['figures']['flicker'] > 0.01
    oracle = summary['figures']['oracle_abs_rel']
    assert summary['figures']['ratio'] == pytest.approx(0.02 / oracle, rel=0.01)
    assert summary['scale_states'] == {'locked': 12}
    assert summary['latency']['depth/image'] == {'p50': 0.25, 'p95': 0.25}
    assert report.rows[0]['scale inlier share'] == 0.9
    assert 'scale age [s]' not in report.rows[0]
    judged = [row['time'] for row in report.rows if 'nav_found' in row]
    assert judged == pytest.approx([0.0, 1.0, 2.0])
    table, picture = report.write(tmp_path)
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 12
    assert float(rows[3]['abs_rel']) == pytest.approx(0.02, rel=0.01)
    assert picture.stat().st_size > 10_000


def test_a_moving_camera_has_no_jitter():
    report = LiveReport(NodeSettings())
    for k in range(8):
        truth = (TRUTH * (1 + 0.05 * k)).astype(np.float32)
        report.add(moment(0.2 * k, truth, truth=truth))
    assert report.jitter() is None
    assert 'log_a_jitter' not in report.summary()['figures']
