"""Scale and shift over the whole image, where the prediction is no affine map of the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lotus2_ros.geometry.scale.estimate import References, ScaleEstimate
from lotus2_ros.geometry.scale.fit import fit_scale
from lotus2_ros.geometry.scale.relative_fit import (
    image_areas,
    mixed,
    refine,
    refine_over_image,
)
from lotus2_ros.geometry.scale.sampling import places_at, sample_disparity

SIZE = (320, 240)


def test_a_point_stands_for_the_cells_that_are_nearest_to_it():
    # Three columns of a ring on the horizon, one far below: half of the way belongs to each.
    pixels = np.array([[60.0, 60.0], [160.0, 60.0], [260.0, 60.0], [160.0, 220.0]])
    areas = image_areas(pixels, SIZE)
    assert areas.mean() == pytest.approx(1.0)
    assert areas[0] == pytest.approx(areas[2], rel=0.05)
    assert areas[3] > areas[1]
    doubled = image_areas(np.vstack([pixels, pixels[3] + 0.5]), SIZE)
    assert doubled[3] == doubled[4] == pytest.approx(areas[3] * 5 / 4 / 2)


def test_no_part_of_the_image_hangs_on_one_point():
    crowd = np.random.default_rng(0).uniform([0, 0], [80, 240], (400, 2))
    areas = image_areas(np.vstack([crowd, [[300.0, 120.0]]]), SIZE)
    assert areas[-1] == areas.max() == 10.0
    assert len(image_areas(np.zeros((0, 2)), SIZE)) == 0


def bent(rng, count=1500, outliers=0.0):
    """Disparity that leaves its line slowly with the place; 1% noise in the references."""
    z, place = rng.uniform(0.8, 10.0, count), rng.uniform(0.0, 1.0, count)
    disparity = (np.exp(0.25 * np.sin(5.0 * place)) / z - 0.03) / 1.5
    inverse = 1 / (z * (1 + 0.01 * rng.standard_normal(count)))
    wrong = rng.random(count) < outliers
    inverse[wrong] = 1 / rng.uniform(0.3, 15.0, wrong.sum())
    return z, place, References(disparity, inverse, 0.01 * inverse)


def abs_rel(a, b, z, disparity):
    return float(np.mean(np.abs(1 / (a * disparity + b) / z - 1)))


@pytest.mark.parametrize('outliers', [0.0, 0.2])
@pytest.mark.parametrize('seed', range(5))
def test_depth_is_nearly_as_right_as_any_scale_and_shift_make_it(seed, outliers):
    z, _, references = bent(np.random.default_rng(seed), outliers=outliers)
    start = fit_scale(references, source='points')
    assert isinstance(start, ScaleEstimate)
    found = refine(references, np.ones(len(z)), start)
    best = min(
        abs_rel(a, b, z, references.disparity)
        for a in np.linspace(0.8, 2.2, 57)
        for b in np.linspace(-0.05, 0.1, 31)
    )
    assert best > 0.1  # it is no affine map
    assert abs_rel(found.a, found.b, z, references.disparity) < 1.1 * best


def test_a_large_area_decides():
    z, place, references = bent(np.random.default_rng(0))
    start = fit_scale(references, source='points')
    part = place < 0.5
    errors = []
    for areas in (np.where(part, 10.0, 0.1), np.where(part, 0.1, 10.0)):
        found = refine(references, areas, start)
        errors.append(abs_rel(found.a, found.b, z[part], references.disparity[part]))
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize('seed', range(20))
def test_errors_are_of_the_size_that_the_covariance_says(seed):
    rng = np.random.default_rng(seed)
    scores = []
    for _ in range(20):
        z = rng.uniform(0.8, 10.0, 300)
        disparity = (1 / z - 0.03) / 1.5
        inverse = 1 / (z * (1 + 0.02 * rng.standard_normal(300)))
        references = References(disparity, inverse, 0.02 / z)
        start = ScaleEstimate(1.4, 0.05, np.eye(2), 1.0, 300, 0.0, 'points')
        found = refine(references, np.ones(300), start)
        error = np.array([math.log(found.a / 1.5), found.b - 0.03])
        scores.append(error @ np.linalg.solve(found.covariance, error))
    # The mean of a chi-square of two degrees of freedom is 2.
    assert 0.8 < np.mean(scores) < 5.0


def test_references_beside_the_image_and_where_nothing_was_predicted_do_not_count():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:240, :320]
    disparity = (0.1 + 0.7 * rows / 240 + 0.1 * columns / 320).astype(np.float32)
    disparity[:, 200:] = np.nan
    pixels = np.column_stack([rng.uniform(-50, 400, 900), rng.uniform(-50, 300, 900)])
    inverse = 2.0 * (0.1 + 0.7 * pixels[:, 1] / 240 + 0.1 * pixels[:, 0] / 320) + 0.1
    inverse = np.where(pixels[:, 0] > 199, 50.0, np.maximum(inverse, 0.01))
    start = ScaleEstimate(1.5, 0.2, np.eye(2), 1.0, 900, 0.0, 'points')
    values = sample_disparity(disparity, places_at(pixels, disparity.shape, reach=1.0)).value
    references = References(values, inverse, 0.01 * inverse)
    found = refine_over_image(references, image_areas(pixels, SIZE), start)
    assert (found.a, found.b) == (pytest.approx(2.0, rel=1e-3), pytest.approx(0.1, abs=1e-3))
    assert found.samples < 500


def test_without_a_positive_scale_the_start_remains():
    z = np.linspace(1, 5, 100)
    references = References(1 - 1 / z, 1 / z, 0.01 / z)
    start = ScaleEstimate(1.0, 0.0, np.eye(2), 1.0, 100, 0.0, 'points')
    assert refine(references, np.ones(100), start) is start


def test_a_mixture_lies_between():
    one = ScaleEstimate(1.0, 0.0, np.eye(2), 0.5, 100, 0.1, 'points')
    other = ScaleEstimate(4.0, 0.2, 3 * np.eye(2), 0.9, 100, 0.3, 'points')
    half = mixed(one, other, 0.5)
    assert (half.a, half.b, half.inlier_share) == pytest.approx((2.0, 0.1, 0.7))
    np.testing.assert_allclose(half.covariance, 2 * np.eye(2))
    for share, end in ((0.0, one), (1.0, other)):
        assert mixed(one, other, share).a == pytest.approx(end.a)
