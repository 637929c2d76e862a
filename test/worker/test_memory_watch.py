from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from lotus2_ros.worker.memory_watch import MemoryWatch, anonymous_bytes

MIB = 1 << 20


def test_growth_is_what_came_after_the_first_look() -> None:
    watch = MemoryWatch(10 * MIB)
    assert watch.exceeded(500 * MIB) == ''
    assert watch.exceeded(510 * MIB) == ''
    assert watch.exceeded(400 * MIB) == ''
    reason = watch.exceeded(511 * MIB)
    assert 'grew by 11 MiB to 511 MiB, and 10 MiB are allowed (max_worker_growth_mib)' in reason


def test_without_a_limit_nothing_is_too_much() -> None:
    watch = MemoryWatch(0)
    assert watch.exceeded(MIB) == ''
    assert watch.exceeded(MIB << 20) == ''


def test_memory_that_is_touched_counts_and_files_do_not() -> None:
    before = anonymous_bytes(os.getpid())
    block = np.ones(64 * MIB, np.uint8)
    after = anonymous_bytes(os.getpid())
    assert before is not None
    assert after is not None
    assert 60 * MIB < after - before < 70 * MIB, block.size


def test_a_process_that_has_ended_has_none() -> None:
    with subprocess.Popen([sys.executable, '-c', '']) as process:
        process.wait()
        assert anonymous_bytes(process.pid) is None
