"""Decode the Arrow content of a shard, which may come from a stranger, and find faces that cannot be used.

A right hash says only that a shard is the one of its manifest. Arrow reads a file of other columns, of broken offsets
or of too few rows without a word, and its compressed buffers may become a thousand times as large; so every shard is
checked whole before its first use. Only the pixels are not looked at: all their values are valid.

Shape letters: n rows of a shard, k points.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rcn_search.data.sample import ATTRIBUTE_CLASSES

_MAGIC = b"ARROW1\0\0"
_MIN_SIDE_PX = 1  # of a box; a smaller one cannot be resampled
MAX_NAME_CHARS = 1_024  # of an image id or group; NumPy stores all of a split as long as the longest
_MAX_CLASSES = 128  # of an attribute, which is stored as int8
_NUM_EDGES = 4  # sides of a photograph, as in `rcn_search.data.photo_borders`
_BOXES = {"box": "a crop", "face_box": "a face box", "photo": "a photograph"}


class ShardContentError(ValueError):
    """The content of a shard is not as it must be; the message says why, for a sentence that names the shard."""


def arrow_schema(
    num_points: int, attributes: list[str], *, image_shape: tuple[int, ...], bordered: bool = False
) -> pa.Schema:
    """Build the Arrow schema of a shard."""
    borders = [("edge", pa.list_(pa.uint8(), num_points)), ("photo", pa.list_(pa.float32(), 4))] if bordered else []
    return pa.schema(
        [
            ("image", pa.fixed_shape_tensor(pa.uint8(), list(image_shape))),
            ("points", pa.list_(pa.float32(), 2 * num_points)),
            ("visible", pa.list_(pa.uint8(), num_points)),
            ("box", pa.list_(pa.float32(), 4)),
            ("face_box", pa.list_(pa.float32(), 4)),
            ("image_id", pa.string()),
            ("group", pa.string()),
            *((f"attr_{name}", pa.int8()) for name in attributes),
            *borders,
        ]
    )


def read_batches(source: pa.NativeFile, schema: pa.Schema, *, num_rows: int) -> list[pa.RecordBatch]:
    """Decode and check all record batches of a shard; those of a memory map are views of it.

    Its messages are read one after the other, because the footer of an Arrow file may name any part of it as a batch.

    Raises:
        ShardContentError: The content is not that of a shard with this schema and number of rows; the message says why.
    """
    try:
        batches = _decode(source, schema, num_rows)
        for batch in batches:
            batch.validate(full=True)
    except ShardContentError:
        raise
    except Exception as error:  # undocumented: which errors damaged metadata causes
        text = f"its Arrow content cannot be read: {type(error).__name__}: {str(error)[:200]}"
        raise ShardContentError(text) from error
    if empty := [name for name in schema.names if any(_has_nulls(batch.column(name)) for batch in batches)]:
        raise ShardContentError(f"the column {empty[0]!r} has empty cells")
    if problems := list(_face_problems(batches, schema)):
        raise ShardContentError("; ".join(problems))
    return batches


def find_faults(columns: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Describe each kind of fault that makes a face useless, with the faces (n,) that have it.

    The columns are those of a shard, (n,) or (n, m), without the images.
    """
    yield "a point that is not finite", _has_bad_point(columns["points"], columns["visible"])
    yield "no labeled point", np.isnan(columns["points"]).all(axis=1)
    for name in ("image_id", "group"):
        length_n = np.fromiter(map(len, columns[name]), np.int64)
        yield f"no {name}", length_n == 0
        yield f"a longer {name} than {MAX_NAME_CHARS:,} characters", length_n > MAX_NAME_CHARS
    for name, what in _BOXES.items():
        if name in columns:
            box_n4 = columns[name]
            finite_n = np.isfinite(box_n4).all(axis=1)
            yield f"{what} whose box is not finite", ~finite_n
            yield f"{what} of no size", finite_n & (box_n4[:, 2:] < _MIN_SIDE_PX).any(axis=1)
    for name, values_n in columns.items():
        if name.startswith("attr_"):
            attribute = name.removeprefix("attr_")
            num_classes = ATTRIBUTE_CLASSES.get(attribute, _MAX_CLASSES)
            yield f"an unknown class of {attribute!r}", (values_n < 0) | (values_n >= num_classes)
    if "edge" in columns:
        yield "an unknown edge of its photograph", np.any(columns["edge"] > _NUM_EDGES, axis=1)


def _has_bad_point(points_n: NDArray[Any], visible_nk: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each face (n,) has a point that is not finite; a point that is not labeled is NaN and not visible."""
    points_nk2 = points_n.reshape(*visible_nk.shape, 2)
    unlabeled_nk = np.asarray(np.isnan(points_nk2).all(axis=2)) & (visible_nk == 0)
    return np.asarray(~(np.isfinite(points_nk2).all(axis=2) | unlabeled_nk).all(axis=1))


def column(batch: pa.RecordBatch, name: str) -> NDArray[Any]:
    """Return a numeric column as a read-only view: (n,), (n, m) or, for images, (n, 160, 160) or (n, 160, 160, 3)."""
    array = batch.column(name)
    if isinstance(array, pa.FixedShapeTensorArray):
        return array.to_numpy_ndarray()  # type: ignore[no-any-return]
    if isinstance(array, pa.FixedSizeListArray):
        return array.flatten().to_numpy().reshape(len(array), -1)  # type: ignore[no-any-return]
    return array.to_numpy()  # type: ignore[no-any-return]


def describe_repeated(image_ids: Iterable[str]) -> str:
    """Say how many image ids are there more than once, and which is the first; empty if none is."""
    repeated = [name for name, count in Counter(image_ids).items() if count > 1]
    return (
        f"{len(repeated):,} image ids are there more than once, the first is {repeated[0][:200]!r}" if repeated else ""
    )


def _face_problems(batches: list[pa.RecordBatch], schema: pa.Schema) -> Iterator[str]:
    columns = {
        field.name: np.array([value for batch in batches for value in batch.column(field.name).to_pylist()], object)
        if pa.types.is_string(field.type)
        else np.concatenate([column(batch, field.name) for batch in batches])
        for field in schema
        if field.name != "image"
    }
    image_id_n = columns["image_id"]
    for fault, is_bad_n in find_faults(columns):
        if number := int(is_bad_n.sum()):
            first = image_id_n[int(is_bad_n.argmax())][:200]
            yield (
                f"the face {first!r} has {fault}"
                if number == 1
                else f"{number:,} faces, the first {first!r}, have {fault}"
            )
    if repeated := describe_repeated(image_id_n):
        yield repeated


def _decode(source: pa.NativeFile, schema: pa.Schema, num_rows: int) -> list[pa.RecordBatch]:
    if source.read(len(_MAGIC)) != _MAGIC:
        raise ShardContentError("it is no Arrow file")
    messages = pa.ipc.MessageReader.open_stream(source)
    _require_schema(pa.ipc.read_schema(_next_message(messages, "schema")), schema)
    batches: list[pa.RecordBatch] = []
    found = 0
    with suppress(StopIteration):
        while found <= num_rows:
            batches.append(pa.ipc.read_record_batch(_next_message(messages, "record batch"), schema))
            if not batches[-1].num_rows:
                raise ShardContentError("it holds a record batch without rows")
            found += batches[-1].num_rows
    if found != num_rows:
        at_least = " at least" if found > num_rows else ""
        raise ShardContentError(f"{found:,} rows{at_least} instead of {num_rows:,}")
    return batches


def _next_message(messages: pa.ipc.MessageReader, wanted: str) -> pa.ipc.Message:
    """Read the next message of a shard.

    Its metadata is a flatbuffer that Arrow has verified: in the format's Message.fbs, a message's header is field 2,
    without which Arrow crashes, and the compression of a record batch, which pyarrow does not tell, is field 3 of it.

    Raises:
        ShardContentError: It is of another kind, or compressed.
        StopIteration: There is none.
    """
    message = messages.read_next_message()
    content = message.metadata.to_pybytes()
    header = _field(content, _target(content, 0), 2)
    if message.type != wanted or not header:
        raise ShardContentError(f"it holds a message of type {message.type!r} instead of a {wanted}")
    if wanted == "record batch" and _field(content, _target(content, header), 3):
        raise ShardContentError("its record batches are compressed, which those of a shard never are")
    return message


def _target(content: bytes, position: int) -> int:
    """Find the flatbuffer table to which an offset points."""
    return position + int(struct.unpack_from("<I", content, position)[0])


def _field(content: bytes, table: int, number: int) -> int:
    """Find where a field of a flatbuffer table is stored; 0 if it is not."""
    vtable = table - struct.unpack_from("<i", content, table)[0]
    slot = 4 + 2 * number
    num_bytes = struct.unpack_from("<H", content, vtable)[0]
    offset = struct.unpack_from("<H", content, vtable + slot)[0] if slot < num_bytes else 0
    return table + int(offset) if offset else 0


def _require_schema(found: pa.Schema, expected: pa.Schema) -> None:
    """Compare names and types of the columns.

    Raises:
        ShardContentError: They differ; the message names the first columns that do.
    """
    types: dict[str, str] = {field.name: str(field.type) for field in expected}
    if missing := [name for name in types if name not in found.names]:
        raise ShardContentError(f"the column {missing[0]!r} is missing")
    for name, count in Counter(found.names).items():
        if count > 1:
            raise ShardContentError(f"it has {count} columns {name[:80]!r}")
        if name not in types:
            raise ShardContentError(f"it has an unknown column {name[:80]!r}")
        if found.field(name).type != expected.field(name).type:
            raise ShardContentError(f"the column {name!r} has the type {found.field(name).type}, not {types[name]}")
    if found.names != expected.names:
        raise ShardContentError(f"its columns have the order {', '.join(found.names)}, not {', '.join(expected.names)}")


def _has_nulls(array: pa.Array) -> bool:
    """Whether a column has empty cells, or empty values within them."""
    stored = array.storage if isinstance(array, pa.ExtensionArray) else array
    values = stored.values.null_count if isinstance(stored, pa.FixedSizeListArray) else 0
    return bool(stored.null_count or values)
