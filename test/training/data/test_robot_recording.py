from __future__ import annotations

import cv2
import numpy as np
import pytest
from data_files import damage, picture, write_camera_json, write_image, write_raster

from lotus2_ros.training.data.errors import DataError
from lotus2_ros.training.data.recording import Recording
from lotus2_ros.training.data.sample import BadSample

SIZE = (48, 64)
AXES = [[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]


def ramp():
    """Metres; a floor-like slope with a hole."""
    metres = np.linspace(4, 1, SIZE[0], dtype=np.float32)[:, None] * np.ones(
        (1, SIZE[1]), np.float32
    )
    metres[:4, :4] = 0
    return metres


def write_recording(root, names=('a',), suffix='.png'):
    write_camera_json(root)
    (root / 'depth').mkdir()
    for name in names:
        write_image(root / 'images' / f'{name}.png', picture(*SIZE))
        path = root / 'depth' / f'{name}{suffix}'
        if suffix == '.png':
            write_raster(path, (ramp() * 1000).round().astype(np.uint16))
        elif suffix == '.npy':
            np.save(path, ramp())
        else:
            write_raster(path, ramp())


@pytest.mark.parametrize('suffix', ['.png', '.tiff', '.npy'])
def test_depth_is_read_in_metres_with_zero_as_unknown(tmp_path, suffix):
    write_recording(tmp_path, suffix=suffix)
    record = Recording(tmp_path).read(0)
    assert np.array_equal(record.valid, ramp() > 0)
    np.testing.assert_allclose(record.depth[record.valid], ramp()[ramp() > 0], atol=0.00051)
    assert np.array_equal(record.image, picture(*SIZE))
    assert record.name.endswith('a.png')


def test_nan_and_far_depth_are_unknown(tmp_path):
    write_recording(tmp_path, suffix='.npy')
    depth = ramp()
    depth[10] = np.nan
    np.save(tmp_path / 'depth' / 'a.npy', depth)
    record = Recording(tmp_path, max_range=3.0).read(0)
    expected = np.nan_to_num(depth)
    assert np.array_equal(record.valid, (expected > 0) & (expected <= 3))


def test_normals_come_from_depth(tmp_path):
    write_recording(tmp_path, suffix='.npy')
    rows = (np.arange(SIZE[0]) - 23.5) / 50
    depth = np.broadcast_to((2 / (0.6 * rows + 0.8))[:, None], SIZE).astype(np.float32)
    np.save(tmp_path / 'depth' / 'a.npy', depth)
    record = Recording(tmp_path, normals=True).read(0)
    assert record.surface.mean() > 0.8
    known = record.normals[record.surface]
    np.testing.assert_allclose(known, np.broadcast_to((0, 0.6, 0.8), known.shape), atol=1e-3)


def test_lidar_is_projected_into_the_camera(tmp_path):
    write_camera_json(tmp_path, camera_from_lidar=AXES)
    write_image(tmp_path / 'images' / 'a.jpg', picture(*SIZE))
    (tmp_path / 'lidar').mkdir()
    # x, y, z and intensity: one point straight ahead, half a pixel from the optical axis.
    np.save(tmp_path / 'lidar' / 'a.npy', np.array([[5.0, 0.04, -0.04, 77.0]], np.float32))
    record = Recording(tmp_path).read(0)
    assert record.valid.sum() == 1
    assert record.depth[24, 31] == pytest.approx(5.0)
    assert 'lidar' in Recording(tmp_path).name


def test_lidar_gives_no_normals(tmp_path):
    write_camera_json(tmp_path, camera_from_lidar=AXES)
    write_image(tmp_path / 'images' / 'a.jpg', picture(*SIZE))
    (tmp_path / 'lidar').mkdir()
    with pytest.raises(DataError, match='too sparse for normals'):
        Recording(tmp_path, normals=True)


def test_bad_samples_say_what_is_wrong(tmp_path):
    write_recording(tmp_path, names='abcdefgh')
    depth = tmp_path / 'depth'
    (depth / 'a.png').unlink()
    damage(depth / 'b.png')
    write_raster(depth / 'c.png', np.full(SIZE, 90, np.uint8))
    write_raster(depth / 'd.png', np.full((40, 60), 900, np.uint16))
    write_raster(depth / 'e.png', np.zeros(SIZE, np.uint16))
    write_image(tmp_path / 'images' / 'f.png', picture(40, 64))
    np.save(depth / 'g.npy', ramp())
    reasons = [
        *('0 files', 'unreadable', 'not 16-bit', 'registered', 'empty depth', 'camera.json'),
        '2 files',
    ]
    dataset = Recording(tmp_path)
    for index, reason in enumerate(reasons):
        with pytest.raises(BadSample, match=reason):
            dataset.read(index)
    assert dataset.read(7).valid.any()


def test_depth_files_of_the_wrong_kind_are_bad_samples(tmp_path):
    write_recording(tmp_path, names='abc', suffix='.npy')
    np.save(tmp_path / 'depth' / 'a.npy', ramp().astype(np.int32))
    np.save(tmp_path / 'depth' / 'b.npy', np.array([{'not': 'numbers'}]), allow_pickle=True)
    (tmp_path / 'depth' / 'c.npy').unlink()
    assert cv2.imwrite(str(tmp_path / 'depth' / 'c.png'), picture(*SIZE))
    dataset = Recording(tmp_path)
    for index, reason in enumerate(['floating point', 'unreadable', 'has 3 channels']):
        with pytest.raises(BadSample, match=reason):
            dataset.read(index)


def test_bad_lidar_files_are_bad_samples(tmp_path):
    write_camera_json(tmp_path, camera_from_lidar=AXES)
    (tmp_path / 'lidar').mkdir()
    for name in 'abc':
        write_image(tmp_path / 'images' / f'{name}.png', picture(*SIZE))
    np.save(tmp_path / 'lidar' / 'a.npy', np.zeros((5, 2)))
    np.save(tmp_path / 'lidar' / 'b.npy', np.full((5, 3), -4.0))
    dataset = Recording(tmp_path)
    for index, reason in enumerate([r'not \(N, 3\)', 'empty depth', 'unreadable']):
        with pytest.raises(BadSample, match=reason):
            dataset.read(index)


def test_the_source_must_be_clear(tmp_path):
    write_recording(tmp_path)
    (tmp_path / 'lidar').mkdir()
    with pytest.raises(DataError, match='say which with `source`'):
        Recording(tmp_path)
    assert Recording(tmp_path, source='depth').read(0).valid.any()
    with pytest.raises(DataError, match='radar'):
        Recording(tmp_path, source='radar')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'fx': None}, 'must hold width'),
        ({'fx': -1.0}, 'must hold width'),
        ({'distortion': [0.1, 0, 0, 0]}, 'rectify'),
    ],
)
def test_a_camera_that_says_nothing_usable_is_an_error(tmp_path, changes, message):
    write_recording(tmp_path)
    write_camera_json(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        Recording(tmp_path)


@pytest.mark.parametrize(
    'matrix', [None, [[1, 0], [0, 1]], (2 * np.eye(4)).tolist(), np.diag([-1, 1, 1, 1]).tolist()]
)
def test_camera_from_lidar_must_be_a_rigid_motion(tmp_path, matrix):
    write_camera_json(tmp_path, camera_from_lidar=matrix)
    write_image(tmp_path / 'images' / 'a.png', picture(*SIZE))
    (tmp_path / 'lidar').mkdir()
    with pytest.raises(DataError, match='camera_from_lidar'):
        Recording(tmp_path)


def test_missing_parts_are_errors(tmp_path):
    with pytest.raises(DataError, match='neither depth nor lidar'):
        Recording(tmp_path)
    (tmp_path / 'depth').mkdir()
    with pytest.raises(DataError, match=r'camera\.json'):
        Recording(tmp_path)
    write_camera_json(tmp_path)
    with pytest.raises(DataError, match='images is missing'):
        Recording(tmp_path)
    (tmp_path / 'images').mkdir()
    with pytest.raises(DataError, match=r'has no \.png'):
        Recording(tmp_path)
