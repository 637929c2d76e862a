"""Records brought to the training size, and mirrored."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lotus2_ros.training.data.sample import BadSample, Record
from lotus2_ros.types import AnyArray, UInt8Array


def checked(record: Record) -> Record:
    """The record itself.

    Raises:
        BadSample: its maps differ in size or type.
    """
    height, width = record.image.shape[:2]
    shapes: dict[str, tuple[AnyArray, tuple[int, ...]]] = {
        'image': (record.image, (height, width, 3)),
        'depth': (record.depth, (height, width)),
        'valid': (record.valid, (height, width)),
    }
    if record.normals is not None:
        shapes['normals'] = (record.normals, (height, width, 3))
    if record.surface is not None:
        shapes['surface'] = (record.surface, (height, width))
    for part, (values, expected) in shapes.items():
        if values.shape != expected:
            reason = f'size mismatch: {part} is {values.shape}, the image asks for {expected}'
            raise BadSample(record.name, reason)
    return record


def fitted(record: Record, height: int, width: int) -> Record:
    """Scaled, aspect kept, until it covers the size, then cut around the centre.

    The image is averaged when it shrinks and interpolated when it grows; depth, normals and masks
    take the nearest pixel, so that no value is made up across an edge and normals keep their
    length. Neither step turns the camera, so normals and Z-depth stay true.

    Args:
        record: of any size.
        height: wanted [px].
        width: wanted [px].
    """
    old_height, old_width = record.image.shape[:2]
    if (old_height, old_width) == (height, width):
        return record
    scale = max(height / old_height, width / old_width)
    new_height = max(height, round(old_height * scale))
    new_width = max(width, round(old_width * scale))
    rows = _nearest(old_height, new_height, height)
    columns = _nearest(old_width, new_width, width)
    top, left = (new_height - height) // 2, (new_width - width) // 2
    image = _scaled(record.image, new_height, new_width)[top : top + height, left : left + width]

    def picked(values: AnyArray) -> AnyArray:
        return values[rows[:, None], columns]

    return Record(
        name=record.name,
        image=np.ascontiguousarray(image),
        depth=picked(record.depth),
        valid=picked(record.valid),
        normals=None if record.normals is None else picked(record.normals),
        surface=None if record.surface is None else picked(record.surface),
    )


def _nearest(old: int, new: int, kept: int) -> NDArray[np.int64]:
    """Source indices (kept,) of the middle of a line that goes from `old` to `new` pixels."""
    first = (new - kept) // 2
    centres = (np.arange(first, first + kept) + 0.5) * (old / new)
    return np.minimum(centres.astype(np.int64), old - 1)


def _scaled(image: UInt8Array, height: int, width: int) -> UInt8Array:
    if image.shape[:2] == (height, width):
        return image
    shrinks = height < image.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def mirrored(record: Record) -> Record:
    """Left and right exchanged; a mirrored normal has the opposite x."""
    normals = record.normals
    if normals is not None:
        normals = np.ascontiguousarray(normals[:, ::-1]) * np.array([-1, 1, 1], np.float32)
    return Record(
        name=record.name,
        image=np.ascontiguousarray(record.image[:, ::-1]),
        depth=np.ascontiguousarray(record.depth[:, ::-1]),
        valid=np.ascontiguousarray(record.valid[:, ::-1]),
        normals=normals,
        surface=None if record.surface is None else np.ascontiguousarray(record.surface[:, ::-1]),
    )
