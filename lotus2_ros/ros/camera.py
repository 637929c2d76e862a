"""sensor_msgs/CameraInfo to the camera of the image at hand, and back for what is published."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from lotus2_ros.errors import CameraInfoError
from lotus2_ros.geometry.camera_model import effective_intrinsics
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.rectification import Rectifier
from lotus2_ros.types import BoolArray


@dataclass(frozen=True, eq=False)
class Camera:
    """The camera of an image as the model sees it: a pinhole, after undistortion if needed.

    Attributes:
        intrinsics: of the image given to the model.
        rectifier: turns the camera's image into that one; None if it is that one already.
        source: where the intrinsics come from, for people.
    """

    intrinsics: Intrinsics
    rectifier: Rectifier | None
    source: str

    def valid(self, width: int, height: int) -> BoolArray | None:
        """(height, width) bool: where an undistorted image has content; None is everywhere."""
        mask = self.rectifier.valid if self.rectifier else None
        if mask is None or mask.shape == (height, width):
            return mask
        resized = cv2.resize(
            mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
        )
        return np.asarray(resized, dtype=np.bool_)


class CameraTracker:
    """Remembers the latest CameraInfo and makes the `Camera` of an image from it.

    The latest message counts, whatever its stamp: calibration hardly ever changes, and a
    synchroniser that waits for equal stamps is a frequent reason for a node that does nothing.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._info: CameraInfo | None = None
        self._key: object = None
        self._camera: Camera | None = None
        self._reason = ''

    def update(self, info: CameraInfo) -> None:
        """Take a new message."""
        self._info = info

    def clear(self) -> None:
        """Forget the message: time has jumped, or the input is closed."""
        self._info = None
        self._key = None

    def camera(
        self,
        width: int,
        height: int,
        frame_id: str,
        *,
        rectified: bool,
        fallback_hfov_deg: float,
    ) -> tuple[Camera | None, str]:
        """The camera of an image, or the reason why there is none.

        Args:
            width: of the image [px].
            height: of the image [px].
            frame_id: of the image.
            rectified: the image is rectified already.
            fallback_hfov_deg: assumed where no usable CameraInfo is there; 0 assumes nothing.

        Returns:
            The camera, or None; and why the CameraInfo is not usable, empty if it is.
        """
        info = self._info
        known = None if info is None else _content(info)
        key = (known, width, height, frame_id, rectified, fallback_hfov_deg)
        # Undistortion maps take tens of milliseconds: only a change makes new ones.
        if key != self._key:
            self._camera, self._reason = self._make(
                info, width, height, frame_id, rectified, fallback_hfov_deg
            )
            self._key = key
        return self._camera, self._reason

    def _make(
        self,
        info: CameraInfo | None,
        width: int,
        height: int,
        frame_id: str,
        rectified: bool,
        fallback_hfov_deg: float,
    ) -> tuple[Camera | None, str]:
        if info is None:
            reason = f'no CameraInfo has come on {self._topic} (or set fallback_hfov_deg)'
        else:
            try:
                return camera_from_info(info, width, height, frame_id, rectified=rectified), ''
            except CameraInfoError as error:
                reason = f'the CameraInfo on {self._topic} is not usable: {error}'
        if fallback_hfov_deg > 0:
            intrinsics = Intrinsics.from_hfov(fallback_hfov_deg, width, height)
            return Camera(intrinsics, None, f'assumed: {fallback_hfov_deg:g} deg wide'), reason
        return None, reason


def camera_from_info(
    info: CameraInfo, width: int, height: int, frame_id: str, *, rectified: bool
) -> Camera:
    """The camera that a CameraInfo describes.

    A rectified image is projected with P. A raw image without distortion is projected with K as it
    is; one with distortion is undistorted with K, D and R and then projected with P.

    Raises:
        CameraInfoError: the numbers are not usable, or frame or size are not those of the image.
    """
    if info.header.frame_id and info.header.frame_id != frame_id:
        raise CameraInfoError(
            f'its frame is {info.header.frame_id!r}, but that of the image is {frame_id!r}'
        )

    def effective(matrix: object) -> Intrinsics:
        roi = info.roi
        return effective_intrinsics(
            [float(value) for value in matrix],  # type: ignore[attr-defined]
            calibrated_size=(info.width, info.height),
            image_size=(width, height),
            binning=(info.binning_x, info.binning_y),
            roi=(roi.x_offset, roi.y_offset, roi.width, roi.height),
        )

    if rectified:
        return Camera(effective(info.p), None, 'P of CameraInfo')
    raw = effective(info.k)
    if not any(info.d):
        return Camera(raw, None, 'K of CameraInfo')
    projection = effective(info.p).projection if any(info.p) else np.zeros((3, 4))
    rectifier = Rectifier(
        raw.matrix.ravel().tolist(),
        list(info.d),
        info.distortion_model,
        list(info.r),
        projection.ravel().tolist(),
        (width, height),
    )
    return Camera(rectifier.intrinsics, rectifier, f'CameraInfo, undistorted here ({_model(info)})')


def camera_info_message(intrinsics: Intrinsics, header: Header) -> CameraInfo:
    """A CameraInfo of an image without distortion."""
    return CameraInfo(
        header=header,
        width=intrinsics.width,
        height=intrinsics.height,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=intrinsics.matrix.ravel(),
        r=np.eye(3).ravel(),
        p=intrinsics.projection.ravel(),
    )


def _model(info: CameraInfo) -> str:
    return info.distortion_model or 'no distortion model'


def _content(info: CameraInfo) -> tuple[object, ...]:
    roi = info.roi
    return (
        info.header.frame_id,
        info.width,
        info.height,
        info.distortion_model,
        tuple(info.d),
        tuple(info.k),
        tuple(info.r),
        tuple(info.p),
        info.binning_x,
        info.binning_y,
        (roi.x_offset, roi.y_offset, roi.width, roi.height),
    )
