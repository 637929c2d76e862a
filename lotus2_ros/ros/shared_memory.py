"""Is there room in /dev/shm for the messages between processes? The worker's images do not use it.

Fast DDS gives each process a segment there. Where that fails it says that shared memory is "not
supported in the current platform", and goes on over UDP: slower, and large images may get lost.
"""

from __future__ import annotations

import os
from pathlib import Path

from lotus2_ros.ros.transports import PROFILE_BYTES, uses_profiles

FOLDER = Path('/dev/shm')  # noqa: S108 (where POSIX shared memory is on Linux)

NEEDED_BYTES = 1 << 20
"""Half of it for one more process's segment (Fast DDS' default size), the rest for its ports.

With our profiles that segment is larger, see `needed_bytes`.
"""

_PREFIXES = ('fastdds_', 'fastrtps_', 'sem.fastdds_', 'sem.fastrtps_')


def needed_bytes() -> int:
    """Room for one more process of this environment."""
    return NEEDED_BYTES + (PROFILE_BYTES if uses_profiles(os.environ) else 0)


def shared_memory_problem(middleware: str, folder: Path = FOLDER) -> tuple[str, str]:
    """What keeps processes on this machine from exchanging messages by shared memory.

    Args:
        middleware: the RMW implementation; only those of Fast DDS use the folder.
        folder: where shared memory is mounted.

    Returns:
        The problem and its remedy; both empty if there is none.
    """
    if 'fastrtps' not in middleware or 'UDP' in os.environ.get('FASTDDS_BUILTIN_TRANSPORTS', ''):
        return '', ''
    slow = 'messages go over UDP, which is slower and may lose large images'
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return f'{folder} cannot be used: {slow}', f'mount a tmpfs on {folder}, mode 1777'
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    needed = needed_bytes()
    if free < needed:
        return (
            f'{folder} has {free >> 10} KiB left, {needed >> 10} KiB are needed: {slow}',
            'enlarge it (docker run --shm-size=512m; mount -o remount,size=512m /dev/shm), or'
            ' remove what processes that were killed left there (fastdds shm clean)',
        )
    foreign = [path.name for path in folder.iterdir() if _is_foreign(path)]
    if foreign:
        return (
            f'{folder} has {len(foreign)} files of Fast DDS that belong to another user (such as'
            f' {min(foreign)}): messages to and from processes of that user get lost',
            'run all nodes as one user, or set FASTDDS_BUILTIN_TRANSPORTS=UDPv4 for all of them',
        )
    return '', ''


def _is_foreign(path: Path) -> bool:
    # A file that has gone meanwhile is no problem.
    return (
        path.name.startswith(_PREFIXES)
        and not os.access(path, os.R_OK | os.W_OK)
        and os.access(path, os.F_OK)
    )
