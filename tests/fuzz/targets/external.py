"""Predictions of other systems: CSV, SPIGA's JSON and COCO keypoints, and our own Parquet from a stranger.

The valid files hold the truth, so where a change only says the same in another way, the error must stay 0.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from rcn_search.data.dataset import Split, open_dataset
from rcn_search.evaluation.predict_split import ground_truth_fields, split_metadata
from rcn_search.evaluation.predictions import Predictions, encode_predictions, read_predictions
from rcn_search.leaderboard.external.add import check_predictions
from rcn_search.leaderboard.external.reading import ExternalFormat
from tests.fuzz.mutations import JSON, PARQUET, TEXT, Mutate
from tests.fuzz.oracle import Target, Wrong
from tests.fuzz.targets.datasets import make_dataset

Prepare = Callable[[Path], list[bytes]]
Read = Callable[[Path, bytes], None]


def _truth(folder: Path) -> tuple[list[str], NDArray[np.float64], Split]:
    split = open_dataset(str(make_dataset(folder))).split("test")
    points_nk2 = split.points_nk2.numpy().astype(np.float64)
    scale_n = split.box_n4[:, 2] / split.images[0].shape[1]
    image_nk2 = split.box_n4[:, None, :2] + points_nk2 * scale_n[:, None, None]
    return split.image_id_n.tolist(), image_nk2, split


def _csv(folder: Path) -> list[bytes]:
    names, points_nk2, _ = _truth(folder)
    heading = ["image", *(f"{axis}{number}" for number in range(1, 6) for axis in "xy")]
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(heading)
    for name, points_k2 in zip(names, points_nk2, strict=True):
        writer.writerow([name, *map(repr, points_k2.ravel().tolist())])
    return [stream.getvalue().encode()]


def _spiga(folder: Path) -> list[bytes]:
    names, points_nk2, _ = _truth(folder)
    faces = [
        {"imgpath": f"images/{name}.png", "bbox": [1, 2, 3, 4], "landmarks": points_k2.tolist()}
        for name, points_k2 in zip(names, points_nk2, strict=True)
    ]
    return [
        json.dumps(faces).encode(),
        json.dumps([{**face, "imgpath": face["imgpath"][7:-4]} for face in faces]).encode(),
    ]


def _coco(folder: Path) -> list[bytes]:
    names, points_nk2, _ = _truth(folder)
    images = [{"id": number, "file_name": name} for number, name in enumerate(names, start=1)]
    flat = [np.insert(points_k2, 2, 2, axis=1).ravel().tolist() for points_k2 in points_nk2]
    faces = [{"id": 7, "image_id": number, "keypoints": points} for number, points in enumerate(flat, start=1)]
    results = [{"image_id": name, "keypoints": points, "score": 0.5} for name, points in zip(names, flat, strict=True)]
    return [json.dumps({"images": images, "annotations": faces}).encode(), json.dumps(results).encode()]


def _reader(name: str, file_format: ExternalFormat, *, is_truth: bool = False) -> Read:
    def read(folder: Path, content: bytes) -> None:
        path = folder / name
        path.write_bytes(content)
        checked = check_predictions(str(path), str(make_dataset(folder)), "test", method="m", file_format=file_format)
        predictions = checked.predictions
        if predictions.pred_image_nk2.shape != predictions.true_image_nk2.shape or len(predictions) != 4:
            raise Wrong(f"points of shape {predictions.pred_image_nk2.shape}")
        if not 1 <= checked.num_joined <= 4:
            raise Wrong(f"{checked.num_joined} images joined")
        if is_truth:
            apart = np.abs(predictions.pred_image_nk2 - predictions.true_image_nk2)
            if (np.isfinite(apart) & (apart > 1e-2)).any():
                raise Wrong(f"points that are {np.nanmax(apart):.3g} px from where the file says")

    return read


def _say_otherwise_csv(content: bytes, random: Random) -> bytes:
    """Change how a CSV file says what it says: order of columns and rows, separator, decimal mark, encoding."""
    rows = [*csv.reader(io.StringIO(content.decode()))]
    kind = random.randrange(9)
    order = [*range(1, len(rows[0]))]
    if kind == 0:
        random.shuffle(order)
        rows = [[row[0], *(row[index] for index in order)] for row in rows]
    elif kind == 1:
        rows = [[row[0], *row[1::2], *row[2::2]] for row in rows]
    elif kind == 2:
        rows = [
            [row[0], *(value for x, y in zip(row[1::2], row[2::2], strict=True) for value in (y, x))] for row in rows
        ]
    elif kind == 3:
        rows = [[*row[1:], row[0]] for row in rows]
    elif kind == 4:
        rows = [["score", *rows[0]], *(["0.5", *row] for row in rows[1:])]
    elif kind == 5:
        rows = [[*rows[0], "w", "h"], *([*row, "160", "160"] for row in rows[1:])]
    elif kind == 6:
        rows = [[rows[0][0], *(f"{axis}{number}" for axis in "xy" for number in range(5))], *rows[1:]]
        rows = [rows[0], *([row[0], *row[1::2], *row[2::2]] for row in rows[1:])]
    elif kind == 7:
        rows = [rows[0], *random.sample(rows[1:], len(rows) - 1)]
    delimiter = random.choice([",", ",", ",", ";", "\t"])
    if delimiter == ";" and random.randrange(2):
        rows = [
            rows[0],
            *([value.replace(".", ",") if value[:1].isdigit() else value for value in row] for row in rows[1:]),
        ]
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, quoting=random.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])).writerows(rows)
    return stream.getvalue().encode(random.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"]))


def _say_otherwise_spiga(content: bytes, random: Random) -> bytes:
    """Change how SPIGA's list says what it says: points as 2 x k or flat, other paths, other order, more keys."""
    faces = json.loads(content)
    kind = random.randrange(6)
    for face in faces:
        points = np.array(face["landmarks"])
        if kind == 0:
            face["landmarks"] = points.T.tolist()
        elif kind == 1:
            face["landmarks"] = points.T.ravel().tolist()
        elif kind == 2:
            face["landmarks"] = points.ravel().tolist()
        elif kind == 3:
            face["imgpath"] = "deep/er/" + face["imgpath"]
        elif kind == 4:
            face["visible"] = [1] * len(points)
    if kind == 5:
        random.shuffle(faces)
    return json.dumps(faces).encode()


def _say_otherwise_coco(content: bytes, random: Random) -> bytes:
    """Change how a COCO document says what it says: ids as text, floats or padded, points that are not labeled."""
    document = json.loads(content)
    faces = document if isinstance(document, list) else document["annotations"]
    kind = random.randrange(8)
    if kind == 0:
        faces[0]["keypoints"][3:6] = [0, 0, 0]
    elif kind == 1:
        faces.append({key: value for key, value in faces[0].items() if key != "keypoints"} | {"segmentation": []})
    elif kind == 7:
        random.shuffle(faces)
    elif isinstance(document, dict):
        for face, image in zip(faces, document["images"], strict=True):
            if kind == 2:
                face["image_id"] = float(face["image_id"])
            elif kind == 3:
                face["image_id"] = image["id"] = f"{face['image_id']:06d}"
            elif kind == 4:
                face["image_id"] = str(face["image_id"])
        if kind == 5:
            document["images"].append({"id": 1, "file_name": document["images"][1]["file_name"]})
        elif kind == 6:
            document["images"].append({"id": 99, "file_name": "other.png"})
    return json.dumps(document).encode()


def _predictions(folder: Path) -> list[bytes]:
    names, image_nk2, split = _truth(folder)
    dataset = open_dataset(str(make_dataset(folder)))
    predictions = Predictions(
        **ground_truth_fields(split, dataset.manifest),
        pred_crop_nk2=split.points_nk2.numpy().copy(),
        pred_image_nk2=image_nk2.astype(np.float32),
        pred_cell_nk2=np.zeros((len(names), 5, 2), np.int16),
        confidence_nk=np.ones((len(names), 5), np.float32),
        meta=split_metadata(dataset.manifest, "test") | {"grid_px": 80, "run_id": "0123456789ab", "method": "m"},
    )
    return [encode_predictions(predictions)]


def _read_parquet(folder: Path, content: bytes) -> None:
    path = folder / "predictions.parquet"
    path.write_bytes(content)
    predictions = read_predictions(str(path))
    shape = predictions.true_crop_nk2.shape
    for name in ("pred_crop_nk2", "pred_image_nk2", "true_image_nk2", "pred_cell_nk2"):
        if getattr(predictions, name).shape != shape:
            raise Wrong(f"{name} has shape {getattr(predictions, name).shape}, not {shape}")


def _target(name: str, prepare: Prepare, mutate: Mutate, read: Read, file: str) -> Target:
    return Target(name=name, prepare=prepare, mutate=mutate, read=read, names=(file, "no image to score"))


TARGETS = (
    _target("external CSV", _csv, TEXT, _reader("points.csv", "csv"), "points.csv"),
    _target("external SPIGA", _spiga, JSON, _reader("spiga.json", "spiga"), "spiga.json"),
    _target("external COCO", _coco, JSON, _reader("coco.json", "coco"), "coco.json"),
    _target("same CSV", _csv, _say_otherwise_csv, _reader("points.csv", "csv", is_truth=True), "points.csv"),
    _target("same SPIGA", _spiga, _say_otherwise_spiga, _reader("spiga.json", "spiga", is_truth=True), "spiga.json"),
    _target("same COCO", _coco, _say_otherwise_coco, _reader("coco.json", "coco", is_truth=True), "coco.json"),
    _target("predictions Parquet", _predictions, PARQUET, _read_parquet, "predictions.parquet"),
)
