"""Least squares between affine-invariant disparity and disparity with a scale."""

from __future__ import annotations

import numpy as np

from lotus2_ros.errors import ImageError
from lotus2_ros.types import BoolArray, Float32Array


def align_disparity(
    prediction: Float32Array, reference: Float32Array, mask: BoolArray | None = None
) -> tuple[float, float]:
    """Scale a and shift b that minimise |a p + b - r|^2 over the mask.

    Closed form, in float64: a = cov(p, r) / var(p), b = mean(r) - a mean(p). This is the alignment
    of the affine-invariant depth protocol (Ranftl et al. 2020, MiDaS), done in disparity.

    Args:
        prediction: (H, W) disparity without scale.
        reference: (H, W) disparity to be matched [1/m, or any unit].
        mask: (H, W) bool, pixels to use; None uses all. Values under it must be finite.

    Returns:
        (a, b). For a constant prediction a is 0 and b the mean of the reference.

    Raises:
        ImageError: the mask is empty, or values under it are not finite.
    """
    p, r = _masked(prediction, mask), _masked(reference, mask)
    p_mean, r_mean = p.mean(), r.mean()
    p_centred = p - p_mean
    variance = float(p_centred @ p_centred)
    # Rounding leaves a constant with a variance of about (eps * mean)^2 a pixel.
    if variance <= p.size * (np.finfo(np.float64).eps * max(1.0, abs(p_mean))) ** 2:
        return 0.0, float(r_mean)
    scale = float(p_centred @ (r - r_mean)) / variance
    return scale, float(r_mean - scale * p_mean)


def fit_plane_disparity(reference: Float32Array, mask: BoolArray | None = None) -> Float32Array:
    """The plane in row and column that is nearest to a disparity image: a trivial predictor.

    It has seen the ground truth, so a model that does not beat it has learned little.

    Args:
        reference: (H, W) disparity.
        mask: (H, W) bool, pixels to fit to; None uses all. Values under it must be finite.

    Returns:
        (H, W) float32, the plane at every pixel.

    Raises:
        ImageError: the mask is empty, or values under it are not finite.
    """
    height, width = reference.shape
    target = _masked(reference, mask)
    # Centred coordinates of unit size keep the three columns well conditioned.
    x, y = np.meshgrid(np.linspace(-1.0, 1.0, width), np.linspace(-1.0, 1.0, height))
    design = np.stack([x, y, np.ones_like(x)], axis=-1)
    rows = design.reshape(-1, 3) if mask is None else design[mask]
    coefficients, *_ = np.linalg.lstsq(rows, target, rcond=None)
    return np.asarray(design @ coefficients, dtype=np.float32)


def _masked(
    values: Float32Array, mask: BoolArray | None
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    chosen = (values if mask is None else values[mask]).astype(np.float64).reshape(-1)
    if chosen.size == 0:
        raise ImageError('there is no valid pixel to align with')
    if not np.isfinite(chosen).all():
        raise ImageError(
            'disparity to align has values that are not finite; leave them out by mask'
        )
    return chosen
