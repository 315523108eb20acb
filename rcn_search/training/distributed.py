"""Data-parallel training: one run that several processes train together, by `torch.distributed`.

Each worker trains on its part of every batch, and all of them have the same weights: the sum of the workers' gradients,
each weighted by its share of the batch, is the gradient of the whole batch.

Shape letters: b images, k points.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]  # public, but not in its __all__
from torch.nn.parallel import DistributedDataParallel

from rcn_search.training.loss import FULL_SHARE, LossShare, weight_sum

BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
"""Backend for each type of device. Flags and counts always stay on the CPU, so that no step waits for a GPU."""
COLLECTIVE_TIMEOUT = timedelta(minutes=30)
"""Longest wait for a worker that is alive: the first one of a node may have to fetch the data set. The death of a
worker is noticed at once, because it closes the connections."""
RENDEZVOUS_TIMEOUT = timedelta(minutes=2)
"""Longest wait for workers that are all running to connect; a network that fails longer will not recover."""


@dataclass(frozen=True)
class DistributedContext:
    """The processes of a run, as seen by one of them; by default there is only one."""

    rank: int = 0  # rank of this worker, from 0. Worker 0 writes the files.
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this worker writes files and reports."""
        return self.rank == 0

    def wrap_network(self, network: nn.Module, *, some_unused: bool) -> nn.Module:
        """Wrap a network for training, so that backward passes give the gradient of all workers.

        Waits for the other workers, and gives all of them the weights of worker 0. ``some_unused`` allows losses that
        do not depend on all parameters.
        """
        return network if self.world_size == 1 else DistributedDataParallel(network, find_unused_parameters=some_unused)

    def backward(self, loss: Tensor) -> None:
        """Compute the gradient of the sum of the workers' losses; `DistributedDataParallel` gives that of the mean."""
        (loss * self.world_size if self.world_size > 1 else loss).backward()

    def loss_share(self, num_images: int, batch_size: int, weight_bk: Tensor | None) -> LossShare:
        """Compute the weight of this worker's images in the loss of the whole batch.

        ``num_images`` counts those of this worker (0 if its only one has no weight), ``batch_size`` those of all.
        """
        if self.world_size == 1:
            return FULL_SHARE
        images, has_images = num_images / batch_size, bool(num_images)
        if weight_bk is None:
            return LossShare(images, images)
        batch_weight = weight_sum(self.all_reduce_sum(weight_bk.sum() * has_images))
        return LossShare(weight_sum(weight_bk) * has_images / batch_weight, images)

    def all_reduce_sum(self, value: Tensor) -> Tensor:
        """Sum a tensor over the workers; each of them gets the result."""
        if self.world_size == 1:
            return value
        summed = value.clone()
        dist.all_reduce(summed)
        return summed

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag of at least one worker is true."""
        if self.world_size == 1:
            return flag
        number = torch.tensor(flag, dtype=torch.uint8)
        dist.all_reduce(number, dist.ReduceOp.MAX)
        return bool(number)

    def broadcast_text(self, text: str) -> str:
        """Return the text of worker 0, whatever that of this worker is."""
        if self.world_size == 1:
            return text
        texts = [text]
        dist.broadcast_object_list(texts)
        return texts[0]


SINGLE_PROCESS = DistributedContext()


def create_store(host: str) -> TCPStore:
    """Create, in worker 0, the store through which workers connect, at a free port of ``host``, its own address."""
    return TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=COLLECTIVE_TIMEOUT)


def connect_store(host: str, port: int) -> TCPStore:
    """Connect another worker to the store of worker 0."""
    return TCPStore(host, port, is_master=False, timeout=COLLECTIVE_TIMEOUT)


def join_group(store: Store, rank: int, world_size: int, device: str) -> DistributedContext:
    """Join the group of all workers (device ``cpu`` or ``cuda``), which train run after run until `leave_group`."""
    store.set(f"ready/{rank}", "")
    store.wait([f"ready/{other}" for other in range(world_size)], RENDEZVOUS_TIMEOUT)
    dist.init_process_group(BACKENDS[device], store=store, rank=rank, world_size=world_size, timeout=COLLECTIVE_TIMEOUT)
    return DistributedContext(rank, world_size)


def leave_group() -> None:
    """Leave the process group."""
    dist.destroy_process_group()
