"""Read predictions of other systems: from CSV, SPIGA's JSON or COCO keypoints to points by image name."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rcn_search import storage
from rcn_search.errors import RcnSearchError

ExternalFormat = Literal["csv", "spiga", "coco"]
ExternalPredictions = dict[str, NDArray[np.float64]]
"""Image name to points, (number of points, 2), in pixels of the original image."""

MAX_BYTES = 1_000_000_000
MAX_FACES = 5_000_000
MAX_POINTS = 1_000


def read_external(uri: str, file_format: ExternalFormat | None = None) -> ExternalPredictions:
    """Read the predicted points of another system; by default CSV if ``uri`` ends in ``.csv``, else JSON of any format.

    `RcnSearchError` if it is not of that format; the message names the file and the item.
    """
    content = storage.read_bytes(uri)
    if len(content) > MAX_BYTES:
        raise RcnSearchError(f"{uri} has {len(content):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        if file_format == "csv" or (file_format is None and uri.lower().endswith(".csv")):
            return _parse_csv(content.decode("utf-8-sig"))
        document = json.loads(content)
        return _parse_spiga(document) if (file_format or _detect(document)) == "spiga" else _parse_coco(document)
    except RecursionError:
        raise RcnSearchError(f"{uri}: too deeply nested") from None
    except ValueError as error:
        raise RcnSearchError(f"{uri}: {error}") from error


def _detect(document: Any) -> ExternalFormat:
    first = document[0] if isinstance(document, list) and document else None
    return "spiga" if isinstance(first, dict) and "landmarks" in first else "coco"


def _collect_faces(named: Iterable[tuple[Any, Any]]) -> ExternalPredictions:
    """Check and collect faces given as image names with flat or paired coordinates."""
    faces: ExternalPredictions = {}
    for number, (name, coordinates) in enumerate(named, start=1):
        if number > MAX_FACES:
            raise RcnSearchError(f"more than {MAX_FACES:,} faces")
        if not isinstance(name, str) or not name:
            raise RcnSearchError(f"face {number} has {str(name)[:80]!r} in place of an image name")
        if name in faces:
            raise RcnSearchError(f"image {name!r} occurs twice, so it is not clear which face is meant")
        try:
            values = np.array(coordinates, dtype=np.float64)
        except (ValueError, TypeError, OverflowError):
            raise RcnSearchError(f"the points of {name!r} are not numbers") from None
        if values.size % 2 or not 2 <= values.size <= 2 * MAX_POINTS:
            raise RcnSearchError(f"the points of {name!r} are {values.size} numbers, not pairs of x and y")
        faces[name] = values.reshape(-1, 2)
    return faces


def _parse_csv(text: str) -> ExternalPredictions:
    """Parse a header, then a line for each face with the image name and x and y of each point in order.

    image,x1,y1,x2,y2,...
    AFLW/0001-image20056.jpg,103.2,88.1,...
    """
    try:
        header, *lines = list(csv.reader(io.StringIO(text), strict=True)) or [[]]
    except csv.Error as error:
        raise RcnSearchError(f"not a CSV file: {error}") from error
    if len(header) < 3 or any(_is_number(name) for name in header):
        raise RcnSearchError("the first line must be a header: image,x1,y1,x2,y2,...")
    for number, line in enumerate(lines, start=2):
        if line and len(line) != len(header):
            raise RcnSearchError(f"line {number} has {len(line)} values; the header has {len(header)}")
    return _collect_faces(
        (line[0], [value if value.strip() else "nan" for value in line[1:]]) for line in lines if line
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse_spiga(document: Any) -> ExternalPredictions:
    """Parse JSON of SPIGA's benchmark: a list of faces with ``imgpath`` and ``landmarks``, pairs of x and y."""
    if not isinstance(document, list):
        raise RcnSearchError("not a list of faces with imgpath and landmarks")
    for number, face in enumerate(document, start=1):
        if not isinstance(face, dict) or not {"imgpath", "landmarks"} <= face.keys():
            raise RcnSearchError(f"face {number} has no imgpath or no landmarks")
    return _collect_faces((face["imgpath"], face["landmarks"]) for face in document)


def _parse_coco(document: Any) -> ExternalPredictions:
    """Parse COCO keypoints: x, y and visibility of each point; the visibility is ignored.

    The document is either a list of results whose ``image_id`` are file names, or an object with ``images`` (``id`` and
    ``file_name``) and ``annotations``.
    """
    names: dict[Any, Any] = {}
    faces = document
    if isinstance(document, dict):
        images, faces = document.get("images"), document.get("annotations")
        if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
            raise RcnSearchError("no list of images with id and file_name")
        names = {str(image.get("id")): image.get("file_name") for image in images}
    if not isinstance(faces, list) or not all(isinstance(face, dict) and "keypoints" in face for face in faces):
        raise RcnSearchError("neither COCO keypoints nor SPIGA's list of faces with imgpath and landmarks")
    named = []
    for number, face in enumerate(faces, start=1):
        points = face["keypoints"]
        if not isinstance(points, list) or len(points) % 3:
            raise RcnSearchError(f"annotation {number} has no keypoints in threes of x, y and visibility")
        image = face.get("image_id")
        if isinstance(document, list) and not isinstance(image, str):
            raise RcnSearchError(
                f"annotation {number} names its image {image!r}; give a document with images and annotations, so that "
                "numbers have file names"
            )
        coordinates = [value for i, value in enumerate(points) if i % 3 < 2]
        named.append((names.get(str(image), image) if names else image, coordinates))
    return _collect_faces(named)
