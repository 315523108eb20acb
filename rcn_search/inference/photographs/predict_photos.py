"""Predict many photographs, in this process or in several, and keep a journal of them."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rcn_search.config.schema import canonical_hash
from rcn_search.errors import RcnSearchError
from rcn_search.inference.config import InferenceConfig
from rcn_search.inference.detectors import AUTO, NO_DETECTOR, make_detector
from rcn_search.inference.detectors.detector import Detector
from rcn_search.inference.detectors.find_faces import MIN_FACE_PX
from rcn_search.inference.photographs.boxes import BoxTuple
from rcn_search.inference.photographs.drawing import save_drawing
from rcn_search.inference.photographs.listing import Photo
from rcn_search.inference.photographs.record import PhotoRecord, Selection, predict_photo
from rcn_search.inference.predictor import Predictor, load
from rcn_search.machine import num_cpus

MIN_PHOTOS_FOR_PROCESSES = 24
"""With fewer photographs, processes take longer to start than they save."""
PICTURES = "pictures"


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What a process needs to know to predict a photograph.

    Attributes:
        detector: Name of the face detector; ``none`` takes each photograph without boxes for the crop of one face.
        boxes: Boxes by name of the photograph; None: the detector finds the faces.
        pictures: Folder for drawings; None: nothing is drawn.
    """

    detector: str = AUTO
    min_face_px: int = MIN_FACE_PX
    boxes: dict[str, list[BoxTuple]] | None = None
    selection: Selection = field(default_factory=Selection)
    pictures: Path | None = None

    def record(self) -> dict[str, Any]:
        """Return the options that change the points."""
        boxes = None if self.boxes is None else canonical_hash(self.boxes)
        return {
            "detector": self.detector,
            "min_face_px": self.min_face_px,
            "boxes": boxes,
            **self.selection.model_dump(),
        }


class PhotoPredictor:
    """Predicts and draws one photograph after the other."""

    def __init__(self, predictor: Predictor, options: PredictOptions) -> None:
        self.predictor, self.options = predictor, options
        needs_detector = options.boxes is None and options.detector != NO_DETECTOR
        self.detector: str | Detector = make_detector(options.detector) if needs_detector else NO_DETECTOR

    def __call__(self, photo: Photo) -> PhotoRecord:
        """Predict a photograph; without a box in the file of boxes it has no face."""
        options = self.options
        record, image = predict_photo(
            self.predictor,
            photo,
            boxes=None if options.boxes is None else options.boxes.get(photo.name, []),
            detector=self.detector,
            min_face_px=options.min_face_px,
            selection=options.selection,
        )
        if options.pictures and image:
            path = options.pictures / f"{photo.short_name}.jpg"
            save_drawing(image, record.faces, self.predictor.schema, path)
        return record


def choose_jobs(num_photos: int, device: str) -> int:
    """Choose the number of processes: all cores for many photographs on a CPU, else one."""
    return num_cpus() if num_photos >= MIN_PHOTOS_FOR_PROCESSES and torch.device(device).type == "cpu" else 1


def predict_photos(
    photos: Sequence[Photo], predict: PhotoPredictor, *, weights: str, inference: InferenceConfig, num_jobs: int = 1
) -> Iterator[PhotoRecord]:
    """Yield the record of each photograph, in order.

    Args:
        photos: Photographs.
        predict: Predicts them in this process, if there is one job.
        weights: Checkpoint that the processes of several jobs load.
        inference: Options that they load it with.
        num_jobs: Number of processes; as many photographs more are under way at most.

    Raises:
        RcnSearchError: A process has died.
    """
    if num_jobs <= 1:
        yield from map(predict, photos)
        return
    start = partial(_start_worker, weights, inference, predict.options, max(num_cpus() // num_jobs, 1))
    context = multiprocessing.get_context("spawn")
    pending: deque[tuple[Photo, Future[PhotoRecord]]] = deque()
    with ProcessPoolExecutor(num_jobs, mp_context=context, initializer=start) as pool:
        try:
            for photo in photos:
                pending.append((photo, pool.submit(_predict_in_worker, photo)))
                if len(pending) > 2 * num_jobs:
                    yield pending.popleft()[1].result()
            while pending:
                yield pending[0][1].result()
                pending.popleft()
        except BrokenProcessPool as error:
            raise RcnSearchError(
                f"a process died near {pending[0][0].name if pending else 'the start'}, perhaps for want of memory: "
                "continue with --resume, with fewer --jobs"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_worker: Callable[[Photo], PhotoRecord] | None = None


def _start_worker(weights: str, inference: InferenceConfig, options: PredictOptions, num_threads: int) -> None:
    """Load the network once in each process."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    torch.set_num_threads(num_threads)
    _worker = PhotoPredictor(load(weights, inference), options)


def _predict_in_worker(photo: Photo) -> PhotoRecord:
    assert _worker is not None
    return _worker(photo)
