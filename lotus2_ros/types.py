"""Plain data that crosses package borders. NumPy only: the node's process imports this too."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]
AnyArray = NDArray[Any]

DEPTH = 'depth'
NORMALS = 'normals'
TASKS = (DEPTH, NORMALS)
"""Task names as users write them, in the order in which they are computed."""

PREPARED_FILE = 'lotus2_prepared.json'
"""The manifest by which a folder is known to hold a prepared model."""


class EdgeSearch(NamedTuple):
    """How to look for pixels that fly, see `geometry.edges.flying_pixels`, beside the model.

    What is found depends on the disparity d plus a shift, which 1 / z is proportional to, and on no
    other scale.

    Attributes:
        shift: that is added to d; b / a where 1 / z = a d + b.
        ratio: smallest relative jump between two surfaces, above 1.
        view_angle: between the line of sight and the surface, 0 is edge-on [deg].
        fx: focal length along x, at the size of the result [px].
        fy: focal length along y [px].
        cx: column of the principal point [px].
        cy: row of the principal point [px].
    """

    shift: float
    ratio: float
    view_angle: float
    fx: float
    fy: float
    cx: float
    cy: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says about one image, at that image's size unless another was asked for.

    Attributes:
        disparity: (H, W) float32 in [0, 1], affine-invariant: larger is nearer, no unit, scale and
            shift unknown. None when the depth task is not loaded or was not asked for.
        normals: (H, W, 3) float32 unit vectors in the optical frame (x right, y down, z forward),
            facing the camera. None when the normals task is not loaded or was not asked for.
        flying: (H, W) bool, True where a search for flying pixels found them. None without one, and
            where disparity and normals are computed on two devices.
        sharpen_steps: rectified-flow steps behind this result; 0 is the core predictor alone.
        timings: stage name to seconds, as measured on the host.
    """

    disparity: Float32Array | None
    normals: Float32Array | None
    sharpen_steps: int = 0
    timings: dict[str, float] = field(default_factory=dict)
    flying: BoolArray | None = None

    def copied(self) -> Prediction:
        """The same in arrays of its own."""
        copies = {
            name: values.copy()
            for name in ('disparity', 'normals', 'flying')
            if (values := getattr(self, name)) is not None
        }
        return replace(self, **copies)
