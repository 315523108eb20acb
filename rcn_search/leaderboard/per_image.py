"""The error of every image of an entry, kept beside it: what a paired test between any two rows needs.

    <leaderboard>/images/<hash of the content>.json    names, groups and classes of the images, once for all entries on them
    <leaderboard>/errors/<SHA-256 of the bytes>.npy    one float64 for each of those images, in percent; NaN: does not count

Both are put if absent before the entry that names them, so an entry that is there has its errors.

Array names end in their axes: n images.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from rcn_search import storage
from rcn_search.config.schema import canonical_hash
from rcn_search.evaluation.metrics import Array
from rcn_search.evaluation.predictions import Predictions

IMAGE_SETS = "images"
ERRORS = "errors"
MAX_IMAGES = 5_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """The images that a prediction file is of.

    Attributes:
        image_id_n: Their names.
        group_n: Identity or photo; images of one group are not independent.
        attributes: Class of each image, by attribute.
    """

    image_id_n: NDArray[np.str_]
    group_n: NDArray[np.str_]
    attributes: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)


class StoredErrors(NamedTuple):
    """Names of the two objects of an entry."""

    images_sha256: str
    errors_sha256: str


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: int = 1
    image_id: list[str]
    group: list[str]
    attributes: dict[str, list[int]]


def image_set_of(predictions: Predictions) -> ImageSet:
    """The images of a prediction file."""
    return ImageSet(image_id_n=predictions.image_id, group_n=predictions.group, attributes=predictions.attributes)


def store_errors(leaderboard: str, images: ImageSet, error_pct_n: Array) -> StoredErrors:
    """Keep the errors of images, in their order."""
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
    with contextlib.suppress(storage.ObjectExistsError):  # named by its content: it is this very object
        storage.write_json(_images_uri(leaderboard, images_sha256), document, if_absent=True)
    with contextlib.suppress(storage.ObjectExistsError):
        storage.write_bytes(_errors_uri(leaderboard, errors_sha256), content, if_absent=True)
    return StoredErrors(images_sha256, errors_sha256)


@lru_cache(maxsize=64)
def read_image_set(leaderboard: str, images_sha256: str) -> ImageSet:
    """The images of that name.

    Raises:
        FileNotFoundError: They are not there.
        ValueError: They are damaged.
    """
    uri = _images_uri(leaderboard, images_sha256)
    document = storage.read_json(uri)
    try:
        read = _Document.model_validate(document)
        lengths = {len(read.image_id), len(read.group), *map(len, read.attributes.values())}
        if canonical_hash(document) != images_sha256 or len(lengths) != 1 or lengths.pop() > MAX_IMAGES:
            raise ValueError("its content does not hash to its name")
        attributes = {name: np.array(values, dtype=np.int8) for name, values in read.attributes.items()}
    except (ValidationError, ValueError, OverflowError) as error:
        raise ValueError(f"{uri} is damaged: {str(error).splitlines()[0]}") from error
    return ImageSet(image_id_n=np.array(read.image_id), group_n=np.array(read.group), attributes=attributes)


def read_errors(leaderboard: str, errors_sha256: str) -> Array:
    """The errors of that name, (n,) in percent; NaN for images that do not count.

    Raises:
        FileNotFoundError: They are not there.
        ValueError: They are damaged.
    """
    uri = _errors_uri(leaderboard, errors_sha256)
    content = storage.read_bytes(uri)
    if hashlib.sha256(content).hexdigest() != errors_sha256:
        raise ValueError(f"{uri} is damaged: its content does not hash to its name")
    # A hash only says that it is what was put there: numpy's own checks stand between its header and memory.
    try:
        values: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, MemoryError) as error:
        raise ValueError(f"{uri} is no array: {error}") from error
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype != np.float64:
        raise ValueError(f"{uri} is no list of errors")
    return values


def object_stamps(leaderboard: str, images_sha256: str, errors_sha256: Sequence[str]) -> list[tuple[int, int]]:
    """Size and time of change of these objects; zeros on object storage, where they are not edited in place.

    Raises:
        FileNotFoundError: One is not there, as far as that is known without asking a server.
    """
    uris = [_images_uri(leaderboard, images_sha256), *(_errors_uri(leaderboard, each) for each in errors_sha256)]
    if not storage.is_local(leaderboard):
        return [(0, 0)] * len(uris)
    found = [storage.local_path(uri).stat() for uri in uris]
    return [(each.st_size, each.st_mtime_ns) for each in found]


def _images_uri(leaderboard: str, name: str) -> str:
    return storage.join(leaderboard, IMAGE_SETS, f"{name}.json")


def _errors_uri(leaderboard: str, name: str) -> str:
    return storage.join(leaderboard, ERRORS, f"{name}.npy")
