"""From a record to the picture that the model is to draw, and where that picture is known."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from lotus2_ros.training.data.sample import BadSample, Record
from lotus2_ros.training.targets import QUANTILES
from lotus2_ros.types import DEPTH, AnyArray, BoolArray, Float32Array

_FEWEST = 32
"""Known pixels below which a sample teaches nothing."""

_LEAST_SPREAD = 1e-4
"""Least relative difference of the disparity's quantiles: below it only noise would be drawn."""


def supervision(record: Record, task: str) -> tuple[Tensor, Tensor]:
    """Target (3, H, W) float32 in [-1, 1] and mask (1, H, W) bool of a task.

    Raises:
        BadSample: nothing is known, a known value is not a number, or the depth is flat.
    """
    if task == DEPTH:
        known = record.valid
        values = _disparity_picture(record)[..., None].repeat(3, -1)
    else:
        values, known = _normals(record)
    target = filled(values, known)
    return (
        torch.from_numpy(np.ascontiguousarray(target.transpose(2, 0, 1))),
        torch.from_numpy(np.ascontiguousarray(known[None])),
    )


def _disparity_picture(record: Record) -> Float32Array:
    """(H, W) disparity between its quantiles as [-1, 1].

    The quantiles are those of the known pixels with a surface; what is known to be beyond range is
    as far as the picture goes: -1.
    """
    known = record.depth[record.valid]
    if np.isnan(known).any() or (known <= 0).any():
        raise BadSample(record.name, 'NaN or non-positive depth where it should be known')
    near = known[np.isfinite(known)]
    if near.size < _FEWEST:
        raise BadSample(record.name, f'empty depth: {near.size} known pixels')
    low, high = np.quantile(1 / near, QUANTILES)
    if high - low < _LEAST_SPREAD * high:
        raise BadSample(record.name, f'flat depth: everything is {1 / high:.4g} m away')
    disparity = np.zeros_like(record.depth)
    np.divide(1, record.depth, out=disparity, where=record.valid)
    scaled = (disparity - np.float32(low)) / np.float32(high - low)
    return np.asarray(scaled.clip(0, 1) * 2 - 1, np.float32)


def _normals(record: Record) -> tuple[Float32Array, BoolArray]:
    if record.normals is None or record.surface is None:
        raise BadSample(record.name, 'no normals')
    known = record.normals[record.surface]
    if not np.isfinite(known).all():
        raise BadSample(record.name, 'NaN normals where they should be known')
    if len(known) < _FEWEST:
        raise BadSample(record.name, f'empty normals: {len(known)} known pixels')
    return record.normals.clip(-1, 1), record.surface


def filled(values: AnyArray, known: BoolArray) -> AnyArray:
    """Each unknown pixel takes the value of the nearest known one.

    Args:
        values: (H, W, C).
        known: (H, W), true somewhere.
    """
    if known.all():
        return values
    distance = np.where(known, 0, 255).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(
        distance, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    source = np.empty((int(labels.max()) + 1, values.shape[-1]), values.dtype)
    source[labels[known]] = values[known]
    return np.where(known[..., None], values, source[labels])
