"""How long does `predict` take for one photograph, and which share of it does the face detector have?

Processor time of one thread, so that other work on the machine does not count: the median of several photographs, each
scaled to one megapixel and decoded before. Wall time is shorter with several cores only in the network.

    python benchmarks/predict_time.py runs/rcn6 photos/*.jpg
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console

import rcn_search
from rcn_search.inference.detectors import make_detector
from rcn_search.inference.detectors.find_faces import find_faces
from rcn_search.inference.images import open_image

SIDE_PX = 1_000
NUM_REPEATS = 3


def processor_ms(function: Callable[[], object]) -> float:
    """Shortest processor time of a call."""
    times_s = []
    for _ in range(NUM_REPEATS):
        started = time.process_time()
        function()
        times_s.append(time.process_time() - started)
    return 1e3 * min(times_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--detector", default="dlib")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    predictor, detector = rcn_search.load(arguments.model), make_detector(arguments.detector)
    opened = [open_image(path).resize((SIDE_PX, SIDE_PX)) for path in arguments.photos]
    predictor.predict(opened[0], detector=detector)
    whole = [processor_ms(lambda image=image: predictor.predict(image, detector=detector)) for image in opened]
    found = [processor_ms(lambda image=image: find_faces(image, detector)) for image in opened]
    Console().print(
        f"{len(opened)} photographs of 1 megapixel, {arguments.detector}: {statistics.median(whole):.0f} ms, of which "
        f"the detector takes {100 * sum(found) / sum(whole):.0f} %"
    )


if __name__ == "__main__":
    main()
