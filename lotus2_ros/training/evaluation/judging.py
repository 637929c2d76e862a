"""One prediction against its sample: every figure of the report."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from lotus2_ros.training.evaluation.benchmark import Rules, Sample
from lotus2_ros.training.evaluation.boundary import boundary_score
from lotus2_ros.training.evaluation.depth_alignment import (
    AlignedDepth,
    DepthRange,
    align_to_depth,
)
from lotus2_ros.training.evaluation.depth_metrics import depth_errors
from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.training.evaluation.normal_metrics import normal_angles, normal_errors
from lotus2_ros.training.evaluation.spectrum import compare_detail, radial_log_power
from lotus2_ros.types import AnyArray, Prediction


@dataclass(frozen=True)
class Judgement:
    """What one prediction is worth.

    Attributes:
        figures: name to value; names with `normal_` are of normals.
        angles: (N,) degrees at the pixels whose normal is judged, or None.
        spectrum: see `radial_log_power`, of the aligned disparity, or None.
        aligned: the depth that was judged, or None.
    """

    figures: dict[str, float]
    angles: AnyArray | None = None
    spectrum: AnyArray | None = None
    aligned: AlignedDepth | None = None


def judge(prediction: Prediction, sample: Sample, rules: Rules) -> Judgement:
    """Compare a prediction with the truth by the benchmark's rules.

    Raises:
        EvaluationError: the prediction has values that are not finite, or there is nothing to
            compare it with.
    """
    figures: dict[str, float] = {}
    angles = spectrum = aligned = None
    if rules.depth_range is not None and prediction.disparity is not None:
        if sample.depth is None or sample.valid is None:
            raise EvaluationError(f'{sample.name} has no depth to judge by')
        aligned = align_to_depth(
            prediction.disparity,
            sample.depth,
            sample.valid,
            rules.depth_range,
            fit_resolution=rules.fit_resolution,
        )
        figures |= asdict(depth_errors(aligned.depth, sample.depth, sample.valid))
        if sample.known is not None:
            spectrum = radial_log_power(aligned.disparity)
            figures |= _detail(aligned, sample, rules.depth_range)
    if rules.normals and prediction.normals is not None and sample.normals is not None:
        assert sample.surface is not None
        angles = normal_angles(prediction.normals, sample.normals, sample.surface)
        errors = normal_errors(angles).named()
        figures |= {f'normal_{name}': value for name, value in errors.items()}
    return Judgement(figures, angles, spectrum, aligned)


def true_spectrum(sample: Sample) -> AnyArray | None:
    """Curve of the true disparity; None unless it is known at every pixel."""
    disparity = _whole_disparity(sample)
    return None if disparity is None else radial_log_power(disparity)


def _detail(aligned: AlignedDepth, sample: Sample, depth_range: DepthRange) -> dict[str, float]:
    assert sample.depth is not None
    # Edges beyond the range, which the prediction cannot show, are none in the truth either.
    score = boundary_score(aligned.depth, depth_range.clip(sample.depth), sample.known)
    figures = {
        'boundary_f1': score.f1,
        'boundary_precision': score.precision,
        'boundary_recall': score.recall,
    }
    truth = _whole_disparity(sample)
    if truth is not None:
        detail = compare_detail(aligned.disparity, truth)
        figures |= {'detail_power': detail.power_share, 'detail_agreement': detail.agreement}
    return figures


def _whole_disparity(sample: Sample) -> AnyArray | None:
    if sample.depth is None or sample.known is None or not sample.known.all():
        return None
    return np.asarray(1 / sample.depth.astype(np.float64))
