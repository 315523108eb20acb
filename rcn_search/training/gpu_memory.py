"""A share of a GPU: a limit on what a process takes of its memory, so that it runs out of its own and of no other's."""

from __future__ import annotations

import gc

from rcn_search.errors import RcnSearchError

CONTEXT_BYTES = 600 * 2**20
"""What CUDA keeps for each process besides what torch takes: roughly, as it depends on GPU and driver."""
MIN_BYTES = 2**30
"""With less, no network of this package trains."""


def memory_fraction(gpus: float, total_bytes: int) -> float:
    """What torch may take of a GPU's memory in a process that has a share of it.

    Args:
        gpus: The share; with 1 or more, or with 0, there is nobody to be protected.
        total_bytes: Memory of the GPU.

    Raises:
        RcnSearchError: The share is too small to train in.
    """
    if not 0 < gpus < 1:
        return 1.0
    own_bytes = gpus * total_bytes - CONTEXT_BYTES
    if own_bytes < MIN_BYTES:
        least = (MIN_BYTES + CONTEXT_BYTES) / total_bytes
        raise RcnSearchError(
            f"{gpus:g} of a GPU with {total_bytes / 2**30:.1f} GiB is too little to train in; "
            f"give each trial at least budget.gpus_per_trial={least:.2f}"
        )
    return own_bytes / total_bytes


def limit_memory(gpus: float) -> None:
    """Keep this process to its share of the GPU that it sees; beyond it torch raises OutOfMemoryError here alone.

    Raises:
        RcnSearchError: See `memory_fraction`.
    """
    import torch

    if 0 < gpus < 1 and torch.cuda.is_available():
        total_bytes = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(memory_fraction(gpus, total_bytes), 0)


def release_memory() -> None:
    """Give back what a run held that is gone, so that the next one in this process begins with all of its share."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
