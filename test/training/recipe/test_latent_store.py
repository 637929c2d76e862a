from __future__ import annotations

import pytest
import torch

from lotus2_ros.training.recipe.errors import TrainingError
from lotus2_ros.training.recipe.latent_store import LatentStore, store_folder


def latent(seed):
    return torch.randn(16, 2, 3, generator=torch.Generator().manual_seed(seed))


def test_what_is_put_is_found_again_in_this_process_and_the_next(tmp_path):
    store = LatentStore(tmp_path / 'store', 1)
    assert store.get('a') is None
    store.put('a', latent(1))
    assert torch.equal(store.get('a'), latent(1))
    assert LatentStore(tmp_path / 'store', 1).get('a') is None  # not written yet
    store.flush()
    assert torch.equal(store.get('a'), latent(1))
    assert torch.equal(LatentStore(tmp_path / 'store', 1).get('a'), latent(1))


def test_shards_fill_up_and_are_written_by_themselves(tmp_path):
    store = LatentStore(tmp_path, 1)
    for i in range(130):
        store.put(str(i), latent(i))
    assert len(list(tmp_path.glob('*.safetensors'))) == 2
    assert len(store) == 130
    assert torch.equal(LatentStore(tmp_path, 1).get('127'), latent(127))


def test_a_full_store_takes_no_more(tmp_path):
    one = latent(0).numel() * 4
    store = LatentStore(tmp_path, 2.5 * one / (1 << 30))
    for i in range(5):
        store.put(str(i), latent(i))
    assert len(store) == 2
    assert store.get('4') is None


def test_two_writers_share_a_folder(tmp_path):
    first, second = LatentStore(tmp_path, 1), LatentStore(tmp_path, 1)
    first.put('a', latent(1))
    second.put('b', latent(2))
    first.flush()
    second.flush()
    assert torch.equal(second.get('a'), latent(1))
    assert first.get('b') is None
    first.refresh()
    assert torch.equal(first.get('b'), latent(2))


def test_half_a_shard_is_none_and_a_damaged_one_is_named(tmp_path):
    store = LatentStore(tmp_path, 1)
    store.put('a', latent(1))
    store.flush()
    (shard,) = tmp_path.glob('*.safetensors')
    (tmp_path / 'other.partial').write_bytes(b'half')
    assert len(LatentStore(tmp_path, 1)) == 1
    shard.write_bytes(shard.read_bytes()[:30])
    with pytest.raises(TrainingError, match=f'{shard.name} is damaged'):
        LatentStore(tmp_path, 1)


def test_folders_differ_by_core_and_precision(tmp_path):
    folders = {
        store_folder(tmp_path, mark, dtype)
        for mark in ('a' * 64, 'b' * 64)
        for dtype in (torch.float32, torch.bfloat16)
    }
    assert len(folders) == 4
