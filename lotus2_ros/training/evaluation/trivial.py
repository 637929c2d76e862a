"""Predictors that never saw the picture, fitted to the very ground truth they are judged by.

A model that does not beat them has learnt little that this benchmark can show.
"""

from __future__ import annotations

import numpy as np

from lotus2_ros.training.evaluation.benchmark import Sample
from lotus2_ros.types import AnyArray, BoolArray, Float32Array, Prediction

PLANE = 'row and column, fitted'
CONSTANT = 'constant, fitted'


def trivial_predictions(sample: Sample) -> dict[str, Prediction]:
    """The best plane in row and column, and the best constant, in disparity and in normals."""
    results = {}
    for name, degree in ((PLANE, 1), (CONSTANT, 0)):
        disparity = normals = None
        if sample.depth is not None and sample.valid is not None:
            truth = np.zeros(sample.depth.shape)
            np.divide(1.0, sample.depth, out=truth, where=sample.valid)
            fitted = _fit(truth[..., None], sample.valid, degree)[..., 0]
            # The alignment that follows fits over positive disparities only: it must find all.
            disparity = fitted - fitted.min() + np.float32(1.0)
        if sample.normals is not None and sample.surface is not None:
            normals = _fit(sample.normals, sample.surface, degree)
        results[name] = Prediction(disparity, normals)
    return results


def _fit(truth: AnyArray, valid: BoolArray, degree: int) -> Float32Array:
    """Least squares of (H, W, C) over the valid pixels, evaluated everywhere."""
    height, width = valid.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing='ij')
    columns = [np.ones_like(x)] + ([x, y] if degree else [])
    design = np.stack(columns, -1)
    weights = np.linalg.lstsq(design[valid], truth[valid].astype(np.float64), rcond=None)[0]
    return np.asarray(design @ weights, np.float32)
