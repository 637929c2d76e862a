from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import vkitti_road, write_camera_json, write_image, write_raster, write_vkitti_frame

from lotus2_ros.training.data.errors import DataError
from lotus2_ros.training.data.opening import open_datasets
from lotus2_ros.training.data.recording import Recording
from lotus2_ros.training.data.stream import TrainingStream

SIZE = (48, 64)


def write_recording(root, count, bad=()):
    """Each picture is one grey, 8 i, over a slope; the bad ones have no depth."""
    write_camera_json(root)
    slope = np.linspace(1000, 4000, SIZE[0])[:, None] * np.ones((1, SIZE[1]))
    for index in range(count):
        write_image(root / 'images' / f'{index:03d}.png', np.full((*SIZE, 3), 8 * index, np.uint8))
        depth = np.zeros(SIZE) if index in bad else slope + 10 * index
        write_raster(root / 'depth' / f'{index:03d}.png', depth.astype(np.uint16))
    return root


@pytest.fixture
def folders(tmp_path):
    first = write_recording(tmp_path / 'first', 12, bad=(2, 5))
    return [Recording(first), Recording(write_recording(tmp_path / 'second', 7))]


def stream(datasets, **changes):
    options = {
        'task': 'depth',
        'sizes': [(48, 64), (32, 32)],
        'batch_size': 2,
        'seed': 7,
        **changes,
    }
    options['sizes'] = options['sizes'][: len(datasets)]
    return TrainingStream(datasets, [0.7, 0.3][: len(datasets)], **options)


def same(first, second):
    for field in dataclasses.fields(first):
        one, other = getattr(first, field.name), getattr(second, field.name)
        if isinstance(one, torch.Tensor):
            assert one.numpy().tobytes() == other.numpy().tobytes(), field.name
        else:
            assert one == other


def test_a_batch_has_the_shapes_types_and_ranges_of_its_dataset(folders):
    batches = [stream(folders).batch(step) for step in range(12)]
    assert {tuple(batch.image.shape) for batch in batches} == {(2, 3, 48, 64), (2, 3, 32, 32)}
    for batch in batches:
        assert batch.image.dtype == batch.target.dtype == torch.float32
        assert batch.mask.dtype == torch.bool
        assert batch.target.shape == batch.image.shape
        assert batch.mask.shape == (2, 1, *batch.image.shape[2:])
        assert batch.image.abs().max() <= 1
        assert batch.target.abs().max() == 1
        # One batch, one dataset.
        assert len({name.partition('/')[0] for name in batch.names}) == 1


def test_images_belong_to_their_names(folders):
    for step in range(8):
        batch = stream(folders).batch(step)
        for name, image in zip(batch.names, batch.image, strict=True):
            number = int(name.rpartition('/')[2].removesuffix('.png'))
            torch.testing.assert_close(image, torch.full_like(image, 8 * number / 127.5 - 1))


def test_the_same_step_gives_the_same_bytes_in_any_order(folders):
    one, other = stream(folders), stream(folders)
    forward = [one.batch(step) for step in range(10)]
    for step in reversed(range(10)):
        same(forward[step], other.batch(step))
    same(forward[4], one.batch(4))


def test_another_seed_is_another_stream(folders):
    one, other = stream(folders), stream(folders, seed=8)
    names = [[s.batch(step).names for step in range(6)] for s in (one, other)]
    assert names[0] != names[1]


@pytest.mark.parametrize('workers', [0, 2])
def test_the_loader_continues_from_any_step(folders, workers):
    one, other = stream(folders), stream(folders)
    batches = other.loader(5, workers)
    for step, batch in enumerate(islice(batches, 8), start=5):
        same(one.batch(step), batch)
    batches.close()
    assert other.bad
    if workers == 0:
        assert other.bad == one.bad
    else:
        # Workers run ahead, but only what was handed out is noted.
        assert {bad.name for bad in other.bad} == {bad.name for bad in one.bad}


def test_closing_the_loader_ends_its_processes(folders):
    before = set(multiprocessing.active_children())
    batches = stream(folders).loader(0, 2)
    next(batches)
    started = set(multiprocessing.active_children()) - before
    assert len(started) == 2
    batches.close()
    for process in started:
        process.join(30)
        assert process.exitcode == 0


def test_a_killed_worker_is_an_error_and_not_a_hang(folders):
    before = set(multiprocessing.active_children())
    batches = stream(folders).loader(0, 1)
    next(batches)
    (worker,) = set(multiprocessing.active_children()) - before
    worker.kill()
    with pytest.raises(DataError, match='processes that prepare training data died'):
        # What was ready before it died may still come.
        list(islice(batches, 20))


KILLED = """
import os, signal, sys
from multiprocessing import active_children
from pathlib import Path
from lotus2_ros.training.data.recording import Recording
from lotus2_ros.training.data.stream import TrainingStream

if __name__ == '__main__':
    stream = TrainingStream(
        [Recording(Path(sys.argv[1]))], [1], task='depth', sizes=[(48, 64)], batch_size=1, seed=0
    )
    batches = stream.loader(0, 2)
    next(batches)
    print(*(process.pid for process in active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def alive(pid: int) -> bool:
    """A zombie, which nobody waited for, has ended."""
    status = Path(f'/proc/{pid}/stat')
    return status.exists() and status.read_text().rpartition(')')[2].split()[0] != 'Z'


def test_workers_end_with_a_killed_parent(tmp_path):
    root = write_recording(tmp_path / 'a', 4)
    script = tmp_path / 'killed.py'
    script.write_text(KILLED)
    done = subprocess.run(
        [sys.executable, str(script), str(root)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
        env={**os.environ, 'PYTHONPATH': str(Path(__file__).resolve().parents[3])},
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    workers = [int(pid) for pid in done.stdout.split()]
    assert len(workers) == 2
    for _ in range(600):
        if not any(map(alive, workers)):
            return
        time.sleep(0.1)
    pytest.fail('workers outlived their parent')


def test_ranks_draw_different_samples_of_one_dataset(folders):
    ranks = [stream(folders, rank=rank, world_size=2) for rank in range(2)]
    for step in range(30):
        first, second = (one.batch(step) for one in ranks)
        assert first.image.shape == second.image.shape
        assert not set(first.names) & set(second.names)


def test_bad_samples_are_replaced_and_listed_once(folders):
    one = stream(folders[:1])
    names = [name for step in range(30) for name in one.batch(step).names]
    assert len({*names}) == 10
    assert not {'recording first/002.png', 'recording first/005.png'} & {*names}
    assert sorted(bad.name for bad in one.bad) == [
        'recording first/002.png',
        'recording first/005.png',
    ]
    assert {bad.reason for bad in one.bad} == {'empty depth'}


def test_a_bad_file_is_found_wherever_the_stream_starts(folders):
    early, late = stream(folders[:1]), stream(folders[:1])
    for step in range(6):
        early.batch(step)
    for step in range(100, 112):
        late.batch(step)
    assert set(early.bad) == set(late.bad)


def test_nothing_but_bad_samples_is_an_error(tmp_path):
    dataset = Recording(write_recording(tmp_path / 'all', 3, bad=(0, 1, 2)))
    with pytest.raises(DataError, match='none of the 3 samples of recording all'):
        stream([dataset]).batch(0)


def test_an_error_in_a_worker_arrives_as_itself(tmp_path):
    dataset = Recording(write_recording(tmp_path / 'all', 3, bad=(0, 1, 2)))
    with pytest.raises(DataError, match=r'^none of the 3 samples'):
        next(stream([dataset]).loader(0, 1))


def test_one_good_sample_is_enough(tmp_path):
    dataset = Recording(write_recording(tmp_path / 'most', 4, bad=(0, 1, 2)))
    batch = stream([dataset], batch_size=3).batch(0)
    assert set(batch.names) == {'recording most/003.png'}


def test_flips_mirror_image_target_and_mask_together(tmp_path):
    write_camera_json(tmp_path)
    columns = np.indices(SIZE)[1]
    grey = np.repeat((2 * columns)[..., None], 3, -1).astype(np.uint8)
    write_image(tmp_path / 'images' / 'a.png', grey)
    depth = 2000 + 10 * columns
    depth[:, :8] = 0
    write_raster(tmp_path / 'depth' / 'a.png', depth.astype(np.uint16))
    seen = set()
    for step in range(12):
        batch = stream([Recording(tmp_path)], batch_size=1).batch(step)
        plain = stream([Recording(tmp_path)], batch_size=1, flip=False).batch(step)
        flipped = bool(batch.image[0, 0, 0, 0] > batch.image[0, 0, 0, -1])
        seen.add(flipped)
        for part in ('image', 'target', 'mask'):
            value = getattr(batch, part)
            expected = getattr(plain, part)
            assert torch.equal(value.flip(-1) if flipped else value, expected), part
        assert not plain.mask[..., :8].any()
        assert plain.mask[..., 8:].all()
    assert seen == {True, False}


def test_flipped_normals_have_the_opposite_x(tmp_path):
    write_camera_json(tmp_path)
    write_image(tmp_path / 'images' / 'a.png', np.zeros((*SIZE, 3), np.uint8))
    (tmp_path / 'depth').mkdir()
    rays = (np.arange(SIZE[1]) - 31.5) / 50
    depth = np.broadcast_to(2 / (0.6 * rays + 0.8), SIZE).astype(np.float32)
    np.save(tmp_path / 'depth' / 'a.npy', depth)
    dataset = Recording(tmp_path, normals=True)
    means = set()
    for step in range(12):
        batch = stream([dataset], task='normals', batch_size=1).batch(step)
        known = batch.target[0].permute(1, 2, 0)[batch.mask[0, 0]]
        means.add(tuple(round(value, 2) + 0.0 for value in known.mean(0).tolist()))
    assert means == {(0.6, 0.0, 0.8), (-0.6, 0.0, 0.8)}


def test_files_of_virtual_kitti_become_batches(tmp_path):
    for number in range(2):
        write_vkitti_frame(tmp_path, number, vkitti_road())
    entry = {
        'kind': 'vkitti2',
        'root': str(tmp_path),
        'scenes': ['Scene02'],
        'variations': ['clone'],
    }
    for task in ('depth', 'normals'):
        data = open_datasets([entry], task=task)
        one = TrainingStream(
            data.datasets, data.weights, task=task, sizes=data.sizes, batch_size=2, seed=0
        )
        batch = one.batch(0)
        assert batch.image.shape == (2, 3, 352, 1216)
        assert len(set(batch.names)) == 2
        top, bottom = batch.target[:, :, 0], batch.target[:, :, -1]
        if task == 'depth':
            assert batch.mask.all()
            assert (top == -1).all()
            assert (bottom == 1).all()
        else:
            assert not batch.mask[:, :, 0].any()
            # Down, on the road, and in what is filled from it.
            assert (bottom[:, 1] > 0.99).all()


def test_a_late_step_reads_only_its_own_samples(folders):
    """A resumed run starts at once: nothing of the earlier steps is read again."""
    reads = []

    class Counted(Recording):
        def read(self, index):
            reads.append(index)
            return super().read(index)

    for dataset in folders:
        dataset.__class__ = Counted
    batch = stream(folders).batch(200_000)
    assert len(reads) <= 2 + 2
    same(batch, stream(folders).batch(200_000))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'task': 'colour'}, 'colour'),
        ({'sizes': [(48, 60), (32, 32)]}, 'multiples of 16'),
        ({'batch_size': 0}, 'batch_size'),
        ({'seed': -1}, 'seed'),
        ({'rank': 2, 'world_size': 2}, 'rank'),
    ],
)
def test_arguments_out_of_range_are_errors(folders, changes, message):
    with pytest.raises(DataError, match=message):
        stream(folders, **changes)


def test_weights_must_be_positive_and_as_many_as_datasets(folders):
    options = {'task': 'depth', 'batch_size': 1, 'seed': 0}
    with pytest.raises(DataError, match='not positive'):
        TrainingStream(folders, [1, 0], sizes=[SIZE, SIZE], **options)
    with pytest.raises(DataError, match='1 weights'):
        TrainingStream(folders, [1], sizes=[SIZE, SIZE], **options)
    with pytest.raises(DataError, match='0 datasets'):
        TrainingStream([], [], sizes=[], **options)
