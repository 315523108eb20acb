"""Several processes that train one run: what they share, and what each of them does.

Each worker trains on its part of every batch, on weights that are the same everywhere: the sum of the workers'
gradients, each weighted by its share of the batch, is the gradient of the whole batch. By `torch.distributed` alone,
whoever started the processes and joined them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]  # public, but not in its __all__
from torch.nn.parallel import DistributedDataParallel

from rcn_search.training.loss import WHOLE, Share, weight_sum

BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
"""By type of device. Flags and counts are on the CPU always, so that no step waits for a GPU because of them."""
PATIENCE = timedelta(minutes=30)
"""With a worker that is alive and silent: the first of a node may have to fetch the data set. A dead one is noticed at
once, where its connections end with it."""
MEET_WITHIN = timedelta(minutes=2)
"""Workers that are all running: what keeps them apart then is the network, and it will not get better."""


@dataclass(frozen=True)
class Workers:
    """The processes of a run, as one of them sees them. By default there is only this one.

    Attributes:
        rank: This worker, from 0. The first one writes the files.
        size: All workers.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the worker that writes and reports."""
        return self.rank == 0

    def replicated(self, network: nn.Module, *, some_unused: bool) -> nn.Module:
        """The network, to be called in its place in training: backward passes then give the gradient of all workers.

        Waits for the other workers, and gives all of them the weights of the first.

        Args:
            network: The same on each worker, on its device.
            some_unused: Whether a parameter may have no part in a loss.
        """
        if self.size == 1:
            return network
        return DistributedDataParallel(network, find_unused_parameters=some_unused)

    def backward(self, loss: Tensor) -> None:
        """Gradients of the sum of the workers' losses, whose mean is what `DistributedDataParallel` computes."""
        (loss * self.size if self.size > 1 else loss).backward()

    def share(self, num_images: int, batch_size: int, weight_bk: Tensor | None) -> Share:
        """Of this worker in the loss of a batch.

        Args:
            num_images: Of this worker; 0 for one that has none, and trains on an image that does not count.
            batch_size: Of all workers.
            weight_bk: Of this worker's points.
        """
        if self.size == 1:
            return WHOLE
        images = num_images / batch_size
        if weight_bk is None:
            return Share(images, images)
        own = weight_sum(weight_bk)
        counted = weight_bk.sum() * bool(num_images)
        return Share(own * bool(num_images) / weight_sum(self.total(counted)), images)

    def total(self, value: Tensor) -> Tensor:
        """Sum over the workers, the same for each of them."""
        if self.size == 1:
            return value
        summed = value.clone()
        dist.all_reduce(summed)
        return summed

    def any(self, flag: bool) -> bool:
        """Whether one of them says so."""
        if self.size == 1:
            return flag
        number = torch.tensor(flag, dtype=torch.uint8)
        dist.all_reduce(number, dist.ReduceOp.MAX)
        return bool(number)

    def agreed(self, text: str) -> str:
        """What the first worker says."""
        if self.size == 1:
            return text
        said = [text]
        dist.broadcast_object_list(said)
        return said[0]


ALONE = Workers()


def new_store(host: str) -> TCPStore:
    """Where workers meet: of the first of them, at a free port of ``host``, its own address."""
    return TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=PATIENCE)


def store_at(host: str, port: int) -> TCPStore:
    """The same for the other workers."""
    return TCPStore(host, port, is_master=False, timeout=PATIENCE)


def join(store: Store, rank: int, size: int, device: str) -> Workers:
    """Meet the others, which are running already. They stay together until `leave`, and train run after run.

    Args:
        store: Where.
        rank: This worker.
        size: All workers.
        device: Type of what they train on: ``cpu`` or ``cuda``.

    Raises:
        RuntimeError: One of them did not come.
    """
    store.set(f"here/{rank}", "")
    store.wait([f"here/{each}" for each in range(size)], MEET_WITHIN)
    dist.init_process_group(BACKENDS[device], store=store, rank=rank, world_size=size, timeout=PATIENCE)
    return Workers(rank, size)


def leave() -> None:
    """Part from the others."""
    dist.destroy_process_group()
