"""Held-out scenes rendered by several processes, each the same as one process renders it."""

from __future__ import annotations

import functools
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from lotus2_ros.training.held_out import HeldOutScene, held_out_scenes


def rendered_together(
    count: int,
    *,
    height: int = 240,
    width: int = 320,
    photographs: Path | None = None,
    processes: int = 0,
) -> list[HeldOutScene]:
    """Render the first `count` evaluation scenes.

    Args:
        count: number of scenes.
        height: H.
        width: W.
        photographs: folder with the photographs, if not where the packages keep them.
        processes: that share the work; 0 is one for each processor core that may be used.
    """
    wanted = min(count, processes or len(os.sched_getaffinity(0)))
    if wanted <= 1:
        return list(held_out_scenes(count, height=height, width=width, photographs=photographs))
    share = functools.partial(_share, count, wanted, height, width, photographs)
    # Forking a process that has threads, as PyTorch's, may lock up.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(wanted, mp_context=context) as pool:
        parts = list(pool.map(share, range(wanted)))
    return [parts[index % wanted][index // wanted] for index in range(count)]


def _share(
    count: int, processes: int, height: int, width: int, photographs: Path | None, own: int
) -> list[HeldOutScene]:
    """Every `processes`-th scene from `own` on."""
    torch.set_num_threads(1)
    chosen = range(own, count, processes)
    return list(
        held_out_scenes(count, height=height, width=width, photographs=photographs, chosen=chosen)
    )
