"""Errors of surface normals, by the definitions of DSINE's evaluation (arXiv 2403.00712)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.types import AnyArray, BoolArray, Float32Array

THRESHOLDS = (5.0, 7.5, 11.25, 22.5, 30.0)
"""Degrees."""

_SHORTEST = 1e-8
"""A vector shorter than this counts as this long, so that a zero vector is 90 degrees off."""


@dataclass(frozen=True, slots=True)
class NormalErrors:
    """Angles between predicted and true normals.

    Attributes:
        mean: degrees.
        median: degrees; of an even number the mean of the middle two.
        rmse: degrees.
        under: percentage of pixels under each of `THRESHOLDS`.
    """

    mean: float
    median: float
    rmse: float
    under: tuple[float, ...]

    def named(self) -> dict[str, float]:
        """The figures under the names that tables and files use."""
        shares = zip(THRESHOLDS, self.under, strict=True)
        under = {f'under_{limit:g}': share for limit, share in shares}
        return {'mean': self.mean, 'median': self.median, 'rmse': self.rmse, **under}


def normal_angles(prediction: AnyArray, truth: AnyArray, valid: BoolArray) -> AnyArray:
    """Angles in degrees between normals (H, W, 3) at the valid pixels, (N,) float64.

    The vectors need not be of unit length.

    Raises:
        EvaluationError: the sizes differ, or a prediction that counts is not finite.
    """
    if not prediction.shape == truth.shape == (*valid.shape, 3):
        msg = (
            f'prediction {prediction.shape}, ground truth {truth.shape} and mask {valid.shape}'
            ' differ in size'
        )
        raise EvaluationError(msg)
    p, t = prediction[valid].astype(np.float64), truth[valid].astype(np.float64)
    if not np.isfinite(p).all():
        raise EvaluationError('predicted normals are not finite')
    lengths = [np.linalg.norm(vectors, axis=-1).clip(_SHORTEST) for vectors in (p, t)]
    cosine = (p * t).sum(-1) / (lengths[0] * lengths[1])
    return np.asarray(np.degrees(np.arccos(cosine.clip(-1, 1))))


def normal_errors(angles: AnyArray) -> NormalErrors:
    """Statistics of angles (N,) in degrees.

    Raises:
        EvaluationError: there is no angle.
    """
    if angles.size == 0:
        raise EvaluationError('no pixel of the ground truth has a normal')
    wide = angles.astype(np.float64, copy=False)
    return NormalErrors(
        mean=float(np.mean(wide)),
        median=float(np.median(wide)),
        rmse=float(np.sqrt(np.mean(wide**2))),
        under=tuple(100 * float(np.mean(wide < limit)) for limit in THRESHOLDS),
    )


@dataclass
class AnglePool:
    """Angles of all pixels of all images: the protocol averages over pixels, not over images.

    Keeps four bytes a pixel, for the exact median.
    """

    _parts: list[Float32Array] = field(default_factory=list)

    def add(self, angles: AnyArray) -> None:
        """Take in the angles of one image [deg]."""
        self._parts.append(angles.astype(np.float32))

    def errors(self) -> NormalErrors:
        """Statistics over everything taken in.

        Raises:
            EvaluationError: nothing was.
        """
        return normal_errors(np.concatenate(self._parts) if self._parts else np.empty(0))
