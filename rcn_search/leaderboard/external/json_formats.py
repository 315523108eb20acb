"""Parse JSON files of predictions: the list of SPIGA's benchmark, and COCO keypoints.

Bounds: those of `faces`, 200 MB of memory for the parsed document, and the nesting that Python's parser follows, about
1,000 levels.
"""

from __future__ import annotations

import json
import reprlib
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from rcn_search.errors import Faults, RcnSearchError
from rcn_search.keypoints import KeypointSchema
from rcn_search.leaderboard.external.faces import ExternalFile, FaceCollector

MAX_MEMORY_BYTES = 200_000_000
# Upper bounds of what CPython 3.11 keeps for each of these characters of a document, beside its texts.
_BYTES_OF_CHARACTER = {"[": 96, "{": 250, ",": 80, ":": 120}


def parse_json(text: str, schema: KeypointSchema, file_format: Literal["spiga", "coco"] | None) -> ExternalFile:
    """Read the faces of a JSON file of either format, by default of the one that it looks like.

    Raises:
        RcnSearchError: It is not JSON, too large or too deeply nested, or not of the format; faces are named.
    """
    num_bytes = 2 * sys.getsizeof(text) + sum(text.count(c) * size for c, size in _BYTES_OF_CHARACTER.items())
    if num_bytes > MAX_MEMORY_BYTES:
        raise RcnSearchError(f"it may need {num_bytes:,} bytes of memory; at most {MAX_MEMORY_BYTES:,} are used")
    try:
        document = json.loads(text, object_pairs_hook=_unique_keys)
    except RecursionError:
        raise RcnSearchError("too deeply nested") from None
    except json.JSONDecodeError as error:
        raise RcnSearchError(f"not valid JSON: {error}") from None
    except ValueError as error:  # an integer of more digits than Python converts, or a key twice
        raise RcnSearchError(str(error)) from None
    parse = _parse_spiga if (file_format or _detect(document)) == "spiga" else _parse_coco
    return parse(document, schema.num_points)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise RcnSearchError(f"an object has the key {reprlib.repr(twice)} twice")
    return unique


def _detect(document: Any) -> Literal["spiga", "coco"]:
    first = document[0] if isinstance(document, list) and document else None
    return "spiga" if isinstance(first, dict) and {"landmarks", "imgpath"} & first.keys() else "coco"


def _parse_spiga(document: Any, num_points: int) -> ExternalFile:
    """Parse a list of faces with ``imgpath`` and ``landmarks``, a pair of x and y for each point."""
    if not isinstance(document, list):
        raise RcnSearchError("not a list of faces with imgpath and landmarks")
    faces = FaceCollector(num_points)
    for number, face in enumerate(document, start=1):
        if not isinstance(face, dict) or not {"imgpath", "landmarks"} <= face.keys():
            faces.faults.add(f"face {number} has no imgpath or no landmarks")
            continue
        try:
            coordinates = _pairs(face["landmarks"], num_points)
        except RcnSearchError as error:
            faces.faults.add(f"face {number}, image {reprlib.repr(face['imgpath'])}: {error}")
            continue
        faces.add(f"face {number}", face["imgpath"], coordinates)
    return ExternalFile(faces=faces.finish())


def _pairs(landmarks: Any, num_points: int) -> list[Any]:
    """Flatten (number of points) pairs of x and y; null stands for no prediction of a point, or of the face."""
    if landmarks is None:
        return [None] * (2 * num_points)
    expected = f"landmarks must be {num_points} pairs [x, y]"
    if not isinstance(landmarks, list):
        raise RcnSearchError(f"{expected}, not {reprlib.repr(landmarks)}")
    if not all(point is None or isinstance(point, list) for point in landmarks):
        raise RcnSearchError(f"{expected}, not a flat list of {len(landmarks)}")
    lengths = {len(point) for point in landmarks if point is not None} or {2}
    if len(landmarks) != num_points or lengths != {2}:
        raise RcnSearchError(f"{expected}, not {len(landmarks)} lists of {'/'.join(map(str, sorted(lengths)[:3]))}")
    return [value for point in landmarks for value in (point or (None, None))]


def _parse_coco(document: Any, num_points: int) -> ExternalFile:
    """Parse COCO keypoints: x, y and visibility of each point. Only ``0, 0, 0``, which is no point, heeds the last.

    The document is either a list of results whose ``image_id`` are file names, or an object with ``images`` (``id`` and
    ``file_name``) and ``annotations``. Annotations without keypoints are left out.
    """
    names: Mapping[Any, Any] | None = None
    annotations = document
    if isinstance(document, dict):
        names, annotations = _image_names(document.get("images")), document.get("annotations")
    if (
        not isinstance(annotations, list)
        or not all(isinstance(annotation, dict) for annotation in annotations)
        or not any(_has_keypoints(annotation) for annotation in annotations)
    ):
        raise RcnSearchError("neither COCO keypoints nor SPIGA's list of faces with imgpath and landmarks")
    faces, num_without = FaceCollector(num_points), 0
    for number, annotation in enumerate(annotations, start=1):
        if not _has_keypoints(annotation):
            num_without += 1
            continue
        try:
            name = _image_name(annotation.get("image_id"), names)
            coordinates = _coco_coordinates(annotation["keypoints"], num_points)
        except RcnSearchError as error:
            faces.faults.add(f"annotation {number}: {error}")
            continue
        faces.add(f"annotation {number}", name, coordinates)
    notes = [f"annotations without keypoints, not read: {num_without:,}"] if num_without else []
    return ExternalFile(faces=faces.finish(), notes=notes)


def _has_keypoints(annotation: dict[str, Any]) -> bool:
    return annotation.get("keypoints") not in (None, [])


def _image_names(images: Any) -> dict[int | str, Any]:
    """Map the id of each image to its file name. A number and a text are different ids, 1 and 1.0 are one number."""
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise RcnSearchError("no list of images with id and file_name")
    names: dict[int | str, Any] = {}
    faults = Faults()
    for number, image in enumerate(images, start=1):
        image_id, name = image.get("id"), image.get("file_name")
        if not _is_id(image_id):
            faults.add(f"image {number} has the id {reprlib.repr(image_id)}; ids are integers or texts")
        elif image_id in names:
            both = f"{reprlib.repr(names[image_id])} and {reprlib.repr(name)}"
            faults.add(f"image {number} has the id {image_id!r} of another image, so that it names {both}")
        else:
            names[image_id] = name
    faults.raise_if_any()
    return names


def _is_id(value: Any) -> bool:
    is_whole = value.is_integer() if isinstance(value, float) else isinstance(value, str | int)
    return is_whole and not isinstance(value, bool)


def _image_name(image_id: Any, names: Mapping[Any, Any] | None) -> Any:
    if names is None:
        if not isinstance(image_id, str):
            raise RcnSearchError(
                f"image_id {reprlib.repr(image_id)} is no file name; give a document with images and annotations, so "
                "that ids have file names"
            )
        return image_id
    if not _is_id(image_id) or image_id not in names:
        example = next(iter(names), None)
        raise RcnSearchError(f"no image has the id {reprlib.repr(image_id)}; ids are like {example!r}")
    return names[image_id]


def _coco_coordinates(keypoints: Any, num_points: int) -> list[Any]:
    if not isinstance(keypoints, list) or len(keypoints) != 3 * num_points:
        given = f"a list of {len(keypoints)}" if isinstance(keypoints, list) else reprlib.repr(keypoints)
        raise RcnSearchError(f"keypoints must be {num_points} times x, y and visibility in one list, not {given}")
    coordinates = []
    for x, y, visibility in zip(keypoints[::3], keypoints[1::3], keypoints[2::3], strict=True):
        is_missing = not any((x, y, visibility)) and all(type(value) in (int, float) for value in (x, y, visibility))
        coordinates += [None, None] if is_missing else [x, y]
    return coordinates
