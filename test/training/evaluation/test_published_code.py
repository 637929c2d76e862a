"""Against the authors' own evaluation code, run once on these seeds; only its figures are here.

Alignment and depth: EnVision-Research/Lotus-2 `evaluation/util` (Marigold's). Normals:
baegwangbin/DSINE `utils`. Boundaries: apple/ml-depth-pro `boundary_metrics`.
"""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from lotus2_ros.training.evaluation.boundary import boundary_score
from lotus2_ros.training.evaluation.depth_alignment import DepthRange, align_to_depth
from lotus2_ros.training.evaluation.depth_metrics import depth_errors
from lotus2_ros.training.evaluation.normal_metrics import normal_angles, normal_errors

RANGES = [
    (DepthRange(1e-3, 10.0), None),
    (DepthRange(1e-5, 80.0), None),
    (DepthRange(1e-5, np.inf), 32),
    (DepthRange(0.6, 350.0), None),
]
# Depth figures in the order of DepthErrors; mean, median, RMSE, shares of angles; boundary F1.
PUBLISHED = [
    (
        (
            0.380498499,
            1.817463838,
            2.310209085,
            0.428345542,
            0.123130916,
            0.562899768,
            0.801705778,
            0.93070364,
            42.81480729,
            0.14000072,
        ),
        (
            23.798561906,
            17.422491309,
            32.10344019,
            6.972883232,
            14.609850581,
            27.559490869,
            64.360819037,
            76.923076923,
        ),
        0.830088091,
    ),
    (
        (
            1.404905791,
            78.889984571,
            24.730491748,
            0.886381119,
            0.248896373,
            0.405483395,
            0.606060624,
            0.736652255,
            85.747831688,
            0.0847968,
        ),
        (
            23.100384589,
            16.843469467,
            31.242305409,
            6.853932584,
            14.157303371,
            28.08988764,
            65.786516854,
            79.325842697,
        ),
        0.833913261,
    ),
    (
        (
            19.961200182,
            19307.260823009,
            313.931471781,
            1.640317211,
            0.376461378,
            0.378832132,
            0.574452579,
            0.700729907,
            156.608320903,
            0.154296505,
        ),
        (
            23.561079046,
            17.652826469,
            31.089375282,
            5.640157924,
            12.013536379,
            26.959954879,
            63.677382967,
            77.382966723,
        ),
        0.837330108,
    ),
    (
        (
            7.924327044,
            2573.377226666,
            112.860332087,
            1.398442477,
            0.339251579,
            0.377061456,
            0.583208382,
            0.719640195,
            133.750125572,
            0.131644512,
        ),
        (
            23.840513347,
            17.206693975,
            31.685010106,
            6.853932584,
            14.494382022,
            28.370786517,
            63.820224719,
            75.561797753,
        ),
        0.833597978,
    ),
]


def case(seed):
    """Random images with NaN, zeros and infinity in the truth, zeros in the predictions."""
    rng = np.random.default_rng(seed)
    shape = (40, 56)
    depth = rng.uniform(0.3, 15, shape)
    disparity = np.abs(0.6 / depth + 0.1 + rng.normal(0, 0.05, shape))
    disparity[rng.uniform(size=shape) < 0.05] = 0
    bad = rng.uniform(size=shape)
    depth[bad < 0.1] = np.nan
    depth[(bad > 0.1) & (bad < 0.2)] = 0
    depth[(bad > 0.2) & (bad < 0.22)] = np.inf
    chosen = rng.uniform(size=shape) > 0.2
    normals = rng.normal(size=(*shape, 3))
    predicted = normals + rng.normal(0, 0.4, normals.shape)
    predicted[rng.uniform(size=shape) < 0.03] = 0
    normals[~chosen] = np.nan
    dense = np.exp(rng.normal(0, 0.15, shape))
    sharp = dense * np.exp(rng.normal(0, 0.05, shape))
    return disparity, depth, chosen, predicted, normals, dense, sharp


@pytest.mark.parametrize('seed', range(len(PUBLISHED)))
def test_figures_are_those_of_the_authors_code(seed):
    disparity, depth, chosen, predicted, normals, dense, sharp = case(seed)
    depth_figures, normal_figures, f1 = PUBLISHED[seed]
    depth_range, resolution = RANGES[seed]
    valid = depth_range.contains(depth) & chosen
    aligned = align_to_depth(disparity, depth, valid, depth_range, fit_resolution=resolution)
    errors = astuple(depth_errors(aligned.depth, depth, valid))
    assert errors == pytest.approx(depth_figures, rel=1e-6, abs=1e-6)
    angles = normal_errors(normal_angles(predicted, normals, chosen))
    assert tuple(angles.named().values()) == pytest.approx(normal_figures, rel=1e-6)
    assert boundary_score(sharp, dense).f1 == pytest.approx(f1, abs=1e-6)
