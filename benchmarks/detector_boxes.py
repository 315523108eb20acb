"""How do a face detector's boxes relate to the squares that crops are made of? Measures the constants of a `Framing`.

Of each validation face that the detector finds: where the square of the data set's box rule lies, and how large it is,
in sides of the detector's box. Printed are median and quartiles, and how many faces were found. Only validation faces
are looked at, so that test errors stay what they are.

    python benchmarks/detector_boxes.py --importer mtfl /work/data/MTFL --detector dlib
    python benchmarks/detector_boxes.py --importer 300w /work/data/300W --detector skimage
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from rcn_search.data.crops import enclosing_box, four_point_box
from rcn_search.data.importers import IMPORTERS
from rcn_search.data.importers.photo import open_photo
from rcn_search.data.importers.pts import photo_name
from rcn_search.inference.detectors import make_detector
from rcn_search.inference.detectors.detector import Detection
from rcn_search.inference.detectors.find_faces import find_faces
from rcn_search.keypoints import keypoint_schema

FAR = 1_000_000.0
"""Points are moved this far from the border, because a framing is that of a face whose photograph does not end."""


def square(points_k2: NDArray[np.floating], rule: str) -> tuple[NDArray[np.float64], float]:
    """Center and side of the square of a box rule, without its margin."""
    moved_k2 = points_k2.astype(np.float64) + FAR
    if rule == "four_points":
        box, ratio = four_point_box(moved_k2, (int(2 * FAR), int(2 * FAR)), 1.25), 1 + 2 * 1.25
    else:
        box, ratio = enclosing_box(moved_k2, 1.0), 1.0
    return np.array([box.x + box.width / 2 - FAR, box.y + box.height / 2 - FAR]), box.width / ratio


def closest(found: list[Detection], center: NDArray[np.float64]) -> Detection | None:
    """The detection whose box holds the center of the face; of several, the one with the nearest center."""
    holding = [
        face for face in found if face.x < center[0] < face.x + face.width and face.y < center[1] < face.y + face.height
    ]
    return min(holding, key=lambda f: np.hypot(*(center - [f.x + f.width / 2, f.y + f.height / 2])), default=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--importer", choices=("mtfl", "300w"), required=True)
    parser.add_argument("--detector", default="dlib")
    parser.add_argument("--count", type=int, default=400, help="validation faces")
    arguments = parser.parse_args()
    importer = IMPORTERS[arguments.importer](arguments.folder)
    rule = keypoint_schema(importer.keypoints).box.rule
    detector = make_detector(arguments.detector)
    rows = importer.read_rows()["val"][: arguments.count]
    measured, num_tried = [], 0
    for row in rows:
        sample = importer.read_sample(row)
        points_k2 = sample.points * (sample.box[2:] / len(sample.image)) + sample.box[:2]
        name = row.text.split()[0].replace("\\", "/") if row.line else photo_name(arguments.folder, row)
        num_tried += 1
        found = find_faces(open_photo(arguments.folder, name), detector)
        center, side = square(points_k2, rule)
        face = closest(found.detections, center) if found.quarter_turns == 0 else None
        if face:
            box_center = np.array([face.x + face.width / 2, face.y + face.height / 2])
            measured.append((side / face.width, *((center - box_center) / face.width)))
    quartiles = np.percentile(np.array(measured), [25, 50, 75], axis=0)
    console = Console()
    console.print(f"{arguments.detector}, {rule}: {len(measured)} of {num_tried} faces found")
    for name, (low, middle, high) in zip(("side", "shift_x", "shift_y"), quartiles.T, strict=True):
        console.print(f"{name:8} {middle:6.3f}  (quartiles {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
