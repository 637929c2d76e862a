"""What less precision costs in accuracy: nano, which has FLUX's structure, on rendered scenes."""

from __future__ import annotations

import numpy as np
import pytest

from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.training.evaluation.benchmark import Sample
from lotus2_ros.training.evaluation.built_in import HeldOut
from lotus2_ros.training.evaluation.judging import judge

COUNT = 6
SCENES = HeldOut(count=COUNT)
FIGURES = 'abs_rel', 'normal_mean'


@pytest.fixture(scope='module')
def samples():
    found = [sample for sample in SCENES.samples() if isinstance(sample, Sample)]
    assert len(found) == COUNT
    return found


def errors(samples, **options):
    """AbsRel and mean angle of the normals in degrees, each the mean over all scenes."""
    predictor = Lotus2Predictor.from_pretrained('nano', device='cpu', sharpener=False, **options)
    judged = [judge(predictor.predict(s.image), s, SCENES.rules).figures for s in samples]
    return np.array([[figures[name] for name in FIGURES] for figures in judged]).mean(0)


@pytest.fixture(scope='module')
def exact(samples):
    found = errors(samples)
    assert found[0] < 0.2  # a constant is at 0.2 to 0.3
    assert found[1] < 25
    return found


@pytest.mark.parametrize(
    ('precision', 'tolerance'),
    [('float32', 1e-4), ('bfloat16', 0.01), ('fp8', 0.02), ('int8', 0.02)],
)
def test_errors_are_those_of_float32_but_for_little(samples, exact, precision, tolerance):
    found = errors(samples, precision=precision, acceleration='on')
    assert (found != exact).any()
    assert (np.abs(found / exact - 1) <= tolerance).all()
