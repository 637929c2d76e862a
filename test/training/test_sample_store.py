"""Samples kept for several steps."""

from __future__ import annotations

import torch

from lotus2_ros.training.sample_store import EncodedBatch, SampleFeed, SampleStore
from lotus2_ros.types import DEPTH, NORMALS, TASKS


def batch(values: list[float]) -> EncodedBatch:
    rows = torch.tensor(values, dtype=torch.float32)[:, None, None, None]
    return EncodedBatch(
        rows.expand(-1, 16, 4, 4),
        {task: rows.expand(-1, 16, 4, 4) for task in TASKS},
        {DEPTH: rows.expand(-1, 1, 32, 32), NORMALS: rows.expand(-1, 3, 32, 32)},
        rows.flatten()[:, None].expand(-1, 2),
    )


def contents(store: SampleStore) -> list[float]:
    taken = store.take(torch.arange(store.filled))
    for value in (*taken.wanted.values(), *taken.maps.values()):
        assert torch.equal(value[:, 0, 0, 0], taken.image[:, 0, 0, 0])
    return taken.bounds[:, 0].tolist()


def test_the_newest_samples_take_the_place_of_the_oldest():
    store = SampleStore(5, 32, 32, torch.device('cpu'))
    store.add(batch([0, 1]))
    assert contents(store) == [0, 1]
    store.add(batch([2, 3]))
    store.add(batch([4, 5]))
    assert contents(store) == [5, 1, 2, 3, 4]
    assert store.take(torch.tensor([4, 0])).image[:, 0, 0, 0].tolist() == [4, 5]


def test_each_sample_serves_as_often_as_asked():
    rendered = []

    def refill(index: int) -> EncodedBatch:
        rendered.append(index)
        return batch([len(rendered)] * 4)

    stores = [SampleStore(64, 32, 32, torch.device('cpu')) for _ in range(2)]
    feed = SampleFeed(stores, refill, batch=4, reuse=2.5, first=8)
    generator = torch.Generator().manual_seed(0)

    def draw(high: int, count: int) -> torch.Tensor:
        return torch.randint(high, (count,), generator=generator)

    for _ in range(50):
        rows = feed.rows(1, draw)
        assert rows.shape == (4,)
        assert rows.max() < stores[1].filled
    # Two batches to begin with, then one every two and a half steps.
    assert rendered == [1] * (2 + 19)
    assert stores[0].filled == 0
