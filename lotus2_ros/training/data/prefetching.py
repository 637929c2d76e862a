"""Batches prepared ahead by processes, handed out in order.

torch's DataLoader is not used: when one of its processes dies, it raises from a signal handler,
wherever the training process happens to be. And it hands over tensors in /dev/shm, of which a
container has 64 MB unless told otherwise. Here the arrays come through pipes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import count
from multiprocessing.synchronize import Event
from typing import Any

import cv2
import torch

from lotus2_ros.training.data.errors import DataError

_AHEAD = 2
"""Results that each process has in the making or ready."""

_prepare: Callable[[int], Any]
"""In a worker: what makes the result of a step."""

_stopping: Event
"""In a worker: set when no more results are wanted."""


def prefetched(
    prepare: Callable[[int], Any], first_step: int, workers: int
) -> Generator[Any, None, None]:
    """Endless results of `prepare` for first_step, first_step + 1, ..., made by processes.

    Close the generator, or drop it, to end the processes, which waits for what they are at. They
    also end when this one is killed.

    Args:
        prepare: picklable, and its results too; they should hold no tensors.
        first_step: where to start.
        workers: processes, at least one.

    Raises:
        DataError: a process died. What `prepare` raises is raised here as it is.
    """
    # Forked processes would share CUDA and the threads' locks with this one.
    context = multiprocessing.get_context('spawn')
    stopping = context.Event()
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start, initargs=(prepare, stopping)
    )
    steps = count(first_step)
    pending: deque[Future[Any]] = deque()
    try:
        while True:
            while len(pending) < workers * _AHEAD:
                pending.append(pool.submit(_run, next(steps)))
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        msg = (
            f'one of {workers} processes that prepare training data died; did the machine run out '
            'of memory? Fewer workers need less'
        )
        raise DataError(msg) from error
    finally:
        stopping.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _start(prepare: Callable[[int], Any], stopping: Event) -> None:
    """Make a process ready: one thread, as there is a process for each core."""
    global _prepare, _stopping
    _prepare, _stopping = prepare, stopping
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # Ctrl-C reaches the whole group; the parent ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed closes nothing; its workers would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(step: int) -> Any:
    # What waits in the pool's queue cannot be cancelled any more.
    return None if _stopping.is_set() else _prepare(step)
