"""Scale and shift together with a small pose error that all references have in common.

A lidar whose mounting is wrong by a degree, or odometry that turned a little too far, spoils every
reference of a frame in the same way; more points do not average it out. But it spoils them in a
known pattern, so it is estimated along with (a, b), held by the accuracy that was promised for it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.scale.quantile import robust_sigma
from lotus2_ros.geometry.scale.weights import tukey_weights

Float64Array = NDArray[np.float64]

_ITERATIONS = 15
_SETTLED = 0.05
"""Change of the solution, in its own standard deviations, with which the iteration ends."""

_WORST = 1e14
"""Condition of the normal equations with which their solution is worth nothing."""

_INDEPENDENT = 300
"""References that count towards the covariance. Neighbours err alike (what the prediction gets
wrong, edges, what is not linear in the pose), so that thousands know no more than hundreds."""


class JointFit(NamedTuple):
    """The solution of `fit_with_pose_error`.

    Attributes:
        a: scale [1/m].
        b: shift [1/m].
        pose: (K,) the pose error, in the units of the prior.
        covariance: (2 + K, 2 + K) of (log a, b, pose).
    """

    a: float
    b: float
    pose: Float64Array
    covariance: Float64Array


def fit_with_pose_error(
    design: Float64Array,
    target: Float64Array,
    sigma: Float64Array,
    jacobian: Float64Array,
    prior: Float64Array,
    start: JointFit,
) -> JointFit | None:
    """Solve y = D^T (a, b) + J^T p for (a, b, p), with p near 0 by its prior.

    Iteratively reweighted least squares with Tukey's weights on the residuals in units of sigma, or
    of their own median where that is larger.

    Args:
        design: (2, N) factors of a and b; for references of 1 / z, disparity and 1.
        target: (N,) y, the reference.
        sigma: (N,) standard deviation of y without the pose error.
        jacobian: (K, N) change of y with the pose error.
        prior: (K,) standard deviations of the pose error, above 0.
        start: where to begin; its covariance is not used.

    Returns:
        The fit; None if the references do not determine it or a comes out at 0 or below.
    """
    # In units of the prior, so that all pose columns are of a kind. One product gives all sums.
    table = np.concatenate([design, jacobian * prior[:, None], target[None]])  # (2 + K + 1, N)
    table /= sigma
    factors = table[:-1]
    penalty = np.diag([0.0, 0.0, *np.ones(len(prior))])
    solution = np.array([start.a, start.b, *(start.pose / prior)])
    normal = penalty
    counted = min(1.0, _INDEPENDENT / len(target))
    for _ in range(_ITERATIONS):
        residual = np.abs(table[-1] - solution @ factors)
        scale = max(1.0, robust_sigma(residual))
        sums = (factors * tukey_weights(residual, scale)) @ table.T / scale**2
        normal = sums[:, :-1] + penalty
        try:
            update = np.linalg.solve(normal, sums[:, -1])
        except np.linalg.LinAlgError:
            return None
        change = update - solution
        solution = update
        # NaN compares false.
        if not counted * float(change @ normal @ change) > _SETTLED**2:
            break
    if not solution[0] > 0.0:
        return None
    worth = counted * (normal - penalty) + penalty
    try:
        covariance = np.linalg.inv(worth)  # of (a, b, pose / prior)
    except np.linalg.LinAlgError:
        return None
    # The condition in the norm of the largest row.
    if not np.abs(worth).sum(axis=1).max() * np.abs(covariance).sum(axis=1).max() <= _WORST:
        return None
    units = np.array([1.0 / solution[0], 1.0, *prior])
    return JointFit(
        float(solution[0]),
        float(solution[1]),
        solution[2:] * prior,
        np.asarray(covariance * (units[:, None] * units), dtype=np.float64),
    )


def variance_by_pose(jacobian: Float64Array, covariance: Float64Array) -> Float64Array:
    """(N,) variance of each reference that an uncertain pose causes.

    Args:
        jacobian: (K, N) change of the references with the pose error.
        covariance: (K, K) of the pose error.
    """
    return np.asarray(np.einsum('kn,kn->n', covariance @ jacobian, jacobian), dtype=np.float64)
