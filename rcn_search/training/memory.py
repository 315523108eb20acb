"""Memory of a training process: its share of a GPU, and how the C library allocates main memory."""

from __future__ import annotations

import ctypes
import gc
import sys

from rcn_search.errors import RcnSearchError

CONTEXT_BYTES = 600 * 2**20
"""Memory that CUDA needs for each process besides that of torch; approximate, depends on GPU and driver."""
MIN_BYTES = 2**30  # least memory with which a network of this package can be trained
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h
_LARGEST = 2**31 - 1


def memory_fraction(gpus: float, total_bytes: int) -> float:
    """Fraction of a GPU's memory that torch may use in a process that has a share of the GPU.

    A share of 1 or more, or of 0, means that no other process uses the GPU.

    Raises:
        RcnSearchError: The share is too small to train in.
    """
    if not 0 < gpus < 1:
        return 1.0
    share_bytes = gpus * total_bytes - CONTEXT_BYTES
    if share_bytes < MIN_BYTES:
        smallest = (MIN_BYTES + CONTEXT_BYTES) / total_bytes
        raise RcnSearchError(
            f"{gpus:g} of a GPU with {total_bytes / 2**30:.1f} GiB is too little to train in; "
            f"give each trial at least budget.gpus_per_trial={smallest:.2f}"
        )
    return share_bytes / total_bytes


def limit_memory(gpus: float) -> None:
    """Limit this process to its share of its GPU; beyond it, torch raises OutOfMemoryError in this process only."""
    import torch

    if 0 < gpus < 1 and torch.cuda.is_available():
        total_bytes = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(memory_fraction(gpus, total_bytes), 0)


def release_memory() -> None:
    """Release the GPU memory of a deleted run, so that the next one in this process has its whole share."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def keep_freed_memory_in_process() -> None:
    """Keep freed memory in this process, so that a training step can reuse the buffers of the step before.

    Otherwise glibc returns large blocks to the system, which costs a step of RCN-6 about 11,000 page faults.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST)
