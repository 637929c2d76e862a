"""A model over a benchmark: every sample judged, first and worst kept, the unusable named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.training.evaluation.benchmark import Benchmark, Rules, Sample, Skipped
from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.training.evaluation.judging import Judgement, judge, true_spectrum
from lotus2_ros.training.evaluation.normal_metrics import AnglePool
from lotus2_ros.training.evaluation.pictures import depth_tiles, normal_tiles
from lotus2_ros.training.evaluation.prediction import predict_sample
from lotus2_ros.training.evaluation.sharpness_bounds import sharpness_bounds
from lotus2_ros.training.evaluation.spectrum import SpectrumPool
from lotus2_ros.training.evaluation.trivial import trivial_predictions
from lotus2_ros.types import Prediction, UInt8Array

WORST = 10
"""Samples shown of each task."""

FIRST = 6
"""Samples shown of each task, whatever came of them."""

CORE = 'core'


def setting_name(steps: int) -> str:
    """How tables call a number of sharpener steps."""
    return CORE if steps == 0 else f'core + sharpener, {steps} steps'


@dataclass
class Row:
    """What one predictor reached.

    Attributes:
        figures: sample's name to its figures, see `Judgement`.
        angles: of all pixels.
        spectrum: of the samples whose true spectrum is known; of the model's settings only.
    """

    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    angles: AnglePool = field(default_factory=AnglePool)
    spectrum: SpectrumPool = field(default_factory=SpectrumPool)

    def add(self, sample: str, judgement: Judgement, *, spectrum: bool) -> None:
        """Take in one sample."""
        self.figures[sample] = judgement.figures
        if judgement.angles is not None:
            self.angles.add(judgement.angles)
        if spectrum and judgement.spectrum is not None:
            self.spectrum.add(judgement.spectrum)

    def summary(self) -> dict[str, float]:
        """Depth: mean over images of each figure. Normals: over all pixels of all images."""
        names = dict.fromkeys(name for row in self.figures.values() for name in row)
        result = {}
        for name in names:
            if not name.startswith('normal_'):
                values = [row[name] for row in self.figures.values() if name in row]
                result[name] = float(np.mean(values))
        if any(name.startswith('normal_') for name in names):
            pooled = self.angles.errors().named()
            result |= {f'normal_{name}': value for name, value in pooled.items()}
        return result


@dataclass(frozen=True)
class Remembered:
    """A sample with its pictures.

    Attributes:
        error: AbsRel, or mean angle in degrees, of the first setting.
        order: position in the benchmark; of equals the first is worse.
        name: of the sample.
        titles: of the tiles.
        tiles: pictures.
    """

    error: float
    order: int
    name: str
    titles: list[str]
    tiles: list[UInt8Array]


@dataclass
class Result:
    """Everything known after a benchmark.

    Attributes:
        rows: predictor's name to what it reached; the model's settings first.
        truth: spectrum of the ground truth.
        skipped: samples without usable picture or ground truth.
        failed: samples on which the model gave no usable prediction.
        worst_depth: worst first.
        worst_normals: worst first.
        first_depth: the first samples judged, good or bad.
        first_normals: likewise.
    """

    rows: dict[str, Row]
    truth: SpectrumPool = field(default_factory=SpectrumPool)
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[Skipped] = field(default_factory=list)
    worst_depth: list[Remembered] = field(default_factory=list)
    worst_normals: list[Remembered] = field(default_factory=list)
    first_depth: list[Remembered] = field(default_factory=list)
    first_normals: list[Remembered] = field(default_factory=list)

    @property
    def judged(self) -> int:
        """Number of samples that count."""
        return max((len(row.figures) for row in self.rows.values()), default=0)


def evaluate(
    predictor: Lotus2Predictor,
    benchmark: Benchmark,
    settings: Sequence[int] = (0,),
    *,
    limit: int | None = None,
    max_side: int | None = None,
    trivial: bool = True,
    bounds: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Result:
    """Judge a model on a benchmark.

    Args:
        predictor: the model.
        benchmark: samples and rules.
        settings: numbers of sharpener steps to try; the worst samples are those of the first.
        limit: take only the first so many samples.
        max_side: see `predict_sample`.
        trivial: judge the trivial predictors too.
        bounds: judge what sharper edges could be worth too, see `sharpness_bounds`; the first
            setting must be the core alone.
        progress: told the name of every sample that is done.

    Raises:
        EvaluationError: the model has no task that the benchmark judges, or the benchmark cannot
            be opened.
        Lotus2Error: the model fails in a way that is not one sample's fault.
    """
    result = Result({setting_name(steps): Row() for steps in settings})
    for order, sample in enumerate(benchmark.samples(limit)):
        if isinstance(sample, Skipped):
            result.skipped.append(sample)
        else:
            predictions = {
                setting_name(steps): prediction
                for steps, prediction in predict_sample(
                    predictor, sample, benchmark.rules, settings, max_side=max_side
                )
            }
            if bounds:
                predictions |= sharpness_bounds(predictor, sample, predictions[CORE])
            if trivial:
                predictions |= trivial_predictions(sample)
            _take_in(result, order, sample, benchmark.rules, predictions, list(settings))
        if progress is not None:
            progress(sample.name)
    return result


def _take_in(
    result: Result,
    order: int,
    sample: Sample,
    rules: Rules,
    predictions: Mapping[str, Prediction],
    settings: Sequence[int],
) -> None:
    """Judge all predictions of a sample; it counts for all of them or for none."""
    try:
        judgements = {name: judge(p, sample, rules) for name, p in predictions.items()}
    except EvaluationError as error:
        result.failed.append(Skipped(sample.name, str(error)))
        return
    truth = true_spectrum(sample) if rules.depth_range is not None else None
    if truth is not None:
        result.truth.add(truth)
    shown = [setting_name(steps) for steps in settings]
    for name, judgement in judgements.items():
        row = result.rows.setdefault(name, Row())
        row.add(sample.name, judgement, spectrum=truth is not None and name in shown)
    model = {name: judgements[name] for name in shown}
    figures = model[shown[0]].figures
    if 'abs_rel' in figures:
        entry = (figures['abs_rel'], lambda: depth_tiles(sample, model))
        _remember(result.worst_depth, sample.name, order, *entry)
        _keep(result.first_depth, sample.name, order, *entry)
    if 'normal_mean' in figures:
        normals = {name: predictions[name] for name in shown}
        entry = (figures['normal_mean'], lambda: normal_tiles(sample, normals))
        _remember(result.worst_normals, sample.name, order, *entry)
        _keep(result.first_normals, sample.name, order, *entry)


Draw = Callable[[], tuple[list[str], list[UInt8Array]]]


def _keep(first: list[Remembered], name: str, order: int, error: float, draw: Draw) -> None:
    """Keep the first `FIRST` samples."""
    if len(first) < FIRST:
        first.append(Remembered(error, order, name, *draw()))


def _remember(
    worst: list[Remembered],
    name: str,
    order: int,
    error: float,
    draw: Draw,
) -> None:
    """Keep the `WORST` largest errors, drawing pictures only of those."""
    if len(worst) == WORST and (error, -order) <= (worst[-1].error, -worst[-1].order):
        return
    titles, tiles = draw()
    worst.append(Remembered(error, order, name, titles, tiles))
    worst.sort(key=lambda entry: (-entry.error, entry.order))
    del worst[WORST:]
