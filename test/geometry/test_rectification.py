from __future__ import annotations

import cv2
import numpy as np
import pytest

from lotus2_ros.errors import CameraInfoError
from lotus2_ros.geometry.rectification import Rectifier

WIDTH, HEIGHT = 160, 120
K = [110.0, 0.0, 80.3, 0.0, 112.0, 58.7, 0.0, 0.0, 1.0]
P = [100.0, 0.0, 79.5, 0.0, 0.0, 100.0, 59.5, 0.0, 0.0, 0.0, 1.0, 0.0]
IDENTITY = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
P_OF_K = [110.0, 0.0, 80.3, 0.0, 0.0, 112.0, 58.7, 0.0, 0.0, 0.0, 1.0, 0.0]
ROTATION = cv2.Rodrigues(np.array([0.02, -0.03, 0.01]))[0]
MODELS = {
    'plumb_bob': [-0.25, 0.08, 0.001, -0.002, -0.01],
    'rational_polynomial': [0.3, -0.1, 0.001, -0.001, 0.02, 0.5, -0.05, 0.01],
    'equidistant': [-0.02, 0.01, -0.003, 0.001],
}


def raw_pixel(model: str, ray: np.ndarray) -> np.ndarray:
    """Where a ray of the rectified camera falls in the raw image, by OpenCV's point functions."""
    direction = (ROTATION.T @ ray).reshape(1, 1, 3)
    zero = np.zeros(3)
    camera = np.array(K).reshape(3, 3)
    coefficients = np.array(MODELS[model])
    points = cv2.fisheye.projectPoints if model == 'equidistant' else cv2.projectPoints
    pixels, _ = points(direction, zero, zero, camera, coefficients)
    return pixels.reshape(2)


@pytest.mark.parametrize('model', MODELS)
def test_a_rectified_pixel_shows_what_its_ray_sees(model: str):
    # The raw image stores its own coordinates; rectified, they must be those of projectPoints.
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    raw = np.stack([columns, rows, np.full_like(rows, 255)], axis=-1).astype(np.uint8)
    rectifier = Rectifier(K, MODELS[model], model, ROTATION.reshape(-1), P, (WIDTH, HEIGHT))
    assert not rectifier.identity
    assert rectifier.intrinsics.fx == P[0]
    assert rectifier.intrinsics.cx == P[2]
    rectified = rectifier.apply(raw)
    for column, row in ((80, 60), (30, 20), (130, 100), (20, 90)):
        ray = np.array([(column - P[2]) / P[0], (row - P[6]) / P[5], 1.0])
        expected = raw_pixel(model, ray)
        np.testing.assert_allclose(rectified[row, column, :2], expected, atol=0.75)


def test_an_undistorted_camera_costs_nothing():
    image = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    for model, distortion in (('plumb_bob', [0.0] * 5), ('', []), ('plumb_bob', [])):
        rectifier = Rectifier(K, distortion, model, IDENTITY, P_OF_K, (WIDTH, HEIGHT))
        assert rectifier.identity
        assert rectifier.valid is None
        assert rectifier.apply(image) is image


def test_unset_rotation_and_projection_mean_identity_and_the_camera_matrix():
    rectifier = Rectifier(K, [], '', [0.0] * 9, [0.0] * 12, (WIDTH, HEIGHT))
    assert rectifier.identity
    assert rectifier.intrinsics.cx == K[2]


def test_a_new_projection_alone_is_work_to_do():
    assert not Rectifier(K, [], '', IDENTITY, P, (WIDTH, HEIGHT)).identity


def test_what_the_raw_image_does_not_show_is_black_and_marked():
    wide = [60.0, 0.0, 79.5, 0.0, 0.0, 60.0, 59.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    rectifier = Rectifier(K, [], '', IDENTITY, wide, (WIDTH, HEIGHT))
    rectified = rectifier.apply(np.full((HEIGHT, WIDTH, 3), 200, dtype=np.uint8))
    assert rectifier.valid is not None
    assert not rectifier.valid[0, 0]
    assert rectifier.valid[60, 80]
    assert (rectified[0, 0] == 0).all()
    assert (rectified[60, 80] == 200).all()


def test_what_cannot_be_rectified_is_refused():
    size = (WIDTH, HEIGHT)
    with pytest.raises(CameraInfoError, match='thin_prism'):
        Rectifier(K, [0.1], 'thin_prism', IDENTITY, P, size)
    with pytest.raises(CameraInfoError, match='4 or 5'):
        Rectifier(K, [0.1, 0.2, 0.3], 'plumb_bob', IDENTITY, P, size)
    with pytest.raises(CameraInfoError, match='finite'):
        Rectifier(K, [np.nan] * 4, 'equidistant', IDENTITY, P, size)
    with pytest.raises(CameraInfoError, match='calibrated'):
        Rectifier([0.0] * 9, [], '', IDENTITY, P, size)
    with pytest.raises(CameraInfoError, match='160x120'):
        Rectifier(K, [], '', IDENTITY, P, size).apply(np.zeros((4, 4, 3), dtype=np.uint8))
