"""Detail by frequency: the radially averaged power spectrum of disparity (the paper's figure 12).

A frequency is in cycles a pixel, 0.5 at Nyquist, whatever the size of the image, so that curves of
images of several sizes can be averaged.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.types import AnyArray

BINS = 48
"""Rings of equal width between 0 and Nyquist."""

HIGH = 0.125
"""Cycles a pixel from which on detail counts as fine: features of up to four pixels' width."""

_SMALLEST = 1e-20
"""Power of rounding; an empty ring counts as this."""


@dataclass(frozen=True, slots=True)
class DetailScore:
    """Fine detail of a prediction against the truth's.

    Attributes:
        power_share: predicted over true power, geometric mean over the rings above `HIGH`: 1 is
            as much fine detail as the truth has, less is too smooth, more is too rough.
        log_gap: the same as a difference of log10 power [decades]; 0 is best.
        agreement: correlation of the fine detail itself in [-1, 1]: detail at the wrong place, or
            noise, has power but no agreement.
    """

    power_share: float
    log_gap: float
    agreement: float


def ring_frequencies() -> AnyArray:
    """(BINS,) middle of each ring in cycles a pixel."""
    return (np.arange(BINS) + 0.5) * (0.5 / BINS)


def radial_log_power(disparity: AnyArray) -> AnyArray:
    """log10 of the mean power in each ring of frequencies, (BINS,); NaN in a ring with none.

    The mean is taken off and a Hann window put on, so that the border of the image, where left
    does not go on into right, is not taken for detail.

    Args:
        disparity: (H, W), finite; at least 16 px each way.

    Raises:
        EvaluationError: too small, or not finite.
    """
    return _radial(np.abs(_transform(disparity)) ** 2, disparity.shape)


def compare_detail(prediction: AnyArray, truth: AnyArray) -> DetailScore:
    """Compare fine detail of two disparity maps (H, W) of one scale.

    Raises:
        EvaluationError: see `radial_log_power`; or the sizes differ.
    """
    if prediction.shape != truth.shape:
        raise EvaluationError(f'disparities of {prediction.shape} and {truth.shape} differ in size')
    p, t = _transform(prediction), _transform(truth)
    rings = ring_frequencies() > HIGH
    gaps = _radial(np.abs(p) ** 2, p.shape) - _radial(np.abs(t) ** 2, t.shape)
    gap = float(np.nanmean(gaps[rings]))
    radius = _radius(p.shape)
    fine = (radius > HIGH) & (radius < 0.5)
    power = np.sqrt(np.sum(np.abs(p[fine]) ** 2) * np.sum(np.abs(t[fine]) ** 2))
    common = float(np.sum((p[fine] * t[fine].conj()).real))
    return DetailScore(10**gap, gap, common / power if power > _SMALLEST else 0.0)


@dataclass
class SpectrumPool:
    """Mean curve of several images."""

    _curves: list[AnyArray] = field(default_factory=list)

    def add(self, curve: AnyArray) -> None:
        """Take in the curve of one image, see `radial_log_power`."""
        self._curves.append(curve)

    def __len__(self) -> int:
        return len(self._curves)

    def mean(self) -> AnyArray:
        """(BINS,) mean of log10 power over the images.

        Raises:
            EvaluationError: there is none.
        """
        if not self._curves:
            raise EvaluationError('no spectrum to average')
        stack = np.array(self._curves)
        known = np.isfinite(stack)
        counts = known.sum(0)
        sums = np.where(known, stack, 0).sum(0)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def recovered_share(core: AnyArray, sharpened: AnyArray, truth: AnyArray) -> float:
    """Share of the fine log power missing in the core's curve that sharpening brings back.

    1 is all of it, 0 nothing, negative is smoother than before, over 1 rougher than the truth.
    NaN where the core misses nothing.

    Args:
        core: (BINS,) mean curve.
        sharpened: (BINS,) mean curve.
        truth: (BINS,) mean curve.
    """
    rings = ring_frequencies() > HIGH
    missing = float(np.nanmean((truth - core)[rings]))
    gained = float(np.nanmean((sharpened - core)[rings]))
    return gained / missing if missing > 1e-6 else float('nan')


def _transform(disparity: AnyArray) -> AnyArray:
    """Fourier transform, scaled so that power does not depend on the image's size."""
    if min(disparity.shape) < 16:
        raise EvaluationError(f'an image of {disparity.shape} is too small for a spectrum')
    if not np.isfinite(disparity).all():
        raise EvaluationError('a spectrum needs finite disparity everywhere')
    height, width = disparity.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    values = disparity.astype(np.float64)
    values = values - (window * values).sum() / window.sum()
    return np.asarray(np.fft.fft2(values * window) / np.sqrt((window**2).sum()))


def _radius(shape: tuple[int, ...]) -> AnyArray:
    return np.asarray(np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])))


def _radial(power: AnyArray, shape: tuple[int, ...]) -> AnyArray:
    ring = (_radius(shape) * (BINS / 0.5)).astype(np.int64).ravel()
    inside = ring < BINS  # the corners lie beyond Nyquist
    inside[0] = False  # frequency 0 holds the rounding of a mean that was taken off
    counts = np.bincount(ring[inside], minlength=BINS)
    sums = np.bincount(ring[inside], weights=power.ravel()[inside], minlength=BINS)
    means = sums / np.maximum(counts, 1)
    return np.where(counts > 0, np.log10(np.maximum(means, _SMALLEST)), np.nan)
