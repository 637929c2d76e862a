"""A model over an image sequence: its flicker, pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

import numpy as np

from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.training.evaluation.benchmark import Skipped
from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.training.evaluation.flicker import disparity_flicker, normal_flicker
from lotus2_ros.training.evaluation.prediction import predict_image
from lotus2_ros.training.evaluation.running import setting_name
from lotus2_ros.training.evaluation.sequences import Frame, Sequence
from lotus2_ros.types import Prediction


@dataclass
class Steadiness:
    """What a model reached on a sequence.

    Attributes:
        rows: setting to pair to figures `flicker`, `flicker_unaligned`, `normal_flicker_deg`;
            a pair is called by its second frame.
        skipped: frames or pairs that say nothing, and why.
    """

    rows: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def judged(self) -> int:
        """Number of pairs that count."""
        return max((len(row) for row in self.rows.values()), default=0)

    def summary(self) -> dict[str, dict[str, float]]:
        """Setting to mean figures over the pairs."""
        return {
            name: {
                figure: float(np.mean([pair[figure] for pair in row.values()]))
                for figure in dict.fromkeys(f for pair in row.values() for f in pair)
            }
            for name, row in self.rows.items()
        }


def measure_steadiness(
    predictor: Lotus2Predictor,
    sequence: Sequence,
    settings: Items[int] = (0,),
    *,
    limit: int | None = None,
    max_side: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Steadiness:
    """Predict every frame by itself, and compare each with the one before.

    Args:
        predictor: the model.
        sequence: frames.
        settings: numbers of sharpener steps to try.
        limit: take only the first so many frames.
        max_side: see `predict_image`.
        progress: told the name of every frame that is done.

    Raises:
        Lotus2Error: a frame cannot be read, or does not suit the model.
    """
    result = Steadiness({setting_name(steps): {} for steps in settings})
    before: dict[str, Prediction] = {}
    for frame in sequence.frames(limit):
        if isinstance(frame, Skipped):
            result.skipped.append(frame)
            before = {}
        else:
            now = {
                setting_name(steps): prediction
                for steps, prediction in predict_image(
                    predictor, frame.image, settings, max_side=max_side
                )
            }
            if before and frame.still is not None:
                _compare(result, frame, before, now)
            before = now
        if progress is not None:
            progress(frame.name)
    return result


def _compare(
    result: Steadiness,
    frame: Frame,
    before: Mapping[str, Prediction],
    now: Mapping[str, Prediction],
) -> None:
    assert frame.still is not None
    try:
        pairs = {}
        for name, second in now.items():
            first, figures = before[name], {}
            if first.disparity is not None and second.disparity is not None:
                change = disparity_flicker(first.disparity, second.disparity, frame.still)
                figures = {'flicker': change.aligned, 'flicker_unaligned': change.unaligned}
            if first.normals is not None and second.normals is not None:
                angle = normal_flicker(first.normals, second.normals, frame.still)
                figures['normal_flicker_deg'] = angle
            pairs[name] = figures
    except EvaluationError as error:
        result.skipped.append(Skipped(frame.name, str(error)))
        return
    for name, figures in pairs.items():
        result.rows[name][frame.name] = figures
