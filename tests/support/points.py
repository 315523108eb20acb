"""Drawn kites, and their annotations as label tools write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

NAMES = ("left", "right", "tip")
SCHEMA_TEXT = """\
name: kite
points: [left, right, tip]
flip: [[left, right]]
edges: [[left, right], [right, tip], [tip, left]]
normalizers: {base: [left, right]}          # box and diagonal always exist; the first is the default
"""
SIZE = (96, 72)


class Kite(NamedTuple):
    """A picture and its points; NaN for one that is not labeled."""

    image: str
    points: NDArray[np.float64]


def draw_kites(folder: Path, count: int, *, seed: int = 0) -> list[Kite]:
    """Draw pictures of one kite each, and the schema."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.yaml").write_text(SCHEMA_TEXT)
    generator = np.random.default_rng(seed)
    kites = []
    for number in range(count):
        picture = Image.new("RGB", SIZE, tuple(generator.integers(0, 90, 3).tolist()))
        center, half = generator.uniform((35, 25), (60, 35)), generator.uniform(12, 20)
        points = np.round(center + half * np.array([[-1, 0], [1, 0], [0, 1.4]]) + generator.normal(0, 1, (3, 2)), 3)
        ImageDraw.Draw(picture).polygon([tuple(point) for point in points], fill=(230, 200, 80))
        name = f"kite_{number:03d}.png"
        picture.save(folder / name)
        kites.append(Kite(name, points))
    return kites


def cell(value: float) -> str:
    return "" if np.isnan(value) else repr(float(value))


def write_csv(folder: Path, kites: list[Kite], *, name: str = "points.csv", **columns: list[Any]) -> Path:
    """A table by number, with more columns if given."""
    heading = ["image", "x1", "y1", "x2", "y2", "x3", "y3", *columns]
    lines = [",".join(heading)]
    for row, kite in enumerate(kites):
        extra = [str(values[row]) for values in columns.values()]
        lines.append(",".join([kite.image, *map(cell, kite.points.reshape(-1)), *extra]))
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def coco_document(kites: list[Kite]) -> dict[str, Any]:
    images = list(dict.fromkeys(kite.image for kite in kites))
    return {
        "images": [
            {"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]} for number, name in enumerate(images)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": images.index(kite.image),
                "category_id": 1,
                "keypoints": [
                    value
                    for x, y in kite.points.tolist()
                    for value in ((0, 0, 0) if np.isnan(x) else (x, y, 1 + number % 2))
                ],
                "segmentation": [[1, 1, 2, 2, 3, 1]],
                "iscrowd": 0,
            }
            for number, kite in enumerate(kites)
        ],
        "categories": [{"id": 1, "name": "kite", "keypoints": [*NAMES], "skeleton": [[1, 2], [2, 3], [3, 1]]}],
    }


def write_coco(folder: Path, kites: list[Kite], *, name: str = "points.json") -> Path:
    (folder / name).write_text(json.dumps(coco_document(kites)))
    return folder / name


def write_labelme(folder: Path, kites: list[Kite]) -> None:
    """One file beside each picture; with several kites in a picture each has a group."""
    by_image: dict[str, list[Kite]] = {}
    for kite in kites:
        by_image.setdefault(kite.image, []).append(kite)
    for image, members in by_image.items():
        shapes = [
            {
                "label": name,
                "points": [point.tolist()],
                "group_id": None if len(members) == 1 else group,
                "shape_type": "point",
                "flags": {},
            }
            for group, kite in enumerate(members)
            for name, point in zip(NAMES, kite.points, strict=True)
            if np.isfinite(point).all()
        ]
        document = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": Path(image).name}
        document |= {"imageData": None, "imageWidth": SIZE[0], "imageHeight": SIZE[1]}
        (folder / image).with_suffix(".json").write_text(json.dumps(document))


def write_pts(folder: Path, kites: list[Kite]) -> None:
    """One-based files beside each picture."""
    for kite in kites:
        lines = [f"{x + 0.5!r} {y + 0.5!r}" for x, y in kite.points.tolist()]
        text = "\n".join(["version: 1", f"n_points: {len(kite.points)}", "{", *lines, "}"])
        (folder / kite.image).with_suffix(".pts").write_text(text + "\n")


WRITERS = {"csv": write_csv, "coco": write_coco, "labelme": write_labelme, "pts": write_pts}
