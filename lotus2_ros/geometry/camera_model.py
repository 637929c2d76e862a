"""What a CameraInfo says about the image at hand: region of interest and binning applied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lotus2_ros.errors import CameraInfoError
from lotus2_ros.geometry.intrinsics import Intrinsics


class RegionOfInterest(NamedTuple):
    """A window in the full, unbinned sensor image; all zero means the whole of it [px]."""

    x_offset: int = 0
    y_offset: int = 0
    width: int = 0
    height: int = 0


def effective_intrinsics(
    matrix: Sequence[float],
    *,
    calibrated_size: tuple[int, int],
    image_size: tuple[int, int],
    binning: tuple[int, int] = (0, 0),
    roi: Sequence[int] = RegionOfInterest(),
) -> Intrinsics:
    """Intrinsics of the image that is really there, from those of the full sensor image.

    First the region of interest is cut (cx - x_offset), then pixels are binned. A binned pixel's
    centre is the middle of the pixels it was made of, hence cx' = (cx + 0.5) / b - 0.5
    (image_geometry leaves out this half pixel).

    Args:
        matrix: K (9 numbers) or P (12 numbers) row by row, of the full, unbinned sensor image.
            The fourth column of P is not used: depth is seen from this camera itself.
        calibrated_size: (width, height) that the matrix was calibrated for [px].
        image_size: (width, height) of the image [px].
        binning: sensor pixels per image pixel in x and y; 0 counts as 1.
        roi: x_offset, y_offset, width, height, see `RegionOfInterest`.

    Raises:
        CameraInfoError: the numbers are not those of a calibrated camera, or the image does not
            have the size that they imply.
    """
    if len(matrix) not in (9, 12):
        msg = f'a camera matrix has 9 (K) or 12 (P) numbers, not {len(matrix)}'
        raise CameraInfoError(msg)
    columns = len(matrix) // 3
    window = RegionOfInterest(*(int(value) for value in roi))
    width = window.width or calibrated_size[0]
    height = window.height or calibrated_size[1]
    bin_x, bin_y = max(1, int(binning[0])), max(1, int(binning[1]))
    if (
        min(window) < 0
        or window.x_offset + width > calibrated_size[0]
        or window.y_offset + height > calibrated_size[1]
    ):
        msg = (
            f'the region of interest {width}x{height}+{window.x_offset}+{window.y_offset} does not '
            f'lie in the calibrated image of {calibrated_size[0]}x{calibrated_size[1]} px'
        )
        raise CameraInfoError(msg)
    # Drivers differ in what they do with the last, incomplete bin.
    fits_x = image_size[0] in (width // bin_x, -(-width // bin_x))
    fits_y = image_size[1] in (height // bin_y, -(-height // bin_y))
    if not fits_x or not fits_y:
        msg = (
            f'the image is {image_size[0]}x{image_size[1]} px but its CameraInfo describes '
            f'{width // bin_x}x{height // bin_y} px ({calibrated_size[0]}x{calibrated_size[1]}, '
            f'region of interest {tuple(window)}, binning {bin_x}x{bin_y}); whoever resizes the '
            'image must resize its CameraInfo too'
        )
        raise CameraInfoError(msg)
    return Intrinsics(
        fx=float(matrix[0]) / bin_x,
        fy=float(matrix[columns + 1]) / bin_y,
        cx=(float(matrix[2]) - window.x_offset + 0.5) / bin_x - 0.5,
        cy=(float(matrix[columns + 2]) - window.y_offset + 0.5) / bin_y - 0.5,
        width=image_size[0],
        height=image_size[1],
    )
