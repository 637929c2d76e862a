"""One sample through the model, prepared and put back as the benchmark's protocol says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.settings import DEFAULT_MAX_SIDE
from lotus2_ros.training.evaluation.benchmark import Rules, Sample
from lotus2_ros.types import DEPTH, NORMALS, Prediction, UInt8Array


def predict_sample(
    predictor: Lotus2Predictor,
    sample: Sample,
    rules: Rules,
    settings: Sequence[int],
    *,
    max_side: int | None = None,
) -> Iterator[tuple[int, Prediction]]:
    """Predict one sample at several numbers of sharpener steps; the core runs once.

    Args:
        predictor: the model.
        sample: what to predict, see `Rules` for how it is prepared.
        rules: of the benchmark.
        settings: numbers of sharpener steps; 0 is the core alone.
        max_side: longest side the network sees; None is the protocol's, see `_network_side`.

    Yields:
        The number of steps, and the prediction at the ground truth's size.

    Raises:
        Lotus2Error: the picture does not suit the model.
    """
    image = sample.image
    if rules.processing_side is not None:
        image = _reduced(image, rules.processing_side)
    left, right, top, bottom = padding(image.shape[0], image.shape[1], rules.pad_multiple)
    padded = left + right + top + bottom > 0
    image = np.pad(image, ((top, bottom), (left, right), (0, 0)))
    height, width = sample.truth_size
    # What is padded is cut back at the picture's own size, which is then the truth's too.
    size = (image.shape[0], image.shape[1]) if padded else (height, width)
    results = predict_image(
        predictor, image, settings, tasks=_tasks(predictor, sample), max_side=max_side, size=size
    )
    for steps, prediction in results:
        yield steps, _cut(prediction, top, left, height, width) if padded else prediction


def predict_image(
    predictor: Lotus2Predictor,
    image: UInt8Array,
    settings: Sequence[int],
    *,
    tasks: Sequence[str] | None = None,
    max_side: int | None = None,
    size: tuple[int, int] | None = None,
) -> Iterator[tuple[int, Prediction]]:
    """Predict one picture (H, W, 3) at several numbers of sharpener steps; the core runs once.

    Args:
        predictor: the model.
        image: uint8 RGB.
        settings: numbers of sharpener steps; 0 is the core alone.
        tasks: which of the loaded ones; None is all.
        max_side: longest side the network sees; None is the picture's own, see `_network_side`.
        size: height and width of the results; None is the picture's own.

    Yields:
        The number of steps, and the prediction.

    Raises:
        Lotus2Error: the picture does not suit the model.
    """
    side = _network_side(predictor, image) if max_side is None else max_side
    state = predictor.run_core(image, tasks, side)
    for steps in settings:
        if steps == 0:
            yield steps, predictor.finish(state, size)
        else:
            job = predictor.sharpen(state, steps)
            while not job.done:
                job.step()
            yield steps, job.finish(size)


def padding(height: int, width: int, multiple: int | None) -> tuple[int, int, int, int]:
    """Pixels to add left, right, at the top and at the bottom, DSINE's way: half on each side."""
    if multiple is None:
        return 0, 0, 0, 0
    across, down = -width % multiple, -height % multiple
    return across // 2, across - across // 2, down // 2, down - down // 2


def _tasks(predictor: Lotus2Predictor, sample: Sample) -> list[str]:
    wanted = {DEPTH: sample.depth is not None, NORMALS: sample.normals is not None}
    return [task for task in predictor.tasks if wanted[task]]


def _network_side(predictor: Lotus2Predictor, image: UInt8Array) -> int:
    """Longest side for the network: the picture's own, as published figures were taken.

    The protocols have no limit of 1024; a small model's own limit holds all the same.
    """
    limit = int(predictor.info()['max_side'])
    return max(image.shape[:2]) if limit == DEFAULT_MAX_SIDE else limit


def _reduced(image: UInt8Array, side: int) -> UInt8Array:
    """Longest side to `side`, with antialiasing; the other one is cut, not rounded."""
    height, width = image.shape[:2]
    factor = min(side / width, side / height)
    size = int(height * factor), int(width * factor)
    planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    resized = F.interpolate(planes, size, mode='bilinear', align_corners=False, antialias=True)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy())


def _cut(prediction: Prediction, top: int, left: int, height: int, width: int) -> Prediction:
    rows, columns = slice(top, top + height), slice(left, left + width)
    disparity, normals = prediction.disparity, prediction.normals
    return Prediction(
        disparity if disparity is None else disparity[rows, columns],
        normals if normals is None else normals[rows, columns],
        prediction.sharpen_steps,
        prediction.timings,
    )
