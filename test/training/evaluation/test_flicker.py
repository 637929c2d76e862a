from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import make_tiny_model

from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.tools.cli import main
from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.training.evaluation.flicker import (
    disparity_flicker,
    normal_flicker,
    still_by_depth,
)
from lotus2_ros.training.evaluation.sequences import Frame, FrameFolder, StillCamera
from lotus2_ros.training.evaluation.steadiness import measure_steadiness

EVERYWHERE = np.ones((24, 32), bool)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp('model') / 'tiny', max_side=64)


def disparity(seed):
    return np.random.default_rng(seed).uniform(0.2, 0.9, (24, 32)).astype(np.float32)


@given(st.floats(0.2, 5), st.floats(-1, 1))
def test_scale_and_shift_do_not_count_once_aligned(scale, shift):
    first = disparity(0)
    change = disparity_flicker(first, scale * first + shift, EVERYWHERE)
    assert change.aligned == pytest.approx(0, abs=1e-5)


def test_change_is_measured_against_the_spread_and_only_where_still():
    first = np.tile(np.linspace(0, 1, 32), (24, 1))
    second = first.copy()
    second[:, 20:] = 0.5  # something moved there
    still = EVERYWHERE.copy()
    still[:, 20:] = False
    assert disparity_flicker(first, second, still).unaligned == 0
    second = first + 0.1
    spread = np.quantile(first, 0.98) - np.quantile(first, 0.02)
    assert disparity_flicker(first, second, EVERYWHERE).unaligned == pytest.approx(0.1 / spread)


def test_flicker_does_not_depend_on_the_models_scale():
    first, second = disparity(0), disparity(1)
    once = disparity_flicker(first, second, EVERYWHERE)
    twice = disparity_flicker(2 * first, 2 * second, EVERYWHERE)
    assert once.aligned == pytest.approx(twice.aligned, rel=1e-5)
    assert once.unaligned == pytest.approx(twice.unaligned, rel=1e-5)


def test_normals_flicker_by_the_angle_between_them():
    first = np.broadcast_to([0, 0, -1.0], (24, 32, 3))
    second = np.broadcast_to([0, np.sin(0.1), -np.cos(0.1)], (24, 32, 3))
    assert normal_flicker(first, second, EVERYWHERE) == pytest.approx(np.degrees(0.1))


def test_a_pair_without_still_pixels_or_of_constants_is_refused():
    with pytest.raises(EvaluationError, match='stands still'):
        disparity_flicker(disparity(0), disparity(1), ~EVERYWHERE)
    with pytest.raises(EvaluationError, match='constant'):
        disparity_flicker(np.ones((24, 32)), disparity(1), EVERYWHERE)


def test_what_has_the_same_depth_stands_still():
    first = np.full((2, 3), 4.0)
    second = first * [1.0, 1.005, 1.02]
    valid = np.array([[True] * 3, [False] * 3])
    np.testing.assert_array_equal(
        still_by_depth(first, second, valid), [[True, True, False], [False] * 3]
    )


def test_built_in_frames_stand_still_but_for_noise_outside_the_ball():
    frames = list(StillCamera(3).frames())
    assert len(frames) == len(StillCamera(3))
    assert [frame.still is None for frame in frames[:4]] == [True, False, False, True]
    for before, frame in itertools.pairwise(frames):
        if frame.still is None:
            continue
        change = np.abs(frame.image.astype(float) - before.image)
        assert 0.3 < frame.still.mean() < 1
        assert change[frame.still].mean() < 6
        assert change[frame.still].mean() > 0.5
    again = next(iter(StillCamera(3).frames()))
    np.testing.assert_array_equal(again.image, frames[0].image)


def write_frames(folder, depths):
    folder.mkdir()
    background = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    background = cv2.GaussianBlur(background, (0, 0), 3)
    for index in range(3):
        image = background.copy()
        image[10:20, 15 * index : 15 * index + 10] = (255, 0, 0)
        cv2.imwrite(str(folder / f'{index}.png'), image)
        if depths:
            depth = np.full((40, 60), 5.0, np.float32)
            depth[10:20, 15 * index : 15 * index + 10] = 2.0
            np.save(folder / f'{index}_depth.npy', depth)


@pytest.mark.parametrize('depths', [False, True])
def test_frames_of_a_folder_move_where_pictures_or_depths_differ(tmp_path, depths):
    write_frames(tmp_path / 'frames', depths)
    sequence = FrameFolder(tmp_path / 'frames')
    first, second, _ = sequence.frames()
    assert isinstance(second, Frame)
    assert first.still is None
    assert not second.still[10:20, 0:10].any()
    assert not second.still[10:20, 15:25].any()
    assert second.still[30:, 40:].all()
    assert second.still.mean() == pytest.approx(1 - 200 / 2400) or not depths


def test_a_steady_picture_has_no_flicker_and_a_noisy_one_has(folder):
    predictor = Lotus2Predictor.from_pretrained(folder, device='cpu', cpu_threads=1)
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    other = np.random.default_rng(1).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    still = np.ones((32, 48), bool)

    class Given:
        name = title = 'given'

        def __len__(self):
            return 3

        def frames(self, limit=None):
            given = [('a', image, None), ('b', image, still), ('c', other, still)]
            for name, picture, where in [*given, ('d', other, ~still)][:limit]:
                yield Frame(name, picture, where)

    result = measure_steadiness(predictor, Given(), [0, 2])
    for row in result.rows.values():
        assert list(row) == ['b', 'c']
        assert row['b']['flicker'] == pytest.approx(0, abs=1e-6)
        assert row['b']['normal_flicker_deg'] == pytest.approx(0, abs=1e-3)
        assert row['c']['flicker'] > 0.01
    assert [entry.name for entry in result.skipped] == ['d']
    assert result.judged == 2
    assert result.summary()['core']['flicker'] == pytest.approx(
        np.mean([pair['flicker'] for pair in result.rows['core'].values()])
    )


def test_command_reports_flicker(folder, tmp_path, capsys):
    write_frames(tmp_path / 'frames', depths=True)
    command = ['evaluate', str(folder), '--sequence', str(tmp_path / 'frames'), '--device', 'cpu']
    out = tmp_path / 'out'
    assert main([*command, '--sharpen-steps', '0', '--threads', '1', '--out', str(out)]) == 0
    assert '2 pairs of frames compared' in capsys.readouterr().out
    assert (out / 'sequence.csv').read_text().count('\n') == 3
