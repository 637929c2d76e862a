"""How the network's disparity of one frame relates to that of the next: an affine map.

The network normalises each image by itself, so that the same wall gets another disparity when
something near enters the picture. The map between two predictions tells this from the world, and
so carries a scale from one frame to the next, reference or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.geometry.scale.estimate import ScaleEstimate

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NoTransition:
    """Two frames between whose predictions no relation was found.

    Attributes:
        reason: a short name of the cause, the same for the same cause.
    """

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Transition:
    """d_new = scale d_old + shift, for pixels that show the same at the same depth.

    Attributes:
        scale: above 0.
        shift: of disparity.
        covariance: (2, 2) of (log scale, shift), with what the camera's motion may have done.
        moved: how far the picture moved on, as a share of its width; 0 where no flow tells.
    """

    scale: float
    shift: float
    covariance: Float64Array
    moved: float = 0.0

    def carry(
        self, a: float, b: float, covariance: Float64Array
    ) -> tuple[float, float, Float64Array]:
        """1 / z = a d + b in terms of the newer disparity.

        From d_old = (d_new - shift) / scale: a' = a / scale, b' = b - a' shift.

        Args:
            a: scale of the older disparity [1/m].
            b: its shift [1/m].
            covariance: (2, 2) of (log a, b).

        Returns:
            a', b' and the covariance of (log a', b'), the transition's own included.
        """
        new_a = a / self.scale
        of_state = np.array([[1.0, 0.0], [-new_a * self.shift, 1.0]])
        of_map = np.array([[-1.0, 0.0], [new_a * self.shift, -new_a]])
        carried = of_state @ covariance @ of_state.T + of_map @ self.covariance @ of_map.T
        return new_a, b - new_a * self.shift, carried

    def carried(self, estimate: ScaleEstimate) -> ScaleEstimate:
        """An estimate for the older frame as one for the newer."""
        a, b, covariance = self.carry(estimate.a, estimate.b, estimate.covariance)
        return ScaleEstimate(
            a,
            b,
            covariance,
            estimate.inlier_share,
            estimate.samples,
            estimate.residual,
            estimate.source,
        )

    def then(self, later: Transition) -> Transition:
        """This one and the one after it as one."""
        # shift'' = k shift + shift', with k the later scale: its error adds to shift''.
        of_first = np.array([[1.0, 0.0], [0.0, later.scale]])
        of_later = np.array([[1.0, 0.0], [later.scale * self.shift, 1.0]])
        covariance = (
            of_first @ self.covariance @ of_first.T + of_later @ later.covariance @ of_later.T
        )
        return Transition(
            self.scale * later.scale,
            later.scale * self.shift + later.shift,
            covariance,
            self.moved + later.moved,
        )


UNCHANGED = Transition(1.0, 0.0, np.zeros((2, 2)))
"""The same prediction again."""
