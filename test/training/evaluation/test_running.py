"""Real tiny models over small benchmarks, to the files that a user gets."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from tiny import make_tiny_model

from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.tools.cli import main
from lotus2_ros.training.evaluation.benchmark import Rules, Sample, Skipped
from lotus2_ros.training.evaluation.built_in import HeldOut
from lotus2_ros.training.evaluation.depth_alignment import DepthRange
from lotus2_ros.training.evaluation.judging import judge
from lotus2_ros.training.evaluation.normal_metrics import normal_errors
from lotus2_ros.training.evaluation.prediction import padding, predict_sample
from lotus2_ros.training.evaluation.running import FIRST, WORST, evaluate
from lotus2_ros.training.evaluation.trivial import CONSTANT, PLANE, trivial_predictions
from lotus2_ros.types import Prediction

SHARPENED = 'core + sharpener, 2 steps'
RULES = Rules(DepthRange(0.1, 20.0), normals=True)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp('model') / 'tiny', max_side=64)


@pytest.fixture(scope='module')
def predictor(folder):
    return Lotus2Predictor.from_pretrained(folder, device='cpu', cpu_threads=1)


def sample(seed, height=32, width=48):
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(height, width, 3)).astype(np.float32)
    everywhere = np.ones((height, width), bool)
    return Sample(
        name=f'sample {seed}',
        image=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        depth=rng.uniform(1, 9, (height, width)).astype(np.float32),
        valid=rng.uniform(size=(height, width)) > 0.2,
        known=everywhere,
        normals=normals,
        surface=rng.uniform(size=(height, width)) > 0.2,
    )


class Listed:
    """A benchmark of given samples."""

    name = 'listed'
    title = 'samples of a test'

    def __init__(self, entries, rules=RULES):
        self.entries = entries
        self.rules = rules

    def __len__(self):
        return len(self.entries)

    def samples(self, limit=None):
        yield from self.entries[:limit]


def test_depth_is_averaged_over_images_and_normals_over_pixels(predictor):
    samples = [sample(0), sample(1, 48, 64)]
    result = evaluate(predictor, Listed(samples), [0, 2])
    assert list(result.rows) == ['core', SHARPENED, PLANE, CONSTANT]
    for steps, name in ((0, 'core'), (2, SHARPENED)):
        judged = [judge(predictor.predict(s.image, sharpen_steps=steps), s, RULES) for s in samples]
        summary = result.rows[name].summary()
        means = np.mean([[j.figures['abs_rel'], j.figures['boundary_f1']] for j in judged], 0)
        assert (summary['abs_rel'], summary['boundary_f1']) == pytest.approx(tuple(means))
        pixels = normal_errors(np.concatenate([j.angles for j in judged]))
        assert summary['normal_median'] == pytest.approx(pixels.median, rel=1e-6)
    assert result.judged == 2
    assert len(result.truth) == 2


def test_the_same_run_gives_the_same_figures(predictor):
    first, second = (evaluate(predictor, Listed([sample(0)]), [0, 2]) for _ in range(2))
    assert first.rows['core'].figures == second.rows['core'].figures
    assert first.rows[SHARPENED].figures == second.rows[SHARPENED].figures


def test_skipped_samples_are_kept_and_the_limit_counts_them(predictor):
    entries = [Skipped('broken', 'unreadable'), sample(0), sample(1)]
    seen = []
    result = evaluate(predictor, Listed(entries), [0], limit=2, progress=seen.append)
    assert result.skipped == entries[:1]
    assert result.judged == 1
    assert seen == ['broken', 'sample 0']


def test_a_failed_prediction_counts_for_no_predictor_and_is_named(predictor):
    bad = sample(0)
    bad.depth[bad.valid] = -1.0
    result = evaluate(predictor, Listed([bad, sample(1)]), [0])
    assert [entry.name for entry in result.failed] == ['sample 0']
    assert {len(row.figures) for row in result.rows.values()} == {1}


def test_the_worst_are_those_with_the_largest_error_worst_first(predictor):
    samples = [sample(seed, 16, 16) for seed in range(WORST + 4)]
    result = evaluate(predictor, Listed(samples), [0], trivial=False)
    errors = {name: row['abs_rel'] for name, row in result.rows['core'].figures.items()}
    expected = sorted(errors, key=errors.__getitem__, reverse=True)[:WORST]
    assert [entry.name for entry in result.worst_depth] == expected
    assert len(result.worst_normals) == WORST
    assert [entry.name for entry in result.first_depth] == list(errors)[:FIRST]
    assert [entry.order for entry in result.first_normals] == list(range(FIRST))
    assert len(result.worst_depth[0].tiles) == len(result.worst_depth[0].titles) == 3


def test_plane_explains_a_floor_and_a_constant_a_wall():
    rows = np.linspace(0.1, 1, 24)[:, None].repeat(32, 1)
    everywhere = np.ones(rows.shape, bool)
    image = np.zeros((24, 32, 3), np.uint8)
    floor = Sample('floor', image, (1 / rows).astype(np.float32), everywhere)
    wall = Sample('wall', image, np.full(rows.shape, 3, np.float32), everywhere)
    rules = Rules(DepthRange(0.01, 1000))
    assert judge(trivial_predictions(floor)[PLANE], floor, rules).figures['abs_rel'] < 1e-5
    assert judge(trivial_predictions(floor)[CONSTANT], floor, rules).figures['abs_rel'] > 0.2
    assert judge(trivial_predictions(wall)[CONSTANT], wall, rules).figures['delta1'] == 1


def test_trivial_normals_are_the_mean_of_the_truth():
    tilted = np.zeros((16, 16, 3), np.float32) + np.array([0.6, 0, -0.8], np.float32)
    surface = np.ones((16, 16), bool)
    flat = Sample('flat', np.zeros((16, 16, 3), np.uint8), normals=tilted, surface=surface)
    found = judge(trivial_predictions(flat)[CONSTANT], flat, Rules(normals=True))
    assert found.figures['normal_mean'] == pytest.approx(0, abs=1e-2)


def test_edges_beyond_the_range_are_no_edges():
    depth = np.full((16, 16), 25.0, np.float32)
    depth[:, 8:] = np.inf
    depth[:4] = 5.0
    depth[:2] = 2.5
    everywhere = np.ones(depth.shape, bool)
    scene = Sample('far', np.zeros((16, 16, 3), np.uint8), depth, depth < 20, everywhere)
    prediction = Prediction((1 / np.minimum(depth, 20)).astype(np.float32), None)
    figures = judge(prediction, scene, Rules(DepthRange(0.1, 20))).figures
    assert figures['boundary_precision'] == figures['boundary_recall'] == pytest.approx(0.25)


@pytest.mark.parametrize('sides', [(436, 1024), (480, 640), (33, 65)])
def test_padding_is_to_a_multiple_with_the_odd_pixel_right_and_below(sides):
    left, right, top, bottom = padding(*sides, 32)
    assert (sides[0] + top + bottom) % 32 == (sides[1] + left + right) % 32 == 0
    assert right - left in (0, 1)
    assert bottom - top in (0, 1)
    assert max(left + right, top + bottom) < 32
    assert padding(*sides, None) == (0, 0, 0, 0)


def test_a_padded_picture_is_cut_back(predictor):
    item = sample(0, 40, 60)
    ((_, found),) = predict_sample(predictor, item, Rules(normals=True, pad_multiple=32), [0])
    padded = np.pad(item.image, ((12, 12), (2, 2), (0, 0)))
    whole = predictor.predict(padded)
    np.testing.assert_array_equal(found.normals, whole.normals[12:52, 2:62])


def test_a_prediction_has_the_ground_truths_size(predictor):
    item = sample(0, 32, 48)
    truth = np.ones((64, 96), np.float32)
    larger = Sample('larger', item.image, truth, truth > 0, None)
    rules = Rules(DepthRange(0.1, 10), processing_side=32)
    ((_, found),) = predict_sample(predictor, larger, rules, [0])
    assert found.disparity.shape == (64, 96)
    assert found.normals is None


def read_csv(path):
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def test_command_writes_tables_figures_spectra_and_the_worst(folder, tmp_path, capsys):
    command = ['evaluate', str(folder), '--on', 'held-out,motorcycle', '--scenes', '2']
    options = ['--size', '64x48', '--sharpen-steps', '2', '--device', 'cpu', '--threads', '1']
    assert main([*command, *options, '--out', str(tmp_path / 'out')]) == 0
    printed = capsys.readouterr().out
    assert 'row and column, fitted' in printed
    assert 'brings back' in printed
    out = tmp_path / 'out'
    rows = read_csv(out / 'held-out.csv')
    assert {row['predictor'] for row in rows} == {'core', SHARPENED, PLANE, CONSTANT}
    report = json.loads((out / 'evaluation.json').read_text())
    held_out = report['benchmarks']['held-out']
    assert held_out['judged'] + len(held_out['skipped']) == 2
    core = [float(row['abs_rel']) for row in rows if row['predictor'] == 'core']
    assert held_out['figures']['core']['abs_rel'] == pytest.approx(np.mean(core))
    assert list(read_csv(out / 'held-out_spectrum.csv')[0]) == [
        'cycles_per_pixel', 'ground truth', 'core', SHARPENED,
    ]  # fmt: skip
    for name in (
        *('held-out_spectrum.png', 'held-out_worst_depth.jpg', 'held-out_worst_normals.jpg'),
        *('held-out_first_depth.jpg', 'held-out_first_normals.jpg'),
        *(
            'motorcycle.csv',
            'motorcycle_worst_depth.jpg',
            'motorcycle_first_depth.jpg',
            'results.md',
        ),
    ):
        assert (out / name).stat().st_size > 0, name


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--on', 'nothing'], "benchmark 'nothing' is unknown; known: held-out"),
        (['--on', 'kitti'], 'kitti is read from disk: say where with --data'),
        (['--on', 'held-out', '--size', 'big'], "--size: 'big' is no size"),
        (['--pairs', '/nowhere'], '/nowhere: no such folder'),
        (['--limit', '0'], '--limit must be at least 1'),
    ],
)
def test_wrong_options_are_explained(folder, options, message, capsys):
    assert main(['evaluate', str(folder), *options]) == 1
    assert message in capsys.readouterr().err


def test_held_out_scenes_are_the_same_however_many_are_asked_for():
    few, many = (list(HeldOut(5, 24, 32).samples(n)) for n in (1, 3))
    assert len(few) == 1
    assert len(many) == 3
    np.testing.assert_array_equal(few[0].image, many[0].image)
