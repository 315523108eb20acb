"""Per-image errors of the entries: what a paired test between any two rows needs.

    <leaderboard>/image_sets/<hash of the content>.json          names, groups and classes of images, shared by entries
    <leaderboard>/per_image_errors/<SHA-256 of the bytes>.npy    a float64 for each image, in percent; NaN: excluded

Both are put if absent before the entry that names them, so the errors of an existing entry exist.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import FailFast, ValidationError

from rcn_search import storage
from rcn_search.config.schema import canonical_hash
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.metrics import Array
from rcn_search.leaderboard.objects import Stamp, object_stamp, put_object, read_object
from rcn_search.leaderboard.records import MAX_PCT, Record

IMAGE_SETS = "image_sets"
ERRORS = "per_image_errors"
MAX_IMAGES = 5_000_000
_MAX_NAME_CHARACTERS = 2**25
"""Of all names of an image set, each as long as the longest, as NumPy stores them."""
_HEADER = re.compile(rb"\{'descr': '<f8', 'fortran_order': False, 'shape': \((\d{1,7}),\), \} *\n")
"""The header that `store_errors` writes; NumPy's reader would run whatever a header holds through its parser."""
_MAGIC = b"\x93NUMPY\x01\x00"


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """Names of images, identity or photograph (group) of each, within which errors depend, and classes by attribute."""

    image_id_n: NDArray[np.str_]
    group_n: NDArray[np.str_]
    attributes: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)


class _Document(Record):
    schema_version: int = 1
    image_id: Annotated[list[str], FailFast()]  # or there would be an error for each of a million items
    group: Annotated[list[str], FailFast()]
    attributes: dict[str, Annotated[list[int], FailFast()]]


def store_errors(leaderboard: str, images: ImageSet, error_pct_n: Array) -> dict[str, str]:
    """Store the errors of the images of a set, in its order; the names of both, as fields of an `Entry`.

    `RcnSearchError` if there are more images than could be read again.
    """
    if len(images.image_id_n) * (2 + len(images.attributes)) > storage.MAX_JSON_VALUES - 100:
        raise RcnSearchError(
            f"{len(images.image_id_n):,} images with {len(images.attributes)} attributes are more than an image set "
            f"holds ({storage.MAX_JSON_VALUES:,} values)"
        )
    document = _Document(
        image_id=images.image_id_n.tolist(),
        group=images.group_n.tolist(),
        attributes={name: values.tolist() for name, values in sorted(images.attributes.items())},
    ).model_dump()
    images_sha256 = canonical_hash(document)
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(error_pct_n, dtype="<f8"), allow_pickle=False)
    content = stream.getvalue()
    errors_sha256 = hashlib.sha256(content).hexdigest()
    put_object(leaderboard, IMAGE_SETS, f"{images_sha256}.json", storage.encode_json(document))
    put_object(leaderboard, ERRORS, f"{errors_sha256}.npy", content)
    return {"images_sha256": images_sha256, "errors_sha256": errors_sha256}


def read_image_set(leaderboard: str, images_sha256: str) -> ImageSet:
    """Read the image set of that name; `RcnSearchError` if it is damaged, `FileNotFoundError` if it is missing."""
    images = _image_set(leaderboard, images_sha256, object_stamp(leaderboard, IMAGE_SETS, f"{images_sha256}.json"))
    if isinstance(images, RcnSearchError):
        raise images
    return images


@lru_cache(maxsize=64)
def _image_set(leaderboard: str, images_sha256: str, stamp: Stamp) -> ImageSet | RcnSearchError:
    """Read an image set, or why it is damaged: a thousand entries may name one that takes a second to read."""
    try:
        return _parse_image_set(leaderboard, images_sha256)
    except RcnSearchError as error:
        if isinstance(error, OSError):  # of the store
            raise
        return error


def _parse_image_set(leaderboard: str, images_sha256: str) -> ImageSet:
    name = f"{images_sha256}.json"
    uri = storage.join(leaderboard, IMAGE_SETS, name)
    document = storage.decode_json(uri, read_object(leaderboard, IMAGE_SETS, name))
    try:
        images = _Document.model_validate(document)
        lengths = {len(images.image_id), len(images.group), *map(len, images.attributes.values())}
        if canonical_hash(document) != images_sha256 or len(lengths) != 1 or lengths.pop() > MAX_IMAGES:
            raise RcnSearchError("its content does not hash to its name")
        attributes = {name: np.array(values, dtype=np.int8) for name, values in images.attributes.items()}
        image_id_n, group_n = _names(images.image_id), _names(images.group)
    except (ValidationError, ValueError, OverflowError) as error:
        raise RcnSearchError(f"{uri} is damaged: {_first_line(error)}") from error
    return ImageSet(image_id_n=image_id_n, group_n=group_n, attributes=attributes)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _names(names: list[str]) -> NDArray[np.str_]:
    if len(names) * max(map(len, names), default=0) > _MAX_NAME_CHARACTERS:
        raise RcnSearchError("its names are too long")
    return np.array(names, dtype=np.str_)


def read_errors(leaderboard: str, errors_sha256: str) -> Array:
    """Read the errors of that name, (n,) in percent, NaN for excluded images; `RcnSearchError` if they are damaged."""
    name = f"{errors_sha256}.npy"
    uri = storage.join(leaderboard, ERRORS, name)
    content = read_object(leaderboard, ERRORS, name)
    if hashlib.sha256(content).hexdigest() != errors_sha256:
        raise RcnSearchError(f"{uri} is damaged: its content does not hash to its name")
    # The hash shows only that the content is what was stored.
    start = len(_MAGIC) + 2
    end = start + int.from_bytes(content[len(_MAGIC) : start], "little")
    header = _HEADER.fullmatch(content[start:end])
    if not content.startswith(_MAGIC) or header is None or len(content) != end + 8 * int(header[1]):
        raise RcnSearchError(f"{uri} is damaged: it is not a one-dimensional array of float64, as NumPy writes it")
    error_pct_n: Array = np.frombuffer(content, dtype="<f8", offset=end)
    if not (np.isnan(error_pct_n) | (error_pct_n >= 0) & (error_pct_n <= MAX_PCT)).all():
        raise RcnSearchError(f"{uri} is damaged: it holds errors that are negative or infinite")
    return error_pct_n
