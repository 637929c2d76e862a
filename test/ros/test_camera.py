from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from lotus2_ros.errors import CameraInfoError
from lotus2_ros.ros.camera import CameraTracker, camera_from_info, camera_info_message

FRAME = 'camera_optical_frame'


def info(**changes: object) -> CameraInfo:
    message = CameraInfo(
        header=Header(frame_id=FRAME),
        width=64,
        height=48,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=[50.0, 0.0, 31.5, 0.0, 51.0, 23.5, 0.0, 0.0, 1.0],
        r=np.eye(3).ravel(),
        p=[40.0, 0.0, 30.0, 0.0, 0.0, 41.0, 20.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    )
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_a_raw_image_without_distortion_is_projected_with_k() -> None:
    camera = camera_from_info(info(), 64, 48, FRAME, rectified=False)
    assert (camera.intrinsics.fx, camera.intrinsics.cy) == (50.0, 23.5)
    assert camera.rectifier is None


def test_a_rectified_image_is_projected_with_p() -> None:
    distorted = info(d=[-0.3, 0.1, 0.0, 0.0, 0.0])
    camera = camera_from_info(distorted, 64, 48, FRAME, rectified=True)
    assert (camera.intrinsics.fx, camera.intrinsics.cy) == (40.0, 20.0)
    assert camera.rectifier is None


@pytest.mark.parametrize(
    ('model', 'd'),
    [
        ('plumb_bob', [-0.3, 0.1, 0.001, -0.001, 0.0]),
        ('rational_polynomial', [-0.3, 0.1, 0.0, 0.0, 0.0, 0.01, 0.0, 0.0]),
        ('equidistant', [0.05, 0.01, 0.0, 0.0]),
    ],
)
def test_a_raw_image_with_distortion_is_undistorted_and_then_projected_with_p(
    model: str, d: list[float]
) -> None:
    camera = camera_from_info(info(distortion_model=model, d=d), 64, 48, FRAME, rectified=False)
    assert camera.rectifier is not None
    assert camera.intrinsics.fx == pytest.approx(40.0)
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    assert not np.array_equal(camera.rectifier.apply(image), image)
    valid = camera.valid(32, 24)
    assert valid is not None
    assert valid.shape == (24, 32)


def test_an_undistorted_camera_without_p_keeps_its_k() -> None:
    unset = info(d=[-0.3, 0.1, 0.0, 0.0, 0.0], p=[0.0] * 12)
    camera = camera_from_info(unset, 64, 48, FRAME, rectified=False)
    assert camera.intrinsics.fx == pytest.approx(50.0)


@pytest.mark.parametrize(
    ('changes', 'size', 'frame', 'reason'),
    [
        ({'k': [0.0] * 9}, (64, 48), FRAME, 'calibrated'),
        ({}, (32, 24), FRAME, 'the image is 32x24 px'),
        ({}, (64, 48), 'other', "its frame is 'camera_optical_frame'"),
        ({'distortion_model': 'odd', 'd': [1.0]}, (64, 48), FRAME, "'odd' is not supported"),
        ({'k': [float('nan')] * 9}, (64, 48), FRAME, 'finite'),
    ],
)
def test_unusable_calibration_is_refused_with_its_reason(
    changes: dict[str, object], size: tuple[int, int], frame: str, reason: str
) -> None:
    with pytest.raises(CameraInfoError, match=reason):
        camera_from_info(info(**changes), *size, frame, rectified=False)


def test_p_of_zeros_is_refused_for_a_rectified_image() -> None:
    with pytest.raises(CameraInfoError):
        camera_from_info(info(p=[0.0] * 12), 64, 48, FRAME, rectified=True)


def test_region_of_interest_and_binning_are_honoured() -> None:
    roi = RegionOfInterest(x_offset=10, y_offset=6, width=40, height=32)
    message = info(roi=roi, binning_x=2, binning_y=2)
    intrinsics = camera_from_info(message, 20, 16, FRAME, rectified=False).intrinsics
    assert intrinsics.fx == 25.0
    assert intrinsics.cx == pytest.approx((31.5 - 10 + 0.5) / 2 - 0.5)


def look(tracker: CameraTracker, width: int = 64, height: int = 48, hfov: float = 0.0):
    return tracker.camera(width, height, FRAME, rectified=False, fallback_hfov_deg=hfov)


def test_the_tracker_says_why_there_is_no_camera() -> None:
    tracker = CameraTracker('/camera/camera_info')
    camera, reason = look(tracker)
    assert camera is None
    assert 'no CameraInfo has come on /camera/camera_info' in reason
    tracker.update(info())
    camera, reason = look(tracker)
    assert camera is not None
    assert reason == ''
    camera, reason = look(tracker, 32, 24)
    assert camera is None
    assert 'not usable: the image is 32x24' in reason


def test_an_assumed_field_of_view_stands_in_and_is_marked_as_assumed() -> None:
    camera, reason = look(CameraTracker('/info'), hfov=90.0)
    assert camera is not None
    assert camera.intrinsics.fx == pytest.approx(32.0)
    assert 'assumed' in camera.source
    assert 'no CameraInfo' in reason


def test_undistortion_maps_are_kept_until_the_calibration_changes() -> None:
    tracker = CameraTracker('/info')
    tracker.update(info(d=[-0.3, 0.1, 0.0, 0.0, 0.0]))
    first, _ = look(tracker)
    tracker.update(info(d=[-0.3, 0.1, 0.0, 0.0, 0.0]))
    assert look(tracker)[0] is first
    tracker.update(info(d=[-0.2, 0.1, 0.0, 0.0, 0.0]))
    assert look(tracker)[0] is not first


def test_a_published_camera_info_is_read_back_as_the_same_camera() -> None:
    intrinsics = camera_from_info(info(), 64, 48, FRAME, rectified=False).intrinsics
    half = intrinsics.scaled(32, 24)
    message = camera_info_message(half, Header(frame_id=FRAME))
    for rectified in (False, True):
        assert camera_from_info(message, 32, 24, FRAME, rectified=rectified).intrinsics == half
