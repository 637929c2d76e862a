"""What the kernel says about the host's memory: what is left, and what a process has to itself."""

from __future__ import annotations

from pathlib import Path

from lotus2_ros.errors import WorkerError

_CGROUP = Path('/sys/fs/cgroup')


def available_bytes() -> int:
    """Memory that can be had without swapping: the host's, or what a container's limit leaves.

    `MemAvailable` of proc_meminfo(5); `memory.max` and `memory.current` of this process's control
    group, version 2, where it has a limit. Asked for more, the kernel would kill processes.

    Raises:
        WorkerError: the kernel does not say.
    """
    for line in Path('/proc/meminfo').read_text().splitlines():
        if line.startswith('MemAvailable:'):
            return int(min(int(line.split()[1]) * 1024, _left_in_group(_CGROUP)))
    raise WorkerError('/proc/meminfo does not say how much memory is available')


def _left_in_group(root: Path) -> float:
    """Bytes; without end where there is no limit. In a container the root is its own group."""
    try:
        limit = (root / 'memory.max').read_text().strip()
        used = int((root / 'memory.current').read_text())
        # Cached files count as used, but are given back when they must be.
        stat = dict(line.split() for line in (root / 'memory.stat').read_text().splitlines())
    except FileNotFoundError:
        return float('inf')
    if limit == 'max':
        return float('inf')
    return max(0, int(limit) - used + int(stat.get('inactive_file', 0)))


def anonymous_bytes(pid: int) -> int | None:
    """Memory that a process has to itself: neither files nor shared memory; None once it is gone.

    `RssAnon` of proc_pid_status(5).
    """
    try:
        status = Path(f'/proc/{pid}/status').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    for line in status.splitlines():
        if line.startswith('RssAnon:'):
            return int(line.split()[1]) * 1024
    return None  # a zombie has none
