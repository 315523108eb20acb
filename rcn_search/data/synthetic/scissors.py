"""Draw pictures of scissors with seven points and their annotations, for a first import of points of one's own.

    python -m rcn_search.data.synthetic.scissors scissors --count 500

writes pictures, ``points.csv`` and ``schema.yaml`` into the folder ``scissors``. The scissors are open, turned by up to
25 degrees, of any color and size, before clutter. The same seed gives the same pictures.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

SIZE = (320, 240)
_SCALE = 2  # pictures are drawn larger, and reduced
POINTS = ("tip_left", "tip_right", "pivot", "ring_left", "ring_right", "end_left", "end_right")
SCHEMA = """\
name: scissors
points: [tip_left, tip_right, pivot, ring_left, ring_right, end_left, end_right]
flip: [[tip_left, tip_right], [ring_left, ring_right], [end_left, end_right]]
edges:                                       # a blade crosses the other at the pivot
  - [tip_left, pivot, ring_right, end_right]
  - [tip_right, pivot, ring_left, end_left]
parts: {tips: [tip_left, tip_right], ends: [end_left, end_right]}
normalizers: {length: [tips, ends]}          # from between the tips to between the ends
"""

Array = NDArray[np.float64]


def draw_scissors(seed: int) -> tuple[Image.Image, Array]:
    """Draw one picture of 320x240 pixels; return it and the points (7, 2) in pixels, in the order of `POINTS`."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (SIZE[0] * _SCALE, SIZE[1] * _SCALE), _color(rng, 60, 200))
    drawing = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 12))):
        corner, side = rng.uniform((0, 0), image.size), rng.uniform(20, 260, 2)
        shape = drawing.rectangle if rng.random() < 0.5 else drawing.ellipse
        shape((*corner.tolist(), *(corner + side).tolist()), fill=_color(rng, 20, 235))
    points_k2, size = _place(rng)
    steel, plastic, screw = _color(rng, 120, 255, gray=True), _color(rng, 0, 255), _color(rng, 0, 90, gray=True)
    tip_left, tip_right, pivot, ring_left, ring_right, end_left, end_right = points_k2 * _SCALE
    width = 0.055 * size * _SCALE
    for tip, ring, end in ((tip_left, ring_right, end_right), (tip_right, ring_left, end_left)):
        _blade(drawing, tip, pivot, ring, width, steel)
        radius = float(np.linalg.norm(end - ring))
        box = (*(ring - radius).tolist(), *(ring + radius).tolist())
        drawing.ellipse(box, outline=plastic, width=max(2, round(1.3 * width)))
    radius = 0.6 * width
    drawing.ellipse((*(pivot - radius).tolist(), *(pivot + radius).tolist()), fill=screw)
    image = image.resize(SIZE, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.2)))
    pixels = np.asarray(image, np.float64) + rng.normal(0, rng.uniform(1, 9), (SIZE[1], SIZE[0], 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), points_k2


def _place(rng: np.random.Generator) -> tuple[Array, float]:
    """Place the points (7, 2), tips up; return them with the length of a blade."""
    size = rng.uniform(50, 78)
    opening, turn = math.radians(rng.uniform(8, 32)), math.radians(rng.uniform(-25, 25))
    handle, ring = size * rng.uniform(0.62, 0.8), size * rng.uniform(0.2, 0.26)
    across, along = math.sin(opening), math.cos(opening)
    half_k2 = np.array([[-size * across, -size * along], [-handle * across - ring * 0.6, handle * along]])
    end = half_k2[1] + ring * np.array([-across, along])
    left = np.stack([half_k2[0], half_k2[1], end])
    right = left * np.array([-1.0, 1.0])
    points_k2 = np.stack([left[0], right[0], np.zeros(2), left[1], right[1], left[2], right[2]])
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    points_k2 = points_k2 @ rotation.T
    low, high = points_k2.min(axis=0) - ring, points_k2.max(axis=0) + ring
    return points_k2 + rng.uniform(-low, np.maximum(-low + 1, np.array(SIZE) - high)), size


def _blade(drawing: ImageDraw.ImageDraw, tip: Array, pivot: Array, ring: Array, width: float, color: str) -> None:
    """Draw a blade, pointed at its tip, and the shank from the pivot to the ring."""
    along = (tip - pivot) / np.linalg.norm(tip - pivot)
    across = np.array([-along[1], along[0]]) * width
    corners = [tip, pivot + across, pivot - along * width, pivot - across]
    drawing.polygon([tuple(corner.tolist()) for corner in corners], fill=color)
    drawing.line([*pivot.tolist(), *ring.tolist()], fill=color, width=max(2, round(width)))


def _color(rng: np.random.Generator, low: int, high: int, *, gray: bool = False) -> str:
    red, green, blue = rng.integers(low, high, 1 if gray else 3).tolist() * (3 if gray else 1)
    return f"#{red:02x}{green:02x}{blue:02x}"


def write_folder(folder: Path, count: int, seed: int = 0) -> None:
    """Draw pictures into a folder, with ``points.csv`` and ``schema.yaml``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.yaml").write_text(SCHEMA, encoding="utf-8")
    with (folder / "points.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", *(f"{name}_{axis}" for name in POINTS for axis in "xy")])
        for number in range(count):
            image, points_k2 = draw_scissors(seed + number)
            name = f"scissors-{number:05d}.jpg"
            image.save(folder / name, quality=90)
            writer.writerow([name, *(f"{value:.2f}" for value in points_k2.reshape(-1).tolist())])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m rcn_search.data.synthetic.scissors", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=500, help="number of pictures; default: 500")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first picture")
    options = parser.parse_args(arguments)
    write_folder(options.folder, options.count, options.seed)
    print(f"{options.count} pictures, points.csv and schema.yaml → {options.folder}")


if __name__ == "__main__":
    main()
