from __future__ import annotations

from pathlib import Path

import numpy as np

import lotus2_ros
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.training.evaluation.built_in import HeldOut
from lotus2_ros.training.evaluation.running import evaluate

NANO = Path(lotus2_ros.__file__).parent / 'models' / 'nano'


def test_nano_fits_its_size_limit():
    assert sum(path.stat().st_size for path in NANO.rglob('*')) <= 24 * 2**20


def test_nano_beats_the_plane_fitted_to_ground_truth():
    predictor = Lotus2Predictor.from_pretrained('nano', device='cpu', sharpener=False)
    rows = evaluate(predictor, HeldOut(8)).rows
    core, plane = rows['core'].summary(), rows['row and column, fitted'].summary()
    assert core['abs_rel'] < 0.6 * plane['abs_rel']
    assert core['delta1'] > plane['delta1']
    assert core['normal_mean'] < 22
    assert np.isfinite(core['abs_rel'])
