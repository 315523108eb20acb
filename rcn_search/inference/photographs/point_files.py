"""Write predicted points as CSV, JSON, COCO keypoints or Parquet, one record after the other.

CSV, JSON (SPIGA's list of faces) and COCO are read by ``rcn-search leaderboard add``. In all of them pixel i covers
[i, i + 1), so the center of the first pixel is 0.5.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import IO, Any

from rcn_search.inference.photographs.record import FaceRecord, PhotoRecord
from rcn_search.keypoint_schemas.schema import KeypointSchema
from rcn_search.printable import csv_cell

ROWS_PER_GROUP = 1_000
"""Faces of a row group of Parquet, which is how many are in memory."""


def write_csv(records: Iterable[PhotoRecord], schema: KeypointSchema, file: IO[str]) -> None:
    """Write a line for each face: ``image,x1,y1,…``, then its box and score, confidence and radius of each point."""
    numbers = range(1, schema.num_points + 1)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        [
            "image",
            *(f"{axis}{k}" for k in numbers for axis in "xy"),
            *("box_x", "box_y", "box_width", "box_height", "score"),
            *(f"confidence{k}" for k in numbers),
            *(f"radius{k}" for k in numbers),
        ]
    )
    for record, face in _faces(records):
        score = "" if face.score is None else face.score
        radius: Sequence[float | str] = face.radius or [""] * schema.num_points
        points = (value for point in face.points for value in point)
        writer.writerow([csv_cell(record.image), *points, *face.box, score, *face.confidence, *radius])


def write_json(records: Iterable[PhotoRecord], schema: KeypointSchema, file: IO[str]) -> None:
    """Write a list of faces with ``imgpath`` and ``landmarks``; a photograph without a face has landmarks null."""
    _write_list(
        (
            {"imgpath": record.image, "landmarks": None if face is None else face.points} | _face_fields(face)
            for record in records
            if record.error is None
            for face in _faces_or_none(record)
        ),
        file,
    )
    file.write("\n")


def write_coco(records: Callable[[], Iterable[PhotoRecord]], schema: KeypointSchema, file: IO[str]) -> None:
    """Write COCO keypoints; ``records`` is called twice, for the images and for the annotations."""
    file.write('{"images":')
    images = (
        {"id": number, "file_name": record.image, "width": record.width, "height": record.height}
        for number, record in enumerate(_readable(records()), start=1)
    )
    _write_list(images, file)
    file.write(',"annotations":')
    numbered = ((number, face) for number, record in enumerate(_readable(records()), start=1) for face in record.faces)
    annotations = (
        {
            "id": number,
            "image_id": image,
            "category_id": 1,
            "bbox": face.box,
            "area": face.box[2] * face.box[3],
            "iscrowd": 0,
            "num_keypoints": schema.num_points,
            "keypoints": [value for x, y in face.points for value in (x, y, 2)],
        }
        | {key: value for key, value in _face_fields(face).items() if key != "box"}
        for number, (image, face) in enumerate(numbered, start=1)
    )
    _write_list(annotations, file)
    skeleton = [[a + 1, b + 1] for edge in schema.edges for a, b in pairwise(edge)]
    category = {"id": 1, "name": "face", "keypoints": list(schema.names), "skeleton": skeleton}
    file.write(f',"categories":[{json.dumps(category)}]}}\n')


def write_parquet(records: Iterable[PhotoRecord], schema: KeypointSchema, path: str) -> None:
    """Write a row for each face: image, box, score, and points, confidence and radius as lists, as in the schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table_schema = pa.schema(
        [
            ("image", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("box", pa.list_(pa.float32(), 4)),
            ("score", pa.float32()),
            ("quarter_turns", pa.int8()),
            ("points", pa.list_(pa.list_(pa.float32(), 2), schema.num_points)),
            ("confidence", pa.list_(pa.float32(), schema.num_points)),
            ("radius", pa.list_(pa.float32(), schema.num_points)),
        ],
        metadata={"keypoints": json.dumps({"name": schema.name, "points": schema.names})},
    )
    rows = (
        {"image": record.image, "width": record.width, "height": record.height} | vars(face)
        for record, face in _faces(records)
    )
    with pq.ParquetWriter(path, table_schema) as writer:
        while group := list(islice(rows, ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, table_schema))


def _faces_or_none(record: PhotoRecord) -> Sequence[FaceRecord | None]:
    return record.faces or [None]


def _face_fields(face: FaceRecord | None) -> dict[str, Any]:
    """Return what is known of a face besides its points."""
    if face is None:
        return {}
    fields = {"box": face.box, "score": face.score, "confidence": face.confidence, "radius": face.radius}
    return {key: value for key, value in fields.items() if value is not None}


def _readable(records: Iterable[PhotoRecord]) -> Iterator[PhotoRecord]:
    return (record for record in records if record.error is None)


def _faces(records: Iterable[PhotoRecord]) -> Iterator[tuple[PhotoRecord, FaceRecord]]:
    return ((record, face) for record in records for face in record.faces)


def _write_list(items: Iterable[Any], file: IO[str]) -> None:
    """Write a JSON list, one item on each line."""
    file.write("[")
    for number, item in enumerate(items):
        file.write((",\n" if number else "\n") + json.dumps(item, separators=(",", ":")))
    file.write("\n]")
