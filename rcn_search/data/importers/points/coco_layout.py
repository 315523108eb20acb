"""Read COCO keypoints, the format that CVAT, Label Studio, Roboflow, Supervisely and others export.

    images: [{id: 1, file_name: a.jpg, width: 640, height: 480}, …]
    annotations: [{id: 7, image_id: 1, category_id: 1, keypoints: [x, y, v, …], bbox: [x, y, width, height]}, …]
    categories: [{id: 1, name: kite, keypoints: [left, right, tip], skeleton: [[1, 2], …]}]

Visibility v is 0 for points that are not labeled, 1 for hidden and 2 for visible ones. Segmentations are not read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rcn_search.data.importers.base import RowError
from rcn_search.data.importers.points.annotations import (
    NOT_LABELED,
    Annotation,
    Content,
    Points,
    annotation,
    find_order,
    image_size,
    number,
    read_json,
)
from rcn_search.data.shards import DatasetError
from rcn_search.keypoints import KeypointSchema


def read(folder: Path, files: Sequence[str], schema: KeypointSchema) -> Content:
    """Read COCO files.

    Raises:
        DatasetError: A file is no COCO file, has no keypoints, or its categories do not have the points of the schema.
    """
    annotations: list[Annotation] = []
    notes: list[str] = []
    for file in files:
        source = CocoFile(read_json(folder, file), file)
        orders = source.find_orders(schema)
        found = [source.annotation(entry, number, orders, schema) for number, entry in source.keypoint_entries(orders)]
        annotations += found
        notes += source.notes(orders)
    return Content(annotations=annotations, notes=notes)


class CocoFile:
    """A COCO file, with its images and categories by id."""

    def __init__(self, document: Any, file: str) -> None:
        """Check the file; raise `DatasetError` if it is no COCO file."""
        self.file = file
        lists = ("images", "annotations", "categories")
        if not isinstance(document, dict) or not all(isinstance(document.get(key), list) for key in lists):
            raise DatasetError(f"{file} is no COCO file: it has no lists {', '.join(lists)}")
        self.entries: list[Any] = document["annotations"]
        self.images = self._by_id(document["images"], "image")
        self.categories = self._by_id(document["categories"], "category")

    def _by_id(self, entries: list[Any], what: str) -> dict[Any, dict[str, Any]]:
        found: dict[Any, dict[str, Any]] = {}
        for entry in entries:
            if not isinstance(entry, dict) or "id" not in entry:
                raise DatasetError(f"{self.file}: a {what} without id: {str(entry)[:100]}")
            if (key := plain_id(entry["id"])) in found:
                raise DatasetError(f"{self.file}: the {what} id {entry['id']!r} is there twice")
            found[key] = entry
        return found

    def find_orders(self, schema: KeypointSchema) -> dict[Any, list[int]]:
        """Find the categories that have the points of the schema, and where each point stands in its keypoints."""
        named = {key: names for key, entry in self.categories.items() if (names := keypoint_names(entry))}
        if not any(isinstance(entry, dict) and entry.get("keypoints") for entry in self.entries):
            raise DatasetError(f"{self.file} has no keypoints: none of its {len(self.entries):,} annotations has any")
        orders: dict[Any, list[int]] = {}
        problem: DatasetError | None = None
        for key in self.categories:
            names = named.get(key, [])
            try:
                if names:
                    where = f"{self.file}: the category {self.categories[key].get('name', key)!r}"
                    orders[key] = find_order(names, schema, where)
                elif not named:  # a file that does not name its points has them in the order of the schema
                    orders[key] = list(range(schema.num_points))
            except DatasetError as error:
                problem = problem or error
        if not orders:
            raise problem or DatasetError(f"{self.file} has no category")
        return orders

    def keypoint_entries(self, orders: dict[Any, list[int]]) -> list[tuple[int, Any]]:
        """List the annotations of categories with the points of the schema, and what is no annotation at all."""
        return [
            (number, entry)
            for number, entry in enumerate(self.entries, start=1)
            if not isinstance(entry, dict) or plain_id(entry.get("category_id")) in orders
        ]

    def notes(self, orders: dict[Any, list[int]]) -> list[str]:
        """Say what the file holds besides the annotations that are read."""
        entries = [entry for entry in self.entries if isinstance(entry, dict)]
        counts = Counter(plain_id(entry.get("category_id")) for entry in entries)
        notes = [
            f"{self.file}: {count:,} annotations of {self.categories.get(key, {}).get('name', key)!r}, which does not "
            "have the points of the schema"
            for key, count in counts.items()
            if key not in orders
        ]
        empty = len(self.images.keys() - {plain_id(entry.get("image_id")) for entry in entries})
        return [*notes, f"{self.file}: {empty:,} images have no annotation"] if empty else notes

    def annotation(self, entry: Any, ordinal: int, orders: dict[Any, list[int]], schema: KeypointSchema) -> Annotation:
        """Read an annotation."""
        entry = entry if isinstance(entry, dict) else {}
        image = self.images.get(plain_id(entry.get("image_id")), {})

        def values() -> tuple[Points, tuple[float, ...] | None]:
            if not entry:
                raise RowError("it is no annotation")
            if not image:
                raise RowError(f"no image has the id {entry.get('image_id')!r}")
            if entry.get("iscrowd"):
                raise RowError("a crowd, not one face")
            points_k2 = _points(entry.get("keypoints"), schema)[orders[plain_id(entry["category_id"])]]
            box = entry.get("bbox") or None
            if box is None:
                return points_k2, None
            if not isinstance(box, list) or len(box) != 4:
                raise RowError(f"bbox is {str(box)[:60]}, not x, y, width and height")
            return points_k2, tuple(number(value, "a number of bbox") for value in box)

        return annotation(
            f"{self.file}, annotation {entry.get('id', f'no. {ordinal}')}",
            0,
            str(image.get("file_name", "")).replace("\\", "/"),
            values,
            schema,
            size=image_size(image.get("width"), image.get("height")),
        )


def keypoint_names(category: dict[str, Any]) -> list[str]:
    """Names of the keypoints of a category, [] if it has none."""
    names = category.get("keypoints")
    return [str(name) for name in names] if isinstance(names, list) else []


def _points(keypoints: Any, schema: KeypointSchema) -> Points:
    if not isinstance(keypoints, list) or not keypoints:
        raise RowError("no keypoints")
    if len(keypoints) != 3 * schema.num_points:
        raise RowError(
            f"{len(keypoints) / 3:g} keypoints of x, y and v; the schema {schema.name!r} has {schema.num_points}"
        )
    values = [number(value, "a number of keypoints") for value in keypoints]
    return np.array(
        [(x, y) if v > 0 else NOT_LABELED for x, y, v in zip(values[::3], values[1::3], values[2::3], strict=True)]
    )


def plain_id(value: Any) -> Any:
    """Bring an id to one form: 7, 7.0, "7" and "0007" are the same, as tools that mix them mean it."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        return int(value)
    return value if isinstance(value, int | str) else str(value)
