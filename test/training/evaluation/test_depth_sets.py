"""The five layouts, written small in their own formats, as folders and as archives."""

from __future__ import annotations

import io
import re
import tarfile

import cv2
import numpy as np
import pytest

from lotus2_ros.training.evaluation import depth_sets
from lotus2_ros.training.evaluation.benchmark import Sample, Skipped
from lotus2_ros.training.evaluation.depth_sets import DEPTH_SETS, DepthBenchmark
from lotus2_ros.training.evaluation.errors import EvaluationError

ETH3D_SMALL = (24, 36)


def png(pixels):
    stored = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    return cv2.imencode('.png', np.ascontiguousarray(stored))[1].tobytes()


def jpeg(pixels):
    return cv2.imencode('.jpg', np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def picture(rng, height, width):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def nyuv2(rng):
    image = picture(rng, 480, 640)
    raw = rng.integers(1, 11_000, (480, 640)).astype(np.uint16)
    raw[200:210] = 0
    files = {
        'test/kitchen_0004/rgb_0001.png': png(image),
        'test/kitchen_0004/depth_0001.png': png(raw),
        'test/kitchen_0004/filled_0001.png': png(raw + 1),
        'train/office_0003/rgb_0003.png': png(image),
    }
    line = ' '.join(list(files)[:3])
    valid = np.zeros(raw.shape, bool)
    valid[45:471, 41:601] = (raw[45:471, 41:601] > 1) & (raw[45:471, 41:601] < 10_000)
    return files, line, image, raw / 1000, valid


def kitti(rng):
    image = picture(rng, 375, 1242)
    raw = (rng.uniform(size=(375, 1242)) > 0.8) * rng.integers(1, 85 * 256, (375, 1242))
    drive = '2011_09_26_drive_0002_sync'
    files = {
        f'2011_09_26/{drive}/image_02/data/0000000069.png': png(image),
        f'{drive}/proj_depth/groundtruth/image_02/0000000069.png': png(raw.astype(np.uint16)),
        f'2011_09_26/{drive}/image_02/data/0000000070.png': png(image),
    }
    depth = raw[23:375, 13:1229] / 256
    valid = np.zeros(depth.shape, bool)
    inside = slice(117, 321), slice(43, 1172)  # Eigen's fractions of 352 and 1216, cut
    valid[inside] = (depth[inside] > 1e-5) & (depth[inside] < 80)
    line = ' '.join(list(files)[:2]) + ' 721.5377\n' + list(files)[2] + ' None 721.5377'
    return files, line, image[23:375, 13:1229], depth, valid


def eth3d(rng):
    image = picture(rng, *ETH3D_SMALL)
    depth = rng.uniform(1, 30, ETH3D_SMALL).astype(np.float32)
    depth[rng.uniform(size=ETH3D_SMALL) > 0.5] = np.inf
    files = {
        'rgb/office/images/dslr_images/DSC_0219.JPG': jpeg(image),
        'depth/office_dslr_depth/office/ground_truth_depth/dslr_images/DSC_0219.JPG':
            depth.tobytes(),
    }  # fmt: skip
    known = np.isfinite(depth)
    return files, ' '.join(files), None, np.where(known, depth, 0), known


def scannet(rng):
    image = picture(rng, 48, 64)
    raw = rng.integers(0, 11_000, (48, 64)).astype(np.uint16)
    files = {
        'scene0406_02/color/000300.jpg': jpeg(image),
        'scene0406_02/depth/000300.png': png(raw),
    }
    return files, ' '.join(files), None, raw / 1000, (raw > 1) & (raw < 10_000)


def diode(rng):
    image = picture(rng, 48, 64)
    depth = rng.uniform(0.1, 400, (48, 64, 1)).astype(np.float32)
    mask = (rng.uniform(size=(48, 64)) > 0.3).astype(np.float32)
    stem = 'indoors/scene_00021/scan_00189/00021_00189_indoors_200_010'
    files = {
        f'{stem}.png': png(image),
        f'{stem}_depth.npy': npy(depth),
        f'{stem}_depth_mask.npy': npy(mask),
    }
    # The mask alone counts: depths outside the range are not taken out.
    return files, ' '.join(files), image, depth[..., 0], mask > 0


MAKERS = {'nyuv2': nyuv2, 'kitti': kitti, 'eth3d': eth3d, 'scannet': scannet, 'diode': diode}
LISTS = {
    'nyuv2': 'nyu/labeled/filename_list_test.txt',
    'kitti': 'kitti/eigen_test_files_with_gt.txt',
    'eth3d': 'eth3d/eth3d_filename_list.txt',
    'scannet': 'scannet/scannet_val_sampled_list_800_1.txt',
    'diode': 'diode/diode_val_all_filename_list.txt',
}


@pytest.fixture(autouse=True)
def small_eth3d(monkeypatch):
    monkeypatch.setattr(depth_sets, 'ETH3D_SIZE', ETH3D_SMALL)


def write(root, files, *, archive=None):
    if archive is not None:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive, 'w') as tar:
            for name, data in files.items():
                member = tarfile.TarInfo(f'./{name}')
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        return
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def write_list(root, name, line):
    path = root / 'lists' / LISTS[name]
    path.parent.mkdir(parents=True)
    path.write_text(line + '\n')
    return root / 'lists'


@pytest.mark.parametrize('form', ['archive', 'base folder', 'extracted', 'no list'])
@pytest.mark.parametrize('name', MAKERS)
def test_sample_has_the_protocols_depth_mask_and_crop(tmp_path, name, form):
    files, line, image, depth, valid = MAKERS[name](np.random.default_rng(0))
    data = tmp_path / 'data'
    archive = data / DEPTH_SETS[name].archive
    lists = write_list(tmp_path, name, line)
    if form in ('archive', 'base folder'):
        write(data, files, archive=archive)
    else:
        write(data, files)
    benchmark = DepthBenchmark(
        name,
        archive if form == 'archive' else data,
        None if form == 'no list' else lists,
    )
    samples = list(benchmark.samples())
    assert len(benchmark) == len(samples) == 1
    (sample,) = samples
    assert isinstance(sample, Sample)
    if image is not None:  # not JPEG
        np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_allclose(sample.depth[valid], depth[valid], rtol=1e-6)
    np.testing.assert_array_equal(sample.valid, valid)
    assert (sample.known is None) == (name in ('kitti', 'eth3d'))
    assert ('no split list' in benchmark.title) == (form == 'no list')


def test_unreadable_samples_are_named_and_the_others_go_on(tmp_path):
    files, line, *_ = scannet(np.random.default_rng(0))
    second = {name.replace('000300', '000400'): data for name, data in files.items()}
    second['scene0406_02/depth/000400.png'] = b'no picture'
    write(tmp_path / 'data', files | second)
    missing = line.replace('000300', '000500')
    lines = [line.replace('000300', '000400'), missing, line]
    lists = write_list(tmp_path, 'scannet', '\n'.join(lines))
    entries = list(DepthBenchmark('scannet', tmp_path / 'data', lists).samples())
    assert [type(entry) for entry in entries] == [Skipped, Skipped, Sample]
    assert 'not a picture' in entries[0].reason
    assert 'cannot be read' in entries[1].reason
    assert entries[1].name == 'scene0406_02/color/000500.jpg'


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'scene0406_02/depth/000300.png': png(np.ones((4, 4), np.uint16))}, r'\(4, 4\)'),
        ({'scene0406_02/depth/000300.png': png(np.zeros((48, 64), np.uint16))}, 'no pixel'),
        ({'scene0406_02/depth/000300.png': png(np.ones((48, 64, 3), np.uint8))}, 'one channel'),
        ({'scene0406_02/color/000300.jpg': b''}, 'empty'),
    ],
)
def test_a_sample_that_cannot_be_judged_says_why(tmp_path, change, reason):
    files, *_ = scannet(np.random.default_rng(0))
    write(tmp_path, files | change)
    (entry,) = DepthBenchmark('scannet', tmp_path).samples()
    assert isinstance(entry, Skipped)
    assert re.search(reason, entry.reason)


def test_eth3d_of_another_size_is_refused(tmp_path, monkeypatch):
    files, *_ = eth3d(np.random.default_rng(0))
    write(tmp_path, files)
    monkeypatch.setattr(depth_sets, 'ETH3D_SIZE', (4032, 6048))
    (entry,) = DepthBenchmark('eth3d', tmp_path).samples()
    assert '6048x4032 float32 have 97542144' in entry.reason


def test_a_diode_mask_over_missing_depth_is_refused(tmp_path):
    files, *_ = diode(np.random.default_rng(0))
    name = next(name for name in files if name.endswith('_depth.npy'))
    write(tmp_path, files | {name: npy(np.zeros((48, 64, 1), np.float32))})
    (entry,) = DepthBenchmark('diode', tmp_path).samples()
    assert 'pixels of the mask have no depth' in entry.reason


def test_missing_data_and_lists_say_where_was_looked(tmp_path):
    with pytest.raises(EvaluationError, match=r'nyuv2/nyu_labeled_extracted\.tar'):
        DepthBenchmark('nyuv2', tmp_path)
    files, *_ = nyuv2(np.random.default_rng(0))
    write(tmp_path, files)
    with pytest.raises(EvaluationError, match='no such folder of split lists'):
        DepthBenchmark('nyuv2', tmp_path, tmp_path / 'nowhere')
    (tmp_path / 'lists').mkdir()
    with pytest.raises(EvaluationError, match='found: none'):
        DepthBenchmark('nyuv2', tmp_path, tmp_path / 'lists')


def test_a_damaged_archive_is_refused(tmp_path):
    path = tmp_path / 'eth3d.tar'
    path.write_bytes(b'no archive at all' * 100)
    with pytest.raises(EvaluationError, match='not a tar archive'):
        DepthBenchmark('eth3d', path)


def test_a_list_with_too_few_names_is_refused(tmp_path):
    files, line, *_ = diode(np.random.default_rng(0))
    write(tmp_path / 'data', files)
    lists = write_list(tmp_path, 'diode', line.rpartition(' ')[0])
    with pytest.raises(EvaluationError, match=r'filename_list\.txt:1: 2 names, not 3'):
        DepthBenchmark('diode', tmp_path / 'data', lists)


def test_limit_takes_the_first(tmp_path):
    files, *_ = scannet(np.random.default_rng(0))
    more = {name.replace('000300', '000100'): data for name, data in files.items()}
    write(tmp_path, files | more)
    benchmark = DepthBenchmark('scannet', tmp_path)
    assert len(benchmark) == 2
    assert [s.name for s in benchmark.samples(1)] == ['scene0406_02/color/000100.jpg']
