"""Several sources' estimates of the scale of one frame as one, if they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.geometry.scale.two_by_two import inverse

Float64Array = NDArray[np.float64]

_GATE = 13.8
"""Squared Mahalanobis distance in two dimensions that one in 1000 agreeing pairs exceeds."""

TOLERANCE = 0.05
"""Standard deviation of log a, and of b as a multiple of a, between sources that see other parts of
the picture: the network's disparity is not quite affine."""


@dataclass(frozen=True, slots=True, eq=False)
class Fusion:
    """What several sources say together.

    Attributes:
        result: the fused estimate, or why there is none.
        disagreeing: sources left out because the others agree among themselves; where just two are
            left and disagree, both.
        detail: the values of sources that disagree, for people; empty if all agree.
    """

    result: ScaleEstimate | NoScale
    disagreeing: tuple[str, ...] = ()
    detail: str = ''


def fuse(estimates: Sequence[ScaleEstimate]) -> Fusion:
    """Fuse in information form, leaving out the one source that contradicts all others.

    Args:
        estimates: of the same frame, at most one of each source.

    Returns:
        The fusion; without an estimate, 'no source' if there are none, and 'references disagree' if
        it cannot be told which one is wrong.
    """
    if not estimates:
        return Fusion(NoScale('no source'))
    odd: list[ScaleEstimate] = []
    left = list(estimates)
    while len(left) > 1:
        distances = [_distance(one, _rest(left, one)) for one in left]
        if max(distances) <= _GATE:
            break
        if len(left) == 2:
            odd += left
            return Fusion(NoScale('references disagree'), _names(odd), _values(estimates))
        # Without the right one, the others agree; the worst distance may be a victim of it.
        odd.append(left.pop(int(np.argmin([_spread(_without(left, one)) for one in left]))))
    return Fusion(_fused(left), _names(odd), _values(estimates) if odd else '')


def _names(estimates: Sequence[ScaleEstimate]) -> tuple[str, ...]:
    return tuple(sorted(estimate.source for estimate in estimates))


def _values(estimates: Sequence[ScaleEstimate]) -> str:
    return ', '.join(f'{e.source}: a {e.a:.3g} b {e.b:.3g}' for e in estimates)


def _without(estimates: Sequence[ScaleEstimate], one: ScaleEstimate) -> list[ScaleEstimate]:
    return [other for other in estimates if other is not one]


def _rest(estimates: Sequence[ScaleEstimate], one: ScaleEstimate) -> ScaleEstimate:
    return _fused(_without(estimates, one))


def _spread(estimates: Sequence[ScaleEstimate]) -> float:
    """The largest distance of one from the others."""
    return max(_distance(one, _rest(estimates, one)) for one in estimates)


def _distance(one: ScaleEstimate, other: ScaleEstimate) -> float:
    difference = np.array([np.log(one.a / other.a), one.b - other.b])
    apart = np.diag([TOLERANCE**2, (TOLERANCE * max(one.a, other.a)) ** 2])
    total = one.covariance + other.covariance + apart
    return float(difference @ inverse(total) @ difference)


def _fused(estimates: Sequence[ScaleEstimate]) -> ScaleEstimate:
    if len(estimates) == 1:
        return estimates[0]
    information = np.zeros((2, 2))
    weighted = np.zeros(2)
    for one in estimates:
        # What the network gets wrong counts for each source by itself: no source is exact.
        own = one.covariance + np.diag([TOLERANCE**2, (TOLERANCE * one.a) ** 2]) / 4.0
        precision = inverse(own)
        information += precision
        weighted += precision @ [np.log(one.a), one.b]
    covariance = inverse(information)
    log_a, b = covariance @ weighted
    samples = sum(one.samples for one in estimates)
    return ScaleEstimate(
        float(np.exp(log_a)),
        float(b),
        covariance,
        sum(one.inlier_share * one.samples for one in estimates) / max(samples, 1),
        samples,
        max(one.residual for one in estimates),
        '+'.join(sorted(one.source for one in estimates)),
    )
