from __future__ import annotations

import numpy as np
import pytest

from lotus2_ros.geometry.rigid import from_rotation_vector, transform_points
from lotus2_ros.geometry.scale.ego_motion import depth_after_motion

WIDTH, HEIGHT = 160, 120
FOCAL = 0.65 * WIDTH


def moved(seed, translation, turn):
    """Inverse depth now and before at the pixels of the picture now, and the flow to before."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    x, y = (columns - 79.5) / FOCAL, (rows - 59.5) / FOCAL
    depth = 3.0 + 1.5 * np.sin(columns / 17.0 + rng.uniform(0, 6)) + 0.02 * rows
    points = np.stack([x * depth, y * depth, depth], axis=-1).reshape(-1, 3)
    motion = from_rotation_vector(np.array(turn), np.array(translation))
    before = transform_points(motion, points).reshape(HEIGHT, WIDTH, 3)
    flow = np.stack(
        [before[..., 0] / before[..., 2] - x, before[..., 1] / before[..., 2] - y], axis=-1
    )
    old = (1.0 / before[..., 2]).astype(np.float32)
    return (1.0 / depth).astype(np.float32), old, (FOCAL * flow).astype(np.float32)


@pytest.mark.parametrize('unit', [1.0, 0.2, 7.0])
@pytest.mark.parametrize(
    ('translation', 'turn'),
    [
        ((0.0, 0.0, 0.15), (0.0, 0.0, 0.0)),
        ((0.05, 0.02, -0.1), (0.0, 0.0, 0.0)),
        ((0.0, 0.0, 0.12), (0.004, 0.02, 0.01)),
        ((0.0, 0.0, 0.0), (0.01, -0.03, 0.02)),
    ],
    ids=['forward', 'aside and back', 'forward and turning', 'turning'],
)
def test_what_came_nearer_is_known_in_any_unit_though_a_part_moves_by_itself(
    translation, turn, unit
):
    now, old, flow = moved(0, translation, turn)
    flow[30:60, 110:150] += 3.0
    found = depth_after_motion(unit * old, flow) / unit
    error = np.abs(found / now - 1.0)
    assert np.median(error) < 0.003
    assert np.median(error) <= 0.3 * np.median(np.abs(old / now - 1.0)) + 1e-3


def test_without_depth_or_flow_there_is_no_motion_to_find():
    now, old, flow = moved(1, (0.0, 0.0, 0.1), (0.0, 0.0, 0.0))
    assert depth_after_motion(np.full_like(old, np.nan), flow) is None
    assert depth_after_motion(-old, flow) is None
    still = depth_after_motion(now, np.zeros_like(flow))
    np.testing.assert_allclose(still, now, rtol=1e-4)
