"""What malloc does with memory that was freed."""

from __future__ import annotations

import ctypes
import sys

# glibc's malloc.h, and the largest threshold it accepts on 64 bits.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 << 20
_TRIM_THRESHOLD = 1 << 30


def keep_freed_memory() -> None:
    """Let malloc keep the memory of large arrays from frame to frame, for the whole process.

    By default glibc hands every large block back to the kernel, and taking it again costs a page
    fault for each 4 KiB: a quarter of nano's time on a CPU, and more than a third of the time that
    the node's messages take. Where the C library is another one this does nothing.
    """
    if sys.platform != 'linux':
        return
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)
