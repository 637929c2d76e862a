from __future__ import annotations

from pathlib import Path

import numpy as np

import lotus2_ros
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.tools.evaluate import evaluate_scenes
from lotus2_ros.training.held_out import held_out_scenes

NANO = Path(lotus2_ros.__file__).parent / 'models' / 'nano'


def test_nano_fits_its_size_limit():
    assert sum(path.stat().st_size for path in NANO.rglob('*')) <= 24 * 2**20


def test_nano_beats_the_plane_fitted_to_ground_truth():
    predictor = Lotus2Predictor.from_pretrained('nano', device='cpu', sharpener=False)
    rows = evaluate_scenes(predictor, held_out_scenes(8), [0])
    core, plane = rows['core'].summary(), rows['row and column, fitted'].summary()
    assert core['abs_rel'] < 0.75 * plane['abs_rel']
    assert core['delta1'] > plane['delta1']
    assert core['mean_angle_deg'] < 30
    assert np.isfinite(core['abs_rel'])
