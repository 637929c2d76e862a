"""What sharper edges could be worth: maps that a sharpener of the core's map might give at best.

A sharpener sees what the core predicted and not the picture. Where the core is unsure of an edge's
place it draws a slope; a map made from that slope alone can be sharp, not right to the pixel. The
rows compare: the core's map sharpened by filters, and the truth itself, in the places where it is
and where the core has it, as far as the autoencoder can draw it.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.training.edges import edge_tolerant
from lotus2_ros.training.evaluation.benchmark import Sample
from lotus2_ros.training.targets import disparity_map
from lotus2_ros.types import Float32Array, Prediction

_BLUR = 1.5
"""Standard deviation of the unsharp mask [px]."""

TRUTH = 'truth, through the autoencoder'
MOVED = 'truth moved 1 px to the core, likewise'


def sharpness_bounds(
    predictor: Lotus2Predictor, sample: Sample, core: Prediction
) -> dict[str, Prediction]:
    """Names of maps and the maps, as predictions of depth.

    Args:
        predictor: whose autoencoder is used.
        sample: with dense depth.
        core: the core's prediction for it.

    Returns:
        Nothing for a sample whose depth is not known everywhere, or predicted at another size.
    """
    if core.disparity is None or sample.depth is None or sample.known is None:
        return {}
    if core.disparity.shape != sample.depth.shape or not sample.known.all():
        return {}
    coarse = core.disparity.clip(0, 1)
    blurred = cv2.GaussianBlur(coarse, (0, 0), _BLUR)
    maps = {
        'core, unsharp mask': (2 * coarse - blurred).clip(0, 1),
        'core, nearest extreme of 3x3': nearest_extreme(coarse, 1),
        'core, nearest extreme of 5x5': nearest_extreme(coarse, 2),
    }
    with np.errstate(divide='ignore'):
        truth = torch.from_numpy((1 / sample.depth).astype(np.float32))[None, None]
    drawn = disparity_map(truth)[:, :1]
    moved = edge_tolerant(drawn, torch.from_numpy(2 * coarse - 1)[None, None], 1)
    for name, value in ((TRUTH, drawn), (MOVED, moved)):
        maps[name] = predictor.reconstruct(((value[0, 0] + 1) / 2).numpy())
    return {name: Prediction(np.asarray(value, np.float32), None) for name, value in maps.items()}


def nearest_extreme(image: Float32Array, radius: int) -> Float32Array:
    """Every pixel becomes the largest or smallest value around it, whichever is nearer.

    One step of a morphological shock filter (Kramer and Bruckner 1975): a slope becomes a step in
    its middle.

    Args:
        image: (H, W).
        radius: of the square around a pixel [px].
    """
    square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    highest, lowest = cv2.dilate(image, square), cv2.erode(image, square)
    return np.where(highest - image < image - lowest, highest, lowest).astype(np.float32)
