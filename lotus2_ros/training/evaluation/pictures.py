"""Samples beside what was predicted, as pictures for people."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from lotus2_ros.geometry.colormap import colorize_disparity, colorize_normals
from lotus2_ros.training.evaluation.benchmark import Sample
from lotus2_ros.training.evaluation.judging import Judgement
from lotus2_ros.types import AnyArray, BoolArray, Prediction, UInt8Array

TILE = 480
"""Longest side of a stored picture in pixels: a benchmark's pictures may have 24 megapixels."""


def depth_tiles(
    sample: Sample, judgements: Mapping[str, Judgement]
) -> tuple[list[str], list[UInt8Array]]:
    """Picture, true disparity and aligned disparities in one range of colours; unknown is black.

    Returns:
        Titles and tiles, (h, w, 3) uint8 RGB.
    """
    assert sample.depth is not None
    assert sample.valid is not None
    known = sample.valid if sample.known is None else sample.known
    truth = np.zeros(sample.depth.shape, np.float32)
    np.divide(1.0, sample.depth, out=truth, where=known & (sample.depth > 0))
    low, high = np.quantile(truth[sample.valid], [0.02, 0.98])
    high = max(high, low + 1e-6)
    truth[~known] = np.nan
    titles, tiles = ['picture', 'true disparity'], [sample.image]
    maps: list[AnyArray] = [truth]
    for name, judgement in judgements.items():
        assert judgement.aligned is not None
        titles.append(name)
        maps.append(judgement.aligned.disparity.astype(np.float32))
    tiles += [colorize_disparity(_thinned(m), low=float(low), high=float(high)) for m in maps]
    return titles, [_small(tile) for tile in tiles]


def normal_tiles(
    sample: Sample, predictions: Mapping[str, Prediction]
) -> tuple[list[str], list[UInt8Array]]:
    """Picture, true normals and predicted ones; unknown is black.

    Returns:
        Titles and tiles, (h, w, 3) uint8 RGB.
    """
    assert sample.normals is not None
    assert sample.surface is not None
    tiles = [sample.image, _normal_picture(sample.normals, sample.surface)]
    for prediction in predictions.values():
        assert prediction.normals is not None
        tiles.append(colorize_normals(prediction.normals))
    return ['picture', 'true normals', *predictions], [_small(tile) for tile in tiles]


def _normal_picture(normals: AnyArray, surface: BoolArray) -> UInt8Array:
    length = np.linalg.norm(normals, axis=-1, keepdims=True).clip(1e-8)
    unit = (normals / length).astype(np.float32)
    unit[~surface] = np.nan
    return colorize_normals(unit)


def _thinned(values: AnyArray) -> AnyArray:
    """Every n-th pixel of a large map: colouring 24 megapixels to show 0.2 is a waste."""
    step = max(1, max(values.shape) // (2 * TILE))
    return np.ascontiguousarray(values[::step, ::step])


def _small(tile: UInt8Array) -> UInt8Array:
    scale = TILE / max(tile.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(tile)
    size = round(tile.shape[1] * scale), round(tile.shape[0] * scale)
    return np.asarray(cv2.resize(tile, size, interpolation=cv2.INTER_AREA), np.uint8)
