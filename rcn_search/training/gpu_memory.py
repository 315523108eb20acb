"""Limit the GPU memory of a process that has a share of a GPU, so that it cannot take the memory of others."""

from __future__ import annotations

import gc

from rcn_search.errors import RcnSearchError

CONTEXT_BYTES = 600 * 2**20
"""Memory that CUDA needs for each process besides that of torch; approximate, depends on GPU and driver."""
MIN_BYTES = 2**30
"""Least memory with which a network of this package can be trained."""


def memory_fraction(gpus: float, total_bytes: int) -> float:
    """Fraction of a GPU's memory that torch may use in a process that has a share of the GPU.

    Args:
        gpus: Share of the GPU; 1 or more, or 0, means that no other process uses it.
        total_bytes: Memory of the GPU.

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
    """Limit this process to its share of its GPU; beyond it, torch raises OutOfMemoryError in this process only.

    Raises:
        RcnSearchError: See `memory_fraction`.
    """
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
