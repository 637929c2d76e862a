from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from lotus2_ros.training.evaluation.benchmark import Sample, Skipped
from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.training.evaluation.normal_sets import NORMAL_SETS, NormalBenchmark

HEIGHT, WIDTH = 12, 20


def png(pixels):
    return cv2.imencode('.png', np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()


def exr(vectors):
    """An uncompressed scan-line file, straight from the format's description."""
    height, width = vectors.shape[:2]

    def attribute(name, kind, value):
        return name + b'\0' + kind + b'\0' + struct.pack('<i', len(value)) + value

    box = struct.pack('<4i', 0, 0, width - 1, height - 1)
    channel = struct.pack('<iiii', 2, 0, 1, 1)
    channels = b''.join(name + b'\0' + channel for name in (b'B', b'G', b'R')) + b'\0'
    header = struct.pack('<ii', 20000630, 2) + attribute(b'channels', b'chlist', channels)
    header += attribute(b'compression', b'compression', b'\0')
    header += attribute(b'dataWindow', b'box2i', box) + attribute(b'displayWindow', b'box2i', box)
    header += b'\0'
    lines = [
        struct.pack('<ii', y, 12 * width)
        + b''.join(vectors[y, :, c].astype('<f4').tobytes() for c in (2, 1, 0))
        for y in range(height)
    ]
    start = len(header) + 8 * height
    offsets = [start + y * len(lines[0]) for y in range(height)]
    return header + struct.pack(f'<{height}Q', *offsets) + b''.join(lines)


def unit_vectors(seed):
    vectors = np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH, 3))
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def dataset(root, name, *, count=2):
    """Write a benchmark in DSINE's layout; returns its true vectors and masks."""
    suffix, folder = NORMAL_SETS[name].suffix, root / 'dsine_eval' / NORMAL_SETS[name].folder / 'a'
    folder.mkdir(parents=True)
    truths = []
    for index in range(count):
        vectors = unit_vectors(index)
        known = np.random.default_rng(index + 100).uniform(size=(HEIGHT, WIDTH)) > 0.3
        image = np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        (folder / f'{index:06d}_img.png').write_bytes(png(image))
        if suffix == '.png':
            stored = np.round((vectors + 1) * 127.5).clip(1, 255).astype(np.uint8)
            stored[~known] = 0
            data, vectors = png(stored), stored / 255 * 2 - 1
        else:
            data = exr(np.where(known[..., None], vectors, 0).astype(np.float32))
        (folder / f'{index:06d}_normal{suffix}').write_bytes(data)
        np.save(folder / f'{index:06d}_intrins.npy', np.eye(3))
        truths.append((vectors, known))
    return truths


@pytest.mark.parametrize('name', NORMAL_SETS)
def test_normals_are_turned_to_the_camera_and_masked(tmp_path, name):
    truths = dataset(tmp_path, name)
    benchmark = NormalBenchmark(name, tmp_path)
    assert len(benchmark) == 2
    for sample, (outward, known) in zip(benchmark.samples(), truths, strict=True):
        assert isinstance(sample, Sample)
        np.testing.assert_array_equal(sample.surface, known)
        np.testing.assert_allclose(sample.normals[known], -outward[known], atol=1e-6)
        assert sample.depth is None


def test_the_list_says_which_and_in_which_order(tmp_path):
    dataset(tmp_path, 'nyuv2-normals', count=3)
    split = tmp_path / 'dataset_normal' / 'nyuv2' / 'split' / 'test.txt'
    split.parent.mkdir(parents=True)
    split.write_text('a/000002_img.png\na/000000_img.png\na/000009_img.png\n')
    benchmark = NormalBenchmark('nyuv2-normals', tmp_path / 'dsine_eval', tmp_path)
    first, second, third = benchmark.samples()
    assert (first.name, second.name) == ('a/000002_img.png', 'a/000000_img.png')
    assert isinstance(third, Skipped)
    assert 'test.txt' in benchmark.title


def test_ground_truth_of_another_size_or_without_normals_is_named(tmp_path):
    dataset(tmp_path, 'ibims', count=2)
    folder = tmp_path / 'dsine_eval' / 'ibims' / 'a'
    (folder / '000000_normal.exr').write_bytes(exr(np.ones((3, 4, 3), np.float32)))
    (folder / '000001_normal.exr').write_bytes(exr(np.zeros((HEIGHT, WIDTH, 3), np.float32)))
    first, second = NormalBenchmark('ibims', tmp_path).samples()
    assert '(3, 4)' in first.reason
    assert 'no pixel has a normal' in second.reason


def test_missing_data_says_where_was_looked(tmp_path):
    with pytest.raises(EvaluationError, match='dsine_eval/sintel'):
        NormalBenchmark('sintel', tmp_path)
