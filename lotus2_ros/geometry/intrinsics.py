"""Pinhole intrinsics of one image size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.errors import CameraInfoError


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """A pinhole camera; hashable, so that whatever is derived from it can be cached.

    Pixel (0, 0) is the centre of the upper left pixel, as in ROS and OpenCV, so an image covers
    -0.5 to width - 0.5.

    Attributes:
        fx: focal length along x [px].
        fy: focal length along y [px].
        cx: column of the principal point [px].
        cy: row of the principal point [px].
        width: image width [px].
        height: image height [px].
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            msg = f'an image of {self.width}x{self.height} px has no intrinsics'
            raise CameraInfoError(msg)
        numbers = (self.fx, self.fy, self.cx, self.cy)
        if not all(math.isfinite(number) for number in numbers) or self.fx <= 0 or self.fy <= 0:
            msg = (
                f'intrinsics fx={self.fx} fy={self.fy} cx={self.cx} cy={self.cy} are not usable: '
                'all must be finite and the focal lengths above 0; is the camera calibrated?'
            )
            raise CameraInfoError(msg)

    @classmethod
    def from_hfov(cls, hfov_deg: float, width: int, height: int) -> Intrinsics:
        """Square pixels and a centred principal point, from the horizontal field of view.

        Args:
            hfov_deg: angle between the outer edges of the first and the last column [deg].
            width: image width [px].
            height: image height [px].

        Raises:
            CameraInfoError: the angle is not between 0 and 180, or the size is empty.
        """
        if not 0.0 < hfov_deg < 180.0:
            msg = f'a horizontal field of view of {hfov_deg} deg is not between 0 and 180'
            raise CameraInfoError(msg)
        focal = 0.5 * width / math.tan(0.5 * math.radians(hfov_deg))
        return cls(focal, focal, 0.5 * (width - 1), 0.5 * (height - 1), width, height)

    def scaled(self, width: int, height: int) -> Intrinsics:
        """The same camera after its image was resized to width x height.

        The image edges stay where they are, so the principal point moves by the pixel centre:
        cx' = (cx + 0.5) s - 0.5. This is what cv2.resize and torch's align_corners=False do.
        """
        sx, sy = width / self.width, height / self.height
        return Intrinsics(
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
            width=width,
            height=height,
        )

    @property
    def hfov_deg(self) -> float:
        """Angle between the outer edges of the first and the last column [deg]."""
        left = math.atan2(self.cx + 0.5, self.fx)
        right = math.atan2(self.width - 0.5 - self.cx, self.fx)
        return math.degrees(left + right)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """K, (3, 3)."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def projection(self) -> NDArray[np.float64]:
        """P = [K | 0], (3, 4): a monocular camera has no baseline."""
        return np.hstack([self.matrix, np.zeros((3, 1))])
