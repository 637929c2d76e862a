"""Plain data that crosses package borders. NumPy only: the node's process imports this too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says about one image, at that image's size unless another was asked for.

    Attributes:
        disparity: (H, W) float32 in [0, 1], affine-invariant: larger is nearer, no unit, scale and
            shift unknown. None when the depth task is not loaded or was not asked for.
        normals: (H, W, 3) float32 unit vectors in the optical frame (x right, y down, z forward),
            facing the camera. None when the normals task is not loaded or was not asked for.
        sharpen_steps: rectified-flow steps behind this result; 0 is the core predictor alone.
        timings: stage name to seconds, as measured on the host.
    """

    disparity: Float32Array | None
    normals: Float32Array | None
    sharpen_steps: int = 0
    timings: dict[str, float] = field(default_factory=dict)
