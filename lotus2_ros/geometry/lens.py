"""Between normalised coordinates (x / z, y / z) and pixels of a raw, distorted image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from lotus2_ros.errors import CameraInfoError
from lotus2_ros.geometry.intrinsics import Intrinsics

Float64Array = NDArray[np.float64]

_COUNTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14), 'equidistant': (4,)}
_ALIASES = {'fisheye': 'equidistant'}

_UNDISTORTION_ITERATIONS = 12
_STEP = 1e-6
"""Of the differences that stand for the derivative, in normalised coordinates."""

_WIDEST = 30.0
"""Largest radius looked at in undistortion: 88 degrees off the axis."""

_UNDISTORTED_WITHIN = 0.05
"""Largest error of a pixel projected again after its undistortion [px]."""


@dataclass(frozen=True, slots=True)
class Lens:
    """The distortion of a CameraInfo; without coefficients a pinhole.

    Attributes:
        model: plumb_bob, rational_polynomial or equidistant (fisheye); may be empty for a pinhole.
        coefficients: D; empty or all zero is no distortion.

    Raises:
        CameraInfoError: the model is not known, or it does not take these coefficients.
    """

    model: str = ''
    coefficients: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.is_pinhole:
            return
        name = _ALIASES.get(self.model, self.model)
        if name not in _COUNTS:
            msg = f'distortion model {self.model!r} is not supported; known: {", ".join(_COUNTS)}'
            raise CameraInfoError(msg)
        count, finite = len(self.coefficients), all(map(math.isfinite, self.coefficients))
        if count not in _COUNTS[name] or not finite:
            allowed = ' or '.join(map(str, _COUNTS[name]))
            msg = f'{name} takes {allowed} finite coefficients, not {list(self.coefficients)}'
            raise CameraInfoError(msg)

    @property
    def is_pinhole(self) -> bool:
        """True if nothing is distorted; of a fisheye, never: its zeros are a distortion too."""
        fisheye = _ALIASES.get(self.model, self.model) == 'equidistant'
        return not self.coefficients if fisheye else not any(self.coefficients)

    @property
    def field_radius(self) -> float:
        """Radius |(x / z, y / z)| up to which the radial distortion grows with the angle.

        Beyond it the polynomial turns back and would put points from outside the field of view
        into the image. Infinite where it never turns. Tangential, prism and tilt terms are not
        part of it: they are small by nature and do not fold an image.
        """
        if self.is_pinhole:
            return math.inf
        if _ALIASES.get(self.model, self.model) == 'equidistant':
            # theta_d = theta (1 + k1 theta^2 + ...); s = theta^2 is the variable.
            slope = Polynomial([1.0, *(c * (2 * i + 3) for i, c in enumerate(self.coefficients))])
            angle = math.sqrt(_first_positive_root(slope))
            return math.tan(angle) if angle < math.pi / 2 else math.inf
        k = [*self.coefficients, *([0.0] * 14)]
        above = Polynomial([1.0, k[0], k[1], k[4]])
        rational = len(self.coefficients) >= 8
        below = Polynomial([1.0, k[5], k[6], k[7]] if rational else [1.0])
        # d/dr (r N(s) / D(s)) with s = r^2, times D^2.
        s = Polynomial([0.0, 2.0])
        slope = (above + s * above.deriv()) * below - s * above * below.deriv()
        return math.sqrt(min(_first_positive_root(slope), _first_positive_root(below)))

    def project(self, points: Float64Array, intrinsics: Intrinsics) -> Float64Array:
        """Pixels (column, row) of points in the optical frame.

        Args:
            points: (N, 3) [m].
            intrinsics: camera matrix and size of the raw image.

        Returns:
            (N, 2) float64 [px], not clipped to the image; NaN for points that are not finite, not
            in front of the camera, or beyond the field where the distortion folds back.
        """
        pixels = np.full((len(points), 2), np.nan)
        # NaN compares false; the tiny bound keeps x / z finite. A sum is finite if its terms are.
        with np.errstate(invalid='ignore', over='ignore'):
            finite = np.isfinite(points[:, 0] + points[:, 1] + points[:, 2])
        front = np.flatnonzero((points[:, 2] > 1e-6) & finite)
        everything = len(front) == len(points)
        if not everything:
            points = points[front]
        plane = points[:, :2] / points[:, 2:]
        radius = self.field_radius
        if radius < math.inf:
            inside = np.hypot(plane[:, 0], plane[:, 1]) < radius
            everything = everything and bool(inside.all())
            front, plane = front[inside], plane[inside]
        if everything:
            return self._distort(plane, intrinsics)
        pixels[front] = self._distort(plane, intrinsics)
        return pixels

    def normalise(self, pixels: Float64Array, intrinsics: Intrinsics) -> Float64Array:
        """Normalised coordinates (x / z, y / z) of pixels, the inverse of `project`.

        Args:
            pixels: (N, 2) [px].
            intrinsics: camera matrix and size of the raw image.

        Returns:
            (N, 2) float64; NaN where no ray in front of the camera leads to the pixel.
        """
        pixels = np.asarray(pixels, dtype=np.float64)
        if self.is_pinhole or len(pixels) == 0:
            centre, focal = [intrinsics.cx, intrinsics.cy], [intrinsics.fx, intrinsics.fy]
            return np.asarray((pixels - centre) / focal, dtype=np.float64)
        plane = self._undistort(pixels, intrinsics)
        # The iteration may diverge, or land behind the fold: project again.
        again = self.project(np.column_stack([plane, np.ones(len(plane))]), intrinsics)
        wrong = ~(np.abs(again - pixels).max(axis=1) < _UNDISTORTED_WITHIN)
        plane[wrong] = np.nan
        return plane

    def rays(self, intrinsics: Intrinsics) -> Float64Array:
        """(H, W, 2) float64: (x / z, y / z) of every pixel; NaN where the lens sees nothing."""
        rows, columns = np.mgrid[: intrinsics.height, : intrinsics.width]
        pixels = np.column_stack([columns.ravel(), rows.ravel()]).astype(np.float64)
        shape = (intrinsics.height, intrinsics.width, 2)
        return self.normalise(pixels, intrinsics).reshape(shape)

    def _undistort(self, pixels: Float64Array, intrinsics: Intrinsics) -> Float64Array:
        """Newton's method on `_distort`, kept inside the field; not converged everywhere.

        Our own rather than OpenCV's: its fixed-point iteration stops short at strong distortion
        and takes its criteria in other places in each version.
        """
        distorted = (pixels - [intrinsics.cx, intrinsics.cy]) / [intrinsics.fx, intrinsics.fy]
        radius = np.hypot(distorted[:, 0], distorted[:, 1])
        widest = min(_WIDEST, 0.999 * self.field_radius)
        start = np.clip(radius, 1e-9, widest)
        if _ALIASES.get(self.model, self.model) == 'equidistant':
            start = np.clip(np.tan(np.minimum(radius, 1.5)), 1e-9, widest)
        plane = distorted * (start / np.maximum(radius, 1e-9))[:, None]
        focal = np.array([intrinsics.fx, intrinsics.fy])
        step_x, step_y = np.eye(2) * _STEP
        for _ in range(_UNDISTORTION_ITERATIONS):
            here = self._distort(plane, intrinsics)
            error = (here - pixels) / focal
            along_x = (self._distort(plane + step_x, intrinsics) - here) / focal / _STEP
            along_y = (self._distort(plane + step_y, intrinsics) - here) / focal / _STEP
            determinant = along_x[:, 0] * along_y[:, 1] - along_y[:, 0] * along_x[:, 1]
            determinant = np.where(np.abs(determinant) > 1e-9, determinant, 1e-9)
            move_x = along_y[:, 1] * error[:, 0] - along_y[:, 0] * error[:, 1]
            move_y = along_x[:, 0] * error[:, 1] - along_x[:, 1] * error[:, 0]
            plane -= np.clip(np.column_stack([move_x, move_y]) / determinant[:, None], -1.0, 1.0)
            reach = np.hypot(plane[:, 0], plane[:, 1])
            plane *= np.minimum(1.0, widest / np.maximum(reach, 1e-9))[:, None]
        return np.asarray(plane, dtype=np.float64)

    def _distort(self, plane: Float64Array, intrinsics: Intrinsics) -> Float64Array:
        if self.is_pinhole or len(plane) == 0:
            centre, focal = [intrinsics.cx, intrinsics.cy], [intrinsics.fx, intrinsics.fy]
            return np.asarray(plane * focal + centre, dtype=np.float64)
        points = np.column_stack([plane, np.ones(len(plane))])[:, None]
        nowhere, coefficients = np.zeros(3), np.array(self.coefficients)
        if _ALIASES.get(self.model, self.model) == 'equidistant':
            pixels, _ = cv2.fisheye.projectPoints(
                points, nowhere, nowhere, intrinsics.matrix, coefficients
            )
        else:
            pixels, _ = cv2.projectPoints(points, nowhere, nowhere, intrinsics.matrix, coefficients)
        return np.asarray(pixels, dtype=np.float64).reshape(-1, 2)


PINHOLE = Lens()
"""A rectified image."""


def _first_positive_root(polynomial: Polynomial) -> float:
    """Smallest real root above 0; infinite if there is none."""
    roots = polynomial.trim(1e-15).roots()
    real = roots.real[np.abs(roots.imag) < 1e-9 * np.maximum(1.0, np.abs(roots.real))]
    positive = real[real > 0.0]
    return float(positive.min()) if positive.size else math.inf
