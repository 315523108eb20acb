"""What ``rcn-search predict`` writes and prints when all photographs are predicted."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.table import Table

from rcn_search.cli.console import console, print_text, warn

if TYPE_CHECKING:
    from rcn_search.inference.photographs.journal import Journal
    from rcn_search.inference.photographs.record import FaceRecord, PhotoRecord
    from rcn_search.keypoint_schemas.schema import KeypointSchema

Format = Literal["json", "csv", "coco", "parquet"]
_FILES = {"json": "points.json", "csv": "points.csv", "coco": "points.coco.json", "parquet": "points.parquet"}
_MAX_ROWS, _MAX_WARNINGS = 40, 20
_MAX_LISTED_POINTS = 20
"""The points themselves are printed if the faces have no more in all."""


def report(
    journal: Journal, schema: KeypointSchema, out: Path | None, format: Format | None, *, num_others: int
) -> bool:
    """Write or print the points, and say what was found and what could not be read; false if nothing could."""
    shown: list[PhotoRecord] = []
    num_photos = num_faces = num_without = num_unread = 0
    for record in journal.records():
        num_photos += 1
        num_faces += len(record.faces)
        if record.error is not None:
            num_unread += 1
            if num_unread <= _MAX_WARNINGS:
                warn(f"{record.image}: {record.error}")
        elif not record.faces:
            num_without += 1
        if len(shown) < _MAX_ROWS:
            shown.append(record)
    if num_unread > _MAX_WARNINGS:
        warn(f"{num_unread - _MAX_WARNINGS:,} more could not be read")
    path = out / _FILES[format or "json"] if out else None
    if path or format:
        _write_points(journal, schema, format or "json", path)
    if path or not format:
        _print_tables(shown, schema)
        if num_photos > len(shown):
            print_text(f"… and {num_photos - len(shown):,} more photographs")
        parts = [f"{num_faces:,} faces on {num_photos:,} photographs"]
        parts += [f"{num_without:,} without a face"] * bool(num_without)
        parts += [f"{num_unread:,} could not be read"] * bool(num_unread)
        parts += [f"{num_others:,} other files left out"] * bool(num_others)
        print_text(", ".join(parts))
    if path:
        print_text(f"→ {path}")
    return num_unread < num_photos


def _write_points(journal: Journal, schema: KeypointSchema, format: Format, path: Path | None) -> None:
    """Write all recorded points in a format, to a file or to standard output."""
    from rcn_search.inference.photographs import point_files

    if format == "parquet":
        assert path is not None
        point_files.write_parquet(journal.records(), schema, str(path))
        return
    with path.open("w", encoding="utf-8", newline="\n") if path else nullcontext(sys.stdout) as file:
        match format:
            case "csv":
                point_files.write_csv(journal.records(), schema, file)
            case "json":
                point_files.write_json(journal.records(), schema, file)
            case "coco":
                point_files.write_coco(journal.records, schema, file)


def _print_tables(records: list[PhotoRecord], schema: KeypointSchema) -> None:
    """Print a line for each of the first faces, and the points themselves where they are few."""
    table = Table("photograph", "box", "score", "confidence", box=None, pad_edge=False)
    table.columns[0].overflow = "fold"
    for record in records:
        for face in record.faces:
            x, y, width, height = face.box
            score = "" if face.score is None else f"{face.score:.2f}"
            confidence = f"{sum(face.confidence) / len(face.confidence):.2f}"
            table.add_row(record.image, f"{x:.0f}, {y:.0f}, {width:.0f}x{height:.0f}", score, confidence)
        if not record.faces:
            table.add_row(record.image, "not read" if record.error else "no face")
    console.print(table)
    faces = [face for record in records for face in record.faces]
    if 0 < len(faces) * schema.num_points <= _MAX_LISTED_POINTS:
        for face in faces:
            console.print(_point_table(face, schema))


def _point_table(face: FaceRecord, schema: KeypointSchema) -> Table:
    table = Table("point", "x", "y", "confidence", *["radius"] * bool(face.radius), box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for index, (name, (x, y), sure) in enumerate(zip(schema.names, face.points, face.confidence, strict=True)):
        radius = [f"{face.radius[index]:.1f}"] if face.radius else []
        table.add_row(name.replace("_", " "), f"{x:.1f}", f"{y:.1f}", f"{sure:.2f}", *radius)
    return table
