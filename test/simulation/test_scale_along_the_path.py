"""Metres from every reference on the robot's path, as `lotus2 evaluate --scale` judges them."""

from __future__ import annotations

import numpy as np
import pytest

from lotus2_ros.geometry.scale.estimate import ScaleEstimate
from lotus2_ros.geometry.scale.lidar_points import LidarScan
from lotus2_ros.geometry.scale.lidar_samples import lidar_samples
from lotus2_ros.geometry.scale.lidar_source import lidar_scale
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.settings import SimulationSettings
from lotus2_ros.simulation.robot import SimulatedRobot
from lotus2_ros.tools.evaluate_occupancy import affine_disparity
from lotus2_ros.tools.evaluate_scale import MODES, judge, rectifier_of, seen, table

HALF_A_SECOND = 0.5


def driving(robot, **changes):
    settings = {'shadows': False, 'start': 0.5, 'speed': 0.6, **changes}
    return SimulatedRobot(SimulationSettings.from_mapping(settings), scene=robot.scene)


class TruePredictor:
    """True disparity under another affine map in each image."""

    def __init__(self, robot):
        self.robot, self.time, self.rng = robot, 0.0, np.random.default_rng(0)

    def predict(self, rgb):
        assert rgb.shape[2] == 3
        depth = self.robot.true_depth(self.time)
        self.disparity, _ = affine_disparity(depth, self.rng)
        self.normals = None
        return self


@pytest.fixture(scope='module')
def results(robot):
    with driving(robot, distortion=-0.2, brightness_wave=0.15) as moving:
        predictor, rectifier = TruePredictor(moving), rectifier_of(moving)

        def frames():
            for number in range(8):
                predictor.time = number * HALF_A_SECOND
                yield seen(moving, rectifier, predictor, predictor.time)

        return judge(frames(), MODES)


@pytest.mark.parametrize('mode', MODES)
def test_with_true_disparity_metres_are_right_in_every_mode(results, mode):
    result = results[mode]
    assert result['locked'] >= 0.5, result['reasons']
    assert result['figures']['abs_rel'] < (0.1 if mode == 'odometry' else 0.05)


def test_every_mode_has_a_row(results):
    text = table(results)
    assert len(text.splitlines()) == 2 + len(MODES)
    assert '| points 64 | ' in text


def test_a_registered_depth_image_is_of_the_distorted_view(robot):
    with driving(robot, distortion=-0.25, depth_holes=0.0, depth_noise=0.0, depth_scale=1.0) as one:
        straight = driving(robot, depth_holes=0.0, depth_noise=0.0, depth_scale=1.0)
        frame = seen(one, rectifier_of(one), TruePredictor(one), 0.0)
        raw, rectified = one.reference_depth(0.0), frame.reference
        both = np.isfinite(raw) & np.isfinite(straight.reference_depth(0.0))
        moved = np.abs(raw / straight.reference_depth(0.0) - 1)[both]
        known = np.isfinite(rectified)
        assert known.mean() > 0.5
        off = np.abs(rectified / frame.depth - 1)[known]
        assert np.quantile(off, 0.9) < 0.03
        assert np.quantile(moved, 0.9) > 0.05


@pytest.mark.parametrize(('source', 'limit'), [('depth', 1.15), ('points 64', 1.15)])
def test_nanos_metres_are_nearly_as_right_as_its_shape_allows(nano_drive, source, limit):
    result = nano_drive[source]
    assert result['locked'] > 0.7, result['reasons']
    assert result['figures']['ratio'] < limit


@pytest.fixture(scope='module')
def nano_drive(robot):
    predictor = Lotus2Predictor.from_pretrained('nano', sharpener=False, device='cpu')
    with driving(robot, start=0.3) as moving:
        rectifier = rectifier_of(moving)
        frames = (seen(moving, rectifier, predictor, number / 3.0) for number in range(12))
        return judge(frames, ('depth', 'points 64'))


def test_a_lidar_of_few_lines_has_all_that_an_exact_one_has(robot):
    """True disparity: what 16 lines lack with a network is its error where no line goes."""
    with driving(robot) as moving:
        predictor = TruePredictor(moving)
        frame = seen(moving, rectifier_of(moving), predictor, 0.0)
        to_camera = np.linalg.inv(frame.optical_to_base) @ frame.lidar_to_base
        samples = lidar_samples(LidarScan(frame.scans[16], to_camera), frame.camera)
        found = lidar_scale(frame.disparity, samples)
        assert isinstance(found, ScaleEstimate)
        judged = (frame.depth > 0.2) & (frame.depth < 20)
        metres = 1 / (found.a * frame.disparity[judged] + found.b)
        assert np.mean(np.abs(metres / frame.depth[judged] - 1)) < 0.03
