"""Timed runs of a model: stages, memory, and how far one mode's results are from another's."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from lotus2_ros.photographs import SAMPLES, photographs_in, read_photograph
from lotus2_ros.types import Prediction, UInt8Array

if TYPE_CHECKING:
    import torch

    from lotus2_ros.runtime import Lotus2Predictor

TOTAL = 'total'
GIB = 1 << 30

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Case:
    """What is timed: an image's size (height, width), tasks, and sharpener steps."""

    size: Size
    tasks: tuple[str, ...]
    steps: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Times of one case.

    Attributes:
        image: width and height in pixels.
        tasks: names.
        sharpen_steps: Euler steps.
        frames_per_second: at the median of the total.
        stages_ms: stage to its p50 and p95 in milliseconds; total is what a caller waits for.
    """

    image: tuple[int, int]
    tasks: tuple[str, ...]
    sharpen_steps: int
    frames_per_second: float
    stages_ms: dict[str, dict[str, float]]


def benchmark_image(size: Size, index: int = 0) -> UInt8Array:
    """A bundled photograph at a size (height, width), (height, width, 3) uint8."""
    rgb = read_photograph(photographs_in(SAMPLES)[index])
    height, width = size
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def time_case(
    case: Case,
    predict: Callable[[UInt8Array, Case], dict[str, float]],
    *,
    repeats: int,
    warmup: int,
) -> Figures:
    """Run one case.

    Args:
        case: see `Case`.
        predict: runs it once and returns the seconds of each stage.
        repeats: timed runs.
        warmup: runs before them.
    """
    from tqdm import trange

    image = benchmark_image(case.size)
    runs = []
    for index in trange(warmup + repeats, unit='run', file=sys.stderr, leave=False):
        start = time.perf_counter()
        stages = predict(image, case)
        total = time.perf_counter() - start
        if index >= warmup:
            runs.append({**stages, TOTAL: total})
    stages_ms = summarize(runs)
    return Figures(
        image=(case.size[1], case.size[0]),
        tasks=case.tasks,
        sharpen_steps=case.steps,
        frames_per_second=1e3 / stages_ms[TOTAL]['p50'],
        stages_ms=stages_ms,
    )


def predictor_runs(predictor: Lotus2Predictor) -> Callable[[UInt8Array, Case], dict[str, float]]:
    """How `time_case` runs a loaded model."""

    def predict(image: UInt8Array, case: Case) -> dict[str, float]:
        found = predictor.predict(image, sharpen_steps=case.steps, tasks=case.tasks)
        return found.timings

    return predict


def summarize(runs: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Stage to its p50 and p95 in milliseconds."""
    return {
        stage: {
            name: float(np.quantile([1e3 * run[stage] for run in runs], q))
            for name, q in (('p50', 0.5), ('p95', 0.95))
        }
        for stage in runs[0]
    }


def as_json(figures: Figures) -> dict[str, Any]:
    """Plain data."""
    return asdict(figures)


def reset_memory(device: torch.device) -> None:
    """Begin to measure the peak of a GPU's memory."""
    import torch

    if device.type == 'cuda':
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def memory(device: torch.device) -> dict[str, Any]:
    """GiB: of a GPU the most that was taken since `reset_memory`; else what the process holds now.

    Taken from the GPU, not only in use: recorded graphs keep memory that nothing uses in between.
    """
    import torch

    if device.type == 'cuda':
        return {'kind': 'GPU peak', 'gib': torch.cuda.max_memory_reserved(device) / GIB}
    held = Path('/proc/self/statm')
    if held.is_file():
        pages = int(held.read_text().split()[1])
        return {'kind': 'process', 'gib': pages * resource.getpagesize() / GIB}
    unit = 1 if sys.platform == 'darwin' else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {'kind': 'process peak', 'gib': peak * unit / GIB}


def predict_photographs(
    predictor: Lotus2Predictor, size: Size, steps: int, count: int
) -> list[Prediction]:
    """Results on the first bundled photographs."""
    return [
        predictor.predict(benchmark_image(size, index), sharpen_steps=steps)
        for index in range(count)
    ]


def deviation(found: Sequence[Prediction], exact: Sequence[Prediction]) -> dict[str, float]:
    """How far results are from the exact ones on the same images.

    Returns:
        disparity: root mean square difference over the standard deviation of the exact disparity,
            mean over images.
        normals_deg: mean angle in degrees.
    """
    result = {}
    disparities = [
        float(np.sqrt(np.mean((f.disparity - e.disparity) ** 2)) / np.std(e.disparity))
        for f, e in zip(found, exact, strict=True)
        if f.disparity is not None and e.disparity is not None
    ]
    if disparities:
        result['disparity'] = float(np.mean(disparities))
    angles = [
        # From the chord, which keeps the digits of small angles, as the cosine does not.
        np.degrees(2 * np.arcsin(np.clip(np.linalg.norm(f.normals - e.normals, axis=2) / 2, 0, 1)))
        for f, e in zip(found, exact, strict=True)
        if f.normals is not None and e.normals is not None
    ]
    if angles:
        result['normals_deg'] = float(np.mean(angles))
    return result
