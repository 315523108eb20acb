"""Predict with an exported network, wherever a `Predictor` is taken."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rcn_search.data.augment import to_channels
from rcn_search.errors import RcnSearchError
from rcn_search.inference.config import InferenceConfig
from rcn_search.inference.crop_network import CropPoints
from rcn_search.inference.export.runtimes import Session, open_session, read_exported
from rcn_search.inference.latency import NUM_RUNS, NUM_WARM_UP_RUNS
from rcn_search.inference.predictor import Predictor

_NUM_BATCH_RUNS = 5  # of batches of several faces, which take longer and vary less


class ExportedPredictor(Predictor):
    """A predictor whose network, normalization and decoding are an exported graph on the CPU."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.runtime = session.name
        self.info = session.info.checkpoint
        self.inference = InferenceConfig.from_record(session.info.inference, device="cpu")
        self.record = {**session.info.inference, "runtime": session.name}
        self._detectors = {}

    @property
    def num_params(self) -> int:
        """Number of trained parameters."""
        return self.session.info.num_params

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds for one face."""
        return self.session.info.multiply_adds

    def latency_ms(self) -> float:
        """Measure the median time of one face in the graph, normalization and decoding included."""
        return session_latency_ms(self.session, batch_size=1)

    def predict_crops(self, crop_b: Tensor, face_box_b4: Tensor) -> CropPoints:
        """Predict the keypoints of a batch of crops."""
        color, side = self.info.config.input.color, self.info.crop_px
        crops = crop_b.cpu() if color else to_channels(crop_b.cpu(), color=False)[:, 0]
        expected = (side, side, 3) if color else (side, side)
        if tuple(crops.shape[1:]) != expected:
            raise RcnSearchError(f"the exported network takes crops of shape {expected}, not {tuple(crops.shape[1:])}")
        outputs = self.session.run(np.ascontiguousarray(crops.numpy()), face_box_b4.cpu().numpy().astype(np.float32))
        return CropPoints(
            torch.from_numpy(outputs.points_bk2),
            torch.from_numpy(outputs.cells_bk2),
            torch.from_numpy(outputs.confidence_bk),
        )


def load_exported(uri: str, inference: InferenceConfig) -> ExportedPredictor:
    """Open a file that ``rcn-search export`` wrote.

    Raises:
        RcnSearchError: The file is missing, damaged or not exported by rcn-search; or ``inference`` asks for another
            device than the CPU, or for another decoder, augmentation or denoiser than is in the graph.
    """
    predictor = ExportedPredictor(open_session(read_exported(uri)))
    if inference.device not in ("auto", "cpu"):
        raise RcnSearchError(f"{uri} runs on the CPU, not on {inference.device!r}")
    wanted: dict[str, Any] = {"decoder": inference.decoder, "tta": inference.tta}
    for name, value in wanted.items():
        fixed = getattr(predictor.inference, name)
        if value and value != fixed:
            raise RcnSearchError(f"the {name} of {uri} is {fixed or 'none'}, and part of the file: export another one")
    if inference.denoiser_uri:
        raise RcnSearchError(f"no denoiser can be added to {uri}, only to a checkpoint")
    return predictor


def session_latency_ms(session: Session, *, batch_size: int) -> float:
    """Measure the median time of a batch."""
    side = session.info.checkpoint.crop_px
    channels = (3,) if session.info.checkpoint.config.input.color else ()
    crops = np.zeros((batch_size, side, side, *channels), np.uint8)
    face_boxes = np.tile(np.array([0, 0, side, side], np.float32), (batch_size, 1))
    num_warm_up, num_runs = (NUM_WARM_UP_RUNS, NUM_RUNS) if batch_size == 1 else (1, _NUM_BATCH_RUNS)
    times_s = []
    for _ in range(num_warm_up + num_runs):
        started = time.perf_counter()
        session.run(crops, face_boxes)
        times_s.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times_s[num_warm_up:])
