"""Measure the time that a network takes for one face."""

from __future__ import annotations

import statistics
import time

import torch

from rcn_search.config.schema import InputConfig
from rcn_search.models.blocks import Network

NUM_RUNS = 25
NUM_WARM_UP_RUNS = 5


@torch.inference_mode()
def latency_ms(network: Network, options: InputConfig, device: str, layout: torch.memory_format) -> float:
    """Measure the median time of `NUM_RUNS` forward passes of one face; the network is on ``device`` in ``layout``."""
    was_training = network.training
    network.eval()
    face = torch.zeros(1, options.channels, options.size_px, options.size_px, device=device)
    face = face.contiguous(memory_format=layout)
    times_s: list[float] = []
    for _ in range(NUM_WARM_UP_RUNS + NUM_RUNS):
        started = time.perf_counter()
        network(face)
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        times_s.append(time.perf_counter() - started)
    network.train(was_training)
    return 1e3 * statistics.median(times_s[NUM_WARM_UP_RUNS:])
