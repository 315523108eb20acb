"""Measure a network in PyTorch and as an exported file, for several numbers of threads and faces."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rcn_search.inference.export.exported_predictor import session_latency_ms
from rcn_search.inference.export.runtimes import ExportedFile, Outputs, Session, open_session
from rcn_search.inference.predictor import Predictor
from rcn_search.machine import num_cpus

BATCH_SIZES = (1, 64)


class Latency(NamedTuple):
    """Median time of a batch, from crops to points."""

    runtime: str
    num_threads: int
    batch_size: int
    time_ms: float


class TorchSession:
    """PyTorch, from the same inputs."""

    name = "PyTorch"

    def __init__(self, predictor: Predictor, like: Session) -> None:
        self._predictor, self.info = predictor, like.info

    def run(self, crop_b: NDArray[np.uint8], face_box_b4: NDArray[np.float32]) -> Outputs:
        """Predict a batch."""
        points = self._predictor.predict_crops(torch.from_numpy(crop_b), torch.from_numpy(face_box_b4))
        return Outputs(points.points_bk2.numpy(), points.confidence_bk.numpy(), points.cells_bk2.numpy())


def measure_latencies(predictor: Predictor, content: ExportedFile) -> list[Latency]:
    """Measure both with one thread and with one for each core, batches of 1 and of 64 faces."""
    measured = []
    before = torch.get_num_threads()
    try:
        for num_threads in sorted({1, num_cpus()}):
            exported = open_session(content, num_threads)
            torch.set_num_threads(num_threads)
            for session in (TorchSession(predictor, exported), exported):
                for batch_size in BATCH_SIZES:
                    time_ms = session_latency_ms(session, batch_size=batch_size)
                    measured.append(Latency(session.name, num_threads, batch_size, time_ms))
    finally:
        torch.set_num_threads(before)
    return measured
