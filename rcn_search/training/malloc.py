"""The C library's allocator, told that this process trains."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST = 2**31 - 1


def keep_freed_memory_in_process() -> None:
    """Keep the large buffers of a training step for the next one.

    glibc hands blocks of that size back to the system at every free, so each step of RCN-6 begins with some 11,000 page
    faults. Does nothing where the C library is another one.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST)
