from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lotus2_ros.worker import host_memory
from lotus2_ros.worker.host_memory import anonymous_bytes, available_bytes
from lotus2_ros.worker.memory_watch import MemoryWatch

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


_TOUCHES = """
import mmap, os, sys
from lotus2_ros.worker.host_memory import anonymous_bytes

size = 64 << 20
with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
    print(anonymous_bytes(os.getpid()))
    for start in range(0, size, mmap.PAGESIZE):
        block[start] = 1
    print(anonymous_bytes(os.getpid()))
with open(sys.argv[1], 'rb') as file:
    with mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as mapped:
        assert mapped.find(b'1') < 0
        print(anonymous_bytes(os.getpid()))
"""


def test_memory_that_is_touched_counts_and_files_do_not(tmp_path: Path) -> None:
    # In a process of its own: other threads of this one take and give back memory meanwhile.
    (tmp_path / 'file').write_bytes(bytes(64 * MIB))
    command = [sys.executable, '-c', _TOUCHES, str(tmp_path / 'file')]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    before, after, with_file = (int(line) for line in shown.split())
    assert 60 * MIB < after - before < 70 * MIB
    assert with_file - before < 4 * MIB


def test_a_process_that_has_ended_has_none() -> None:
    with subprocess.Popen([sys.executable, '-c', '']) as process:
        process.wait()
        assert anonymous_bytes(process.pid) is None


def test_a_container_has_what_its_limit_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_memory, '_CGROUP', tmp_path)
    of_the_host = available_bytes()
    for limit, left in (('max', of_the_host), (f'{90 * MIB}', 50 * MIB), (f'{10 * MIB}', 0)):
        (tmp_path / 'memory.max').write_text(f'{limit}\n')
        (tmp_path / 'memory.current').write_text(f'{60 * MIB}\n')
        (tmp_path / 'memory.stat').write_text(f'anon {40 * MIB}\ninactive_file {20 * MIB}\n')
        assert available_bytes() == pytest.approx(left, rel=0.2)
