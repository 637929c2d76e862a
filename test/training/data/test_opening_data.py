from __future__ import annotations

import pytest
from data_files import (
    SCENE,
    STANDARD_CAMERA,
    vkitti_road,
    wall,
    write_hypersim_frame,
    write_split,
    write_vkitti_frame,
)

from lotus2_ros.training.data import open_datasets
from lotus2_ros.training.data.errors import DataError

SYNTHETIC = {'kind': 'synthetic', 'count': 10}


@pytest.fixture
def roots(tmp_path):
    hypersim, vkitti = tmp_path / 'hypersim', tmp_path / 'vkitti'
    write_split(hypersim, [(SCENE, 'cam_00', 0, 'True', 'train')])
    normal = STANDARD_CAMERA[:, 2]
    write_hypersim_frame(
        hypersim, 0, wall(STANDARD_CAMERA, normal, 2.0), STANDARD_CAMERA[None, :1].repeat(9, 0)
    )
    for scene in ('Scene02', 'Scene06', 'Scene18', 'Scene20'):
        for variation in (
            *('15-deg-left', '15-deg-right', 'clone', 'morning', 'overcast', 'sunset'),
        ):
            write_vkitti_frame(vkitti, 0, vkitti_road(), scene=scene, variation=variation)
    return {'hypersim': str(hypersim), 'vkitti2': str(vkitti)}


def test_the_papers_mixture_opens_with_its_sizes_and_weights(roots):
    entries = [
        {'kind': 'hypersim', 'root': roots['hypersim'], 'weight': 0.9},
        {'kind': 'vkitti2', 'root': roots['vkitti2'], 'weight': 0.1},
        {**SYNTHETIC, 'size': [48, 64]},
    ]
    data = open_datasets(entries, task='depth')
    assert data.sizes == ((576, 768), (352, 1216), (48, 64))
    assert data.weights == (0.9, 0.1, 1.0)
    assert [len(dataset) for dataset in data.datasets] == [1, 24, 10]


def test_normals_are_read_for_the_normals_task_only(roots):
    entries = [
        {
            'kind': 'vkitti2',
            'root': roots['vkitti2'],
            'scenes': ['Scene02'],
            'variations': ['clone'],
        }
    ]
    assert open_datasets(entries, task='depth').datasets[0].read(0).normals is None
    assert open_datasets(entries, task='normals').datasets[0].read(0).normals is not None


@pytest.mark.parametrize(
    ('entry', 'message'),
    [
        ({'kind': 'nyu'}, r"kind is 'nyu'.*hypersim, vkitti2, recording, synthetic"),
        ({}, 'kind is None'),
        ('hypersim', 'must be a mapping'),
        ({'kind': 'synthetic'}, r'count is missing'),
        ({**SYNTHETIC, 'count': -1}, r'count is -1: must be a whole number'),
        ({**SYNTHETIC, 'count': True}, 'count is True'),
        ({**SYNTHETIC, 'count': 0}, '0 synthetic scenes'),
        ({**SYNTHETIC, 'size': [240, 321]}, r'size is .*: both sides must be multiples of 16'),
        ({**SYNTHETIC, 'size': 240}, r'must be \[height, width\]'),
        ({**SYNTHETIC, 'weight': 0}, r'weight is 0: must be a number above 0'),
        ({**SYNTHETIC, 'weigth': 1}, r'weigth: synthetic has no such key; it has kind, weight'),
        ({**SYNTHETIC, 'seed': 989_992}, 'include 990001'),
        ({'kind': 'hypersim', 'root': '/no/such/folder'}, 'root is .*: there is no such folder'),
        ({'kind': 'hypersim'}, 'root is missing'),
    ],
)
def test_what_is_wrong_is_named_by_file_entry_and_key(entry, message):
    entries = [SYNTHETIC, entry]
    with pytest.raises(DataError, match=rf'train\.yaml: data\[1\].*{message}'):
        open_datasets(entries, task='depth', file='train.yaml')


def test_what_a_dataset_finds_wrong_is_named_too(tmp_path):
    with pytest.raises(DataError, match=r'train\.yaml: data\[0\]: .*csv is missing'):
        open_datasets(
            [{'kind': 'hypersim', 'root': str(tmp_path)}], task='depth', file='train.yaml'
        )
    with pytest.raises(DataError, match='no split'):
        open_datasets([{'kind': 'hypersim', 'root': str(tmp_path), 'split': 'all'}], task='depth')


@pytest.mark.parametrize('entries', [[], {}, None, 'hypersim', {'kind': 'synthetic'}])
def test_data_must_be_a_list_with_something_in_it(entries):
    with pytest.raises(DataError, match='must be a list of at least one'):
        open_datasets(entries, task='depth')


@pytest.mark.parametrize('seed', [989_991, 990_002])
def test_seeds_beside_those_of_the_evaluation_are_free(seed):
    assert len(open_datasets([{**SYNTHETIC, 'seed': seed}], task='depth').datasets[0]) == 10


def test_an_unknown_task_is_an_error():
    with pytest.raises(DataError, match='colour'):
        open_datasets([SYNTHETIC], task='colour')
