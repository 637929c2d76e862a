"""Scale and shift by the least relative error of depth over the whole image.

A network's disparity is not quite an affine map of the true one: the near ground may lie on another
line than the walls. A fit that leaves out what does not agree settles on the part of the scene that
happens to lie on one line best, and is far off in the rest. Here every reference counts, with
bounded influence: by the relative error of its depth, which is what users of depth feel, and for
the part of the image that is nearer to it than to any other reference.
"""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.scale.estimate import References, ScaleEstimate
from lotus2_ros.geometry.scale.quantile import median, robust_sigma
from lotus2_ros.geometry.scale.two_by_two import inverse

Float64Array = NDArray[np.float64]

_NETWORK = 0.03
"""Relative error of depth within which a network is taken at its word: residuals below it count by
their square, as noise does, those above by their size."""

_CELLS = 80
"""Cells along the longer side of the image, by which areas are counted."""

_LARGEST_AREA = 10.0
"""Of one reference, in units of the mean: no part of the image hangs on one point."""

_ROUNDS = 12
_SETTLED = 1e-4
_FARTHEST = 0.005
"""Depth of 200 m, which stands for all that is predicted beyond, up to infinity [1/m]."""

_INLIER = 3.0
_INDEPENDENT = 300
"""References that count towards the covariance: neighbours err alike."""


def image_areas(pixels: Float64Array, size: tuple[int, int]) -> Float64Array:
    """How much of the image each point stands for: the cells that are nearest to it.

    A lidar's rings lie dense on far walls and leave out the ground in front of the robot, which
    fills a third of the image.

    Args:
        pixels: (N, 2) finite (column, row); what is beside the image counts for its border.
        size: (width, height) of the image.

    Returns:
        (N,) with a mean of about 1; points within one cell share it.
    """
    if len(pixels) == 0:
        return np.zeros(0)
    step = max(1.0, max(size) / _CELLS)
    columns, rows = (int(np.ceil(side / step)) for side in size)
    column = np.clip((pixels[:, 0] + 0.5) // step, 0, columns - 1).astype(np.intp)
    row = np.clip((pixels[:, 1] + 0.5) // step, 0, rows - 1).astype(np.intp)
    empty = np.ones((rows, columns), dtype=np.uint8)
    empty[row, column] = 0
    _, labels = cv2.distanceTransformWithLabels(
        empty, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    cells = np.bincount(labels.reshape(-1))
    own = labels[row, column]
    area = cells[own] / np.bincount(own, minlength=len(cells))[own]
    return np.asarray(np.minimum(area / area.mean(), _LARGEST_AREA), dtype=np.float64)


def refine_over_image(
    references: References, areas: Float64Array, start: ScaleEstimate
) -> ScaleEstimate:
    """`refine` with the references of which something is predicted.

    Args:
        references: disparity NaN where there is none; 1 / z and sigma above 0.
        areas: (N,) what each stands for, see `image_areas`.
        start: found by `fit_scale`.
    """
    known = np.flatnonzero(np.isfinite(references.disparity))
    found = References(
        references.disparity[known], references.inverse_depth[known], references.sigma[known]
    )
    return refine(found, areas[known], start)


def refine(references: References, areas: Float64Array, start: ScaleEstimate) -> ScaleEstimate:
    """Least relative error of depth, from an estimate that holds for a good part of the references.

    Minimises the sum of areas times Huber's function of log(z_fit / z) by iteratively reweighted
    least squares. Half of the references may be wrong, as long as they are not wrong alike.

    Args:
        references: finite, 1 / z and sigma above 0.
        areas: (N,) what each reference stands for, above 0.
        start: found by `fit_scale`.

    Returns:
        The estimate; `start` if there is no positive scale in the end.
    """
    d, target, sigma = (
        np.asarray(values, dtype=np.float64)
        for values in (references.disparity, references.inverse_depth, references.sigma)
    )
    a, b = start.a, start.b
    weights = areas
    for _ in range(_ROUNDS):
        fitted, bound, error = _relative(a, b, d, target, sigma)
        weights = areas / (bound * np.maximum(error, bound) * fitted**2)
        s, wd = weights.sum(), weights * d
        sx, sxx = wd.sum(), wd @ d
        sy, sxy = weights @ target, wd @ target
        determinant = s * sxx - sx * sx
        if not determinant > 0.0:
            return start
        before = a, b
        a, b = float((s * sxy - sx * sy) / determinant), float((sxx * sy - sx * sxy) / determinant)
        if not a > 0.0:
            return start
        if abs(a - before[0]) <= _SETTLED * a and abs(b - before[1]) <= _SETTLED * a:
            break
    residual = np.abs(target - a * d - b)
    scale = max(1.0, robust_sigma(residual / sigma))
    inlier = residual < _INLIER * scale * sigma
    return replace(
        start,
        a=a,
        b=b,
        covariance=_covariance(a, b, d, target, sigma, areas),
        inlier_share=float(inlier.mean()),
        samples=len(d),
        residual=median(residual[inlier] / target[inlier]),
    )


def _relative(
    a: float, b: float, d: Float64Array, target: Float64Array, sigma: Float64Array
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Fitted 1 / z, and sizes of log(z_fit / z): within which errors count by their square, own."""
    fitted = np.maximum(a * d + b, _FARTHEST)
    return fitted, np.sqrt((sigma / fitted) ** 2 + _NETWORK**2), np.abs(np.log(target / fitted))


def _covariance(
    a: float,
    b: float,
    d: Float64Array,
    target: Float64Array,
    sigma: Float64Array,
    areas: Float64Array,
) -> Float64Array:
    """(2, 2) of (log a, b), with residuals as large as they are."""
    fitted, bound, error = _relative(a, b, d, target, sigma)
    noise = sigma / fitted
    scale = max(1.0, robust_sigma(error / noise))
    weights = areas * np.minimum(1.0, bound / np.maximum(error, 1e-12)) / (noise * fitted) ** 2
    # Unequal areas are worth fewer references (Kish 1965).
    worth = min(float(_INDEPENDENT), areas.sum() ** 2 / float(areas @ areas))
    weights *= worth / areas.sum() / scale**2
    design = np.stack([a * d, np.ones_like(d)])  # of log a and of b
    return inverse((weights * design) @ design.T)


def mixed(one: ScaleEstimate, other: ScaleEstimate, share: float) -> ScaleEstimate:
    """Between two estimates of the same references.

    Args:
        one: at a share of 0.
        other: at a share of 1.
        share: of the other.
    """

    def between(first: float, second: float) -> float:
        return (1.0 - share) * first + share * second

    return replace(
        other,
        a=math.exp(between(math.log(one.a), math.log(other.a))),
        b=between(one.b, other.b),
        covariance=(1.0 - share) * one.covariance + share * other.covariance,
        inlier_share=between(one.inlier_share, other.inlier_share),
        residual=between(one.residual, other.residual),
    )
