"""Import rate of one's own points beside that of MTFL, of the same faces in one run.

    python benchmarks/import_points.py --faces 2000

Draws faces once, writes them as MTFL publishes them and as CSV, COCO and LabelMe files, and imports each in turn, with
the same pixels, points and box rule, so that what differs is the importer. Repeats the turns, and compares medians.
Also checks that the three layouts give byte-equal shards.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from rcn_search.data.importers.base import Importer
from rcn_search.data.importers.mtfl import MtflImporter
from rcn_search.data.importers.points.importer import PointsImporter, PointsOptions
from rcn_search.data.importing import import_dataset
from rcn_search.data.synthetic import draw_face
from rcn_search.keypoints import FIVE
from rcn_search.machine import num_cpus

LAYOUTS = ("csv", "coco", "labelme")


def draw(folder: Path, count: int) -> None:
    """Write ``count`` faces of 160 x 160 pixels as JPEG, and their annotations in every layout."""
    images = folder / "images"
    images.mkdir(parents=True)
    mtfl, rows, coco_images, annotations = [], [], [], []
    for number in range(count):
        face = draw_face(number, FIVE)
        name = f"{number:06d}.jpg"
        Image.fromarray(np.repeat(face.image[..., None], 3, axis=2)).save(images / name, quality=92)
        points = np.round(face.points.astype(np.float64), 3)
        mtfl.append(" ".join([f"images/{name}", *map(str, points.T.reshape(-1)), "1 1 1 1"]))
        rows.append([name, *map(repr, points.reshape(-1).tolist())])
        coco_images.append({"id": number, "file_name": name, "width": 160, "height": 160})
        keypoints = [value for point in points.tolist() for value in (*point, 2)]
        annotations.append({"id": number, "image_id": number, "category_id": 1, "keypoints": keypoints})
        shapes = [
            {"label": label, "points": [point], "group_id": None, "shape_type": "point"}
            for label, point in zip(FIVE.names, points.tolist(), strict=True)
        ]
        document = {"imagePath": f"../images/{name}", "imageWidth": 160, "imageHeight": 160, "shapes": shapes}
        (folder / "labelme").mkdir(exist_ok=True)
        (folder / "labelme" / f"{number:06d}.json").write_text(json.dumps(document))
    num_test = count // 5
    (folder / "training.txt").write_text("\n".join(mtfl[num_test:]))
    (folder / "testing.txt").write_text("\n".join(mtfl[:num_test]))
    (folder / "csv").mkdir()
    with (folder / "csv" / "points.csv").open("w", newline="") as stream:
        heading = ["image", *(f"{axis}{k}" for k in range(1, 6) for axis in "xy")]
        csv.writer(stream).writerows([heading, *rows])
    (folder / "coco").mkdir()
    categories = [{"id": 1, "name": "face", "keypoints": list(FIVE.names)}]
    document = {"images": coco_images, "annotations": annotations, "categories": categories}
    (folder / "coco" / "points.json").write_text(json.dumps(document))


def measure(importer: Importer, out: Path) -> tuple[float, list[str]]:
    """Import, and return images per second and the hashes of the shards."""
    shutil.rmtree(out, ignore_errors=True)
    summary = import_dataset(importer, str(out))
    assert summary.elapsed_s is not None
    manifest = summary.manifest
    num_rows = sum(manifest.num_rows(split) for split in manifest.splits)
    return num_rows / summary.elapsed_s, [shard.sha256 for split in manifest.splits.values() for shard in split]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=2_000)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        draw(folder, options.faces)
        importers: dict[str, Importer] = {"mtfl": MtflImporter(folder)}
        for layout in LAYOUTS:
            points = PointsOptions(layout=layout, images=folder / "images", val=0.1, test=0.2)
            importers[layout] = PointsImporter(folder / layout, FIVE, points)
        rates: dict[str, list[float]] = {name: [] for name in importers}
        hashes: dict[str, list[str]] = {}
        for _ in range(options.turns):
            for name, importer in importers.items():
                rate, hashes[name] = measure(importer, folder / "out")
                rates[name].append(rate)
    print(f"{options.faces:,} drawn faces of 160 x 160 pixels, {num_cpus()} threads, {options.turns} turns, medians")
    base = statistics.median(rates["mtfl"])
    for name, values in rates.items():
        ratios = [value / other for value, other in zip(values, rates["mtfl"], strict=True)]
        rate, low, high = statistics.median(values), min(ratios), max(ratios)
        print(f"{name:8} {rate:7,.0f} images/s, {rate / base:.2f} of mtfl (turns {low:.2f} to {high:.2f})")
    same = len({tuple(hashes[layout]) for layout in LAYOUTS}) == 1
    print(f"shards of {', '.join(LAYOUTS)}: {'byte-equal' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
