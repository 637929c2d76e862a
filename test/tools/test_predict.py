from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from PIL import Image

from lotus2_ros.geometry.colormap import colorize_disparity
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.tools.cli import main
from lotus2_ros.tools.predict import unique_names

OUTPUTS = (
    'depth.png',
    'disparity.png',
    'disparity.npy',
    'normals.png',
    'normals.npy',
    'cloud.ply',
)


class Ply(NamedTuple):
    comments: list[str]
    vertices: np.ndarray


def read_ply(path: Path) -> Ply:
    """A reader of its own, by the format's description."""
    head, _, body = path.read_bytes().partition(b'end_header\n')
    lines = head.decode('ascii').splitlines()
    assert lines[:2] == ['ply', 'format binary_little_endian 1.0']
    kinds = {'float': '<f4', 'uchar': 'u1'}
    properties = [line.split() for line in lines if line.startswith('property')]
    layout = np.dtype([(name, kinds[kind]) for _, kind, name in properties])
    count = next(int(line.split()[2]) for line in lines if line.startswith('element vertex'))
    assert len(body) == count * layout.itemsize
    return Ply(
        [line.removeprefix('comment ') for line in lines if line.startswith('comment')],
        np.frombuffer(body, layout),
    )


def photograph(width: int = 48, height: int = 32) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    red = 255 * x / width
    green = 255 * y / height
    return np.stack([red, green, 128 + 60 * np.sin(x / 5)], axis=-1).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One of each kind of picture that people have."""
    folder = tmp_path / 'in'
    folder.mkdir()
    rgb = photograph()
    Image.fromarray(rgb).save(folder / 'plain.png')
    Image.fromarray(rgb[..., 0]).save(folder / 'grey.png')
    alpha = np.full((32, 48, 1), 128, dtype=np.uint8)
    Image.fromarray(np.concatenate([rgb, alpha], axis=-1)).save(folder / 'alpha.png')
    cv2.imwrite(str(folder / 'deep.png'), rgb[..., ::-1].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn clockwise to show
    Image.fromarray(rgb).save(folder / 'upright.jpg', exif=exif, quality=95)
    return folder


def test_every_kind_of_picture_gives_every_file(folder, tmp_path, tiny_model, capsys):
    out = tmp_path / 'out'
    assert main(['predict', str(folder), '--out', str(out), '--model', str(tiny_model)]) == 0
    assert '5 of 5 photographs done' in capsys.readouterr().out
    for name in ('plain', 'grey', 'alpha', 'deep', 'upright'):
        shape = (48, 32) if name == 'upright' else (32, 48)
        disparity = np.load(out / f'{name}_disparity.npy')
        assert disparity.dtype == np.float32
        assert disparity.shape == shape
        normals = np.load(out / f'{name}_normals.npy')
        assert normals.shape == (*shape, 3)
        np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1.0, atol=1e-4)

        png = cv2.imread(str(out / f'{name}_disparity.png'), cv2.IMREAD_UNCHANGED)
        assert png.dtype == np.uint16
        np.testing.assert_allclose(png / 65535.0, disparity, atol=0.51 / 65535)
        shown = cv2.imread(str(out / f'{name}_depth.png'))[..., ::-1]
        np.testing.assert_array_equal(shown, colorize_disparity(disparity))
        assert cv2.imread(str(out / f'{name}_normals.png')).shape == (*shape, 3)
    sheet = cv2.imread(str(out / 'contact_sheet.png'))
    assert sheet.std() > 10

    # Transparency and depth in bits change nothing; the same picture gives the same numbers.
    plain = np.load(out / 'plain_disparity.npy')
    for name in ('alpha', 'deep'):
        np.testing.assert_array_equal(np.load(out / f'{name}_disparity.npy'), plain)
    expected = Lotus2Predictor.from_pretrained(tiny_model).predict(photograph())
    np.testing.assert_array_equal(plain, expected.disparity)


def test_the_cloud_is_the_disparity_and_says_that_it_is_not_metric(folder, tmp_path, tiny_model):
    out = tmp_path / 'out'
    command = ['predict', str(folder / 'plain.png'), '--out', str(out), '--fov', '90']
    assert main([*command, '--shift', '0.5', '--model', str(tiny_model)]) == 0
    comments, vertices = read_ply(out / 'plain_cloud.ply')
    assert 'NOT metric' in comments[0]
    assert 0 < len(vertices) < 32 * 48
    disparity = np.load(out / 'plain_disparity.npy')
    # Each point goes back to the pixel it came from: 90 deg make the focal length half the width.
    column = np.rint(24 * vertices['x'] / vertices['z'] + 23.5).astype(int)
    row = np.rint(24 * vertices['y'] / vertices['z'] + 15.5).astype(int)
    np.testing.assert_allclose(vertices['z'], 1 / (disparity[row, column] + 0.5), rtol=1e-5)
    rgb = photograph()[row, column]
    np.testing.assert_array_equal(
        np.stack([vertices[c] for c in ('red', 'green', 'blue')], -1), rgb
    )
    normals = np.load(out / 'plain_normals.npy')[row, column]
    np.testing.assert_array_equal(np.stack([vertices[c] for c in ('nx', 'ny', 'nz')], -1), normals)


def test_unreadable_files_are_reported_and_the_rest_is_done(folder, tmp_path, tiny_model, capsys):
    (folder / 'broken.jpg').write_bytes((folder / 'upright.jpg').read_bytes()[:300])
    (folder / 'text.png').write_text('not a picture')
    (folder / 'empty.png').touch()
    out = tmp_path / 'out'
    assert main(['predict', str(folder), '--out', str(out), '--model', str(tiny_model)]) == 1
    text = capsys.readouterr()
    assert '5 of 8 photographs done' in text.out
    for name in ('broken.jpg', 'text.png', 'empty.png'):
        assert name in text.err
        assert not (out / f'{Path(name).stem}_disparity.npy').exists()
    assert len(list(out.glob('*_disparity.npy'))) == 5


def test_one_task_gives_its_files_only(folder, tmp_path, tiny_model):
    out = tmp_path / 'out'
    command = ['predict', str(folder / 'gr*.png'), '--out', str(out), '--model', str(tiny_model)]
    assert main([*command, '--tasks', 'normals']) == 0
    assert {p.name for p in out.iterdir()} == {
        'grey_normals.png',
        'grey_normals.npy',
        'contact_sheet.png',
    }


def test_sharpening_changes_the_result(folder, tmp_path, tiny_model):
    results = []
    for steps in ('0', '2'):
        out = tmp_path / steps
        command = ['predict', str(folder / 'plain.png'), '--out', str(out), '--steps', steps]
        assert main([*command, '--model', str(tiny_model), '--tasks', 'depth']) == 0
        results.append(np.load(out / 'plain_disparity.npy'))
    assert np.abs(results[0] - results[1]).max() > 0.01


@pytest.mark.parametrize(
    ('options', 'reason'),
    [
        (['--model', 'no/such/folder'], 'no/such/folder'),
        (['--steps', '11'], '0 to 10'),
        (['--fov', '190'], '190'),
        (['--shift', '0'], 'shift'),
        (['--max-side', '7'], 'max_side'),
        (['--device', 'cuda:99'], 'cuda'),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    options, reason, folder, tmp_path, tiny_model, capsys
):
    out = tmp_path / 'out'
    model = [] if '--model' in options else ['--model', str(tiny_model)]
    command = ['predict', str(folder / 'plain.png'), '--out', str(out), *model, *options]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith('lotus2 predict: error: ')
    assert reason in error
    assert not out.exists() or not any(out.iterdir())


def test_inputs_that_match_nothing_are_an_error(tmp_path, capsys):
    for pattern in (tmp_path / 'missing.png', tmp_path / '*.png', tmp_path):
        assert main(['predict', str(pattern), '--out', str(tmp_path / 'out')]) == 1
        assert str(pattern) in capsys.readouterr().err


def test_files_of_one_name_do_not_overwrite_each_other():
    paths = [Path('a/x.png'), Path('b/x.png'), Path('x_2.png'), Path('x.jpg')]
    names = unique_names(paths)
    assert names[:2] == ['x', 'x_2']
    assert len(set(names)) == 4
