"""Short runs of the recipe: what tests in this folder share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from lotus2_ros.training.data.sample import Batch

DATA = '[{kind: synthetic, size: [32, 48], count: 8}]'
SETTINGS = (
    *('device=cpu', 'workers=0', 'adapter.rank=4', 'batch.total=4', 'batch.per_device=2'),
    *('steps=12', 'optimiser.lr=3e-3', 'pictures.every=0', 'checkpoints.every=3', f'data={DATA}'),
)

KEPT = ('step', 'loss', 'norm', 'lr')


def random_batch(count: int = 2, *, seed: int = 0, height: int = 32, width: int = 48) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    return Batch(
        image=torch.rand(count, 3, height, width, generator=draw) * 2 - 1,
        target=torch.rand(count, 3, height, width, generator=draw) * 2 - 1,
        mask=torch.ones(count, 1, height, width, dtype=torch.bool),
        names=tuple(f'random {seed}/{i}' for i in range(count)),
    )


def curve(folder: Path) -> list[dict[str, float]]:
    """The training rows of a run's log, without what depends on the clock."""
    rows = [json.loads(line) for line in (folder / 'log.jsonl').read_text().splitlines()]
    return [{key: row[key] for key in KEPT} for row in rows if 'loss' in row]


def command(*arguments: str) -> list[str]:
    return [sys.executable, '-m', 'lotus2_ros.tools.cli', 'train', *arguments]


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """A training in a process of its own."""
    return subprocess.Popen(
        command(*arguments),
        env={**os.environ, 'OMP_NUM_THREADS': '1', **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a group of its own, as a terminal makes one
        cwd=Path(__file__).resolve().parents[3],
    )


def changes(*values: str) -> list[str]:
    return [part for value in values for part in ('--set', value)]


def as_numbers(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    return {key: value.numpy().tobytes() for key, value in state.items()}


def part_of_batch(part: int, parts: int) -> Batch:
    """A part of eight samples, sparse ones among them."""
    whole = random_batch(8)
    whole.mask[3, :, :20] = False
    whole.mask[6, ..., 7:] = False
    size = 8 // parts
    chosen = slice(part * size, (part + 1) * size)
    return Batch(
        image=whole.image[chosen],
        target=whole.target[chosen],
        mask=whole.mask[chosen],
        names=whole.names[chosen],
    )
