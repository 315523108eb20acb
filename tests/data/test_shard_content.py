from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rcn_search.data.shard_content import MAX_NAME_CHARS, ShardContentError, arrow_schema, column, read_batches
from tests.support.shards import shard_bytes

NUM_ROWS, NUM_POINTS, SIDE_PX = 6, 2, 4
SCHEMA = arrow_schema(NUM_POINTS, ["pose"], image_shape=(SIDE_PX, SIDE_PX), bordered=True)

Columns = dict[str, pa.Array]


def listed(values: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def columns() -> Columns:
    """Six faces of two points, all usable."""
    image_nhw = np.arange(NUM_ROWS * SIDE_PX**2, dtype=np.uint8).reshape(NUM_ROWS, SIDE_PX, SIDE_PX)
    box = np.tile(np.array([0, 0, 4, 4], np.float32), (NUM_ROWS, 1))
    return {
        "image": pa.FixedShapeTensorArray.from_numpy_ndarray(image_nhw),
        "points": listed(np.ones((NUM_ROWS, 4), np.float32)),
        "visible": listed(np.ones((NUM_ROWS, 2), np.uint8)),
        "box": listed(box),
        "face_box": listed(box),
        "image_id": pa.array([f"face{row}" for row in range(NUM_ROWS)]),
        "group": pa.array(["one"] * NUM_ROWS),
        "attr_pose": pa.array([0] * NUM_ROWS, pa.int8()),
        "edge": listed(np.zeros((NUM_ROWS, 2), np.uint8)),
        "photo": listed(box),
    }


def table(changed: dict[str, Any] | None = None) -> pa.Table:
    arrays = columns() | (changed or {})
    return pa.table(list(arrays.values()), names=list(arrays))


def read(content: bytes | pa.Table, *, num_rows: int = NUM_ROWS) -> list[pa.RecordBatch]:
    content = content if isinstance(content, bytes) else shard_bytes(content)
    return read_batches(pa.BufferReader(content), SCHEMA, num_rows=num_rows)


def problem_of(content: bytes | pa.Table, *, num_rows: int = NUM_ROWS) -> str:
    with pytest.raises(ShardContentError) as caught:
        read(content, num_rows=num_rows)
    return str(caught.value)


@pytest.mark.parametrize("rows_per_batch", [None, 1, 4])
def test_read_batches_of_any_number_returns_all_rows(rows_per_batch: int | None) -> None:
    batches = read(shard_bytes(table(), rows_per_batch=rows_per_batch))
    image_nhw = np.concatenate([column(batch, "image") for batch in batches])
    assert np.array_equal(image_nhw, column(table().to_batches()[0], "image"))
    assert [name for batch in batches for name in batch.column("image_id").to_pylist()] == [
        f"face{row}" for row in range(NUM_ROWS)
    ]


@pytest.mark.parametrize(
    ("num_rows", "problem"),
    [(5, "6 rows at least instead of 5"), (4, "6 rows at least"), (7, "6 rows instead of 7"), (1, "2 rows at least")],
)
def test_read_batches_counts_the_rows_of_all_batches(num_rows: int, problem: str) -> None:
    assert problem_of(shard_bytes(table(), rows_per_batch=2), num_rows=num_rows).startswith(problem)


def renamed(name: str, new: str) -> pa.Table:
    source = table()
    return source.rename_columns([new if each == name else each for each in source.schema.names])


def image_of(shape: tuple[int, ...]) -> dict[str, pa.Array]:
    return {"image": pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((NUM_ROWS, *shape), np.uint8))}


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (lambda: table().drop_columns(["points"]), "the column 'points' is missing"),
        (lambda: renamed("group", "image_id"), "the column 'group' is missing"),
        (lambda: table().append_column("group", columns()["group"]), "it has 2 columns 'group'"),
        (lambda: table({"more": columns()["group"]}), "it has an unknown column 'more'"),
        (lambda: table(image_of((2, 2))), r"the column 'image' has the type .*\[2,2\].*, not .*\[4,4\]"),
        (lambda: table(image_of((4, 4, 3))), r"the column 'image' has the type .*\[4,4,3\]"),
        (lambda: table({"points": listed(np.ones((NUM_ROWS, 4)))}), r"'points' has the type .*double"),
        (lambda: table({"image_id": pa.array(range(NUM_ROWS))}), "'image_id' has the type int64, not string"),
        (lambda: table().select([*SCHEMA.names[1:], "image"]), "its columns have the order points, visible"),
    ],
)
def test_read_batches_of_other_columns_is_refused(changed: Callable[[], pa.Table], problem: str) -> None:
    assert re.search(problem, problem_of(changed()))


def with_row(name: str, row: int, values: list[float]) -> dict[str, pa.Array]:
    """Change one row of a column of lists."""
    array = columns()[name].flatten().to_numpy().reshape(NUM_ROWS, -1).copy()
    array[row] = values
    return {name: listed(array)}


def named(name: str, row: int, text: str) -> dict[str, pa.Array]:
    texts = columns()[name].to_pylist()
    texts[row] = text
    return {name: pa.array(texts)}


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (with_row("points", 3, [1, 1, np.nan, 1]), "the face 'face3' has a point that is not finite"),
        (with_row("points", 3, [1, 1, 1, np.inf]), "the face 'face3' has a point that is not finite"),
        (with_row("box", 2, [0, 0, np.nan, 4]), "the face 'face2' has a crop whose box is not finite"),
        (with_row("box", 2, [0, 0, 4, 0.5]), "the face 'face2' has a crop of no size"),
        (with_row("face_box", 0, [2, 2, 0, 0]), "the face 'face0' has a face box of no size"),
        (with_row("photo", 0, [2, 2, -3, 4]), "the face 'face0' has a photograph of no size"),
        (with_row("edge", 5, [0, 5]), "the face 'face5' has an unknown edge of its photograph"),
        ({"attr_pose": pa.array([0, 0, -1, 0, 0, -2], pa.int8())}, "2 faces, the first 'face2', have an unknown class"),
        ({"attr_pose": pa.array([0, 0, 4, 5, 0, 0], pa.int8())}, "the face 'face3' has an unknown class of 'pose'"),
        (named("image_id", 4, ""), "the face '' has no image_id"),
        (named("group", 4, "g" * (MAX_NAME_CHARS + 1)), "the face 'face4' has a longer group than 1,024 characters"),
        (named("image_id", 4, "face1"), "1 image ids are there more than once, the first is 'face1'"),
        ({"group": pa.array([*["one"] * 5, None])}, "the column 'group' has empty cells"),
        ({"attr_pose": pa.array([*[0] * 5, None], pa.int8())}, "the column 'attr_pose' has empty cells"),
        (
            {"points": pa.array([*[[1.0] * 4] * 5, [1, 1, None, 1]], pa.list_(pa.float32(), 4))},
            "the column 'points' has empty cells",
        ),
    ],
)
def test_read_batches_of_useless_face_is_refused(changed: dict[str, pa.Array], problem: str) -> None:
    assert problem_of(table(changed)).startswith(problem)


def test_read_batches_accepts_a_point_that_is_not_labeled() -> None:
    unlabeled = with_row("points", 3, [1, 1, np.nan, np.nan]) | with_row("visible", 3, [1, 0])
    assert len(read(table(unlabeled))) == 1
    none = with_row("points", 3, [np.nan] * 4) | with_row("visible", 3, [0, 0])
    assert problem_of(table(none)) == "the face 'face3' has no labeled point"


def test_read_batches_lists_every_kind_of_fault() -> None:
    faults = with_row("points", 3, [np.nan] * 4) | with_row("face_box", 1, [0] * 4) | named("image_id", 4, "face1")
    assert problem_of(table(faults)).count("; ") == 3


def broken_offset(number: int) -> bytes:
    """An offset of the image ids points beyond their text, which crashed the process that read them."""
    content = shard_bytes(table())
    offsets = np.arange(0, 5 * (NUM_ROWS + 1), 5, dtype=np.int32).tobytes()
    assert content.count(offsets) == 1
    at = content.index(offsets) + 4 * number
    return content[:at] + (0x7FFFFFFF).to_bytes(4, "little") + content[at + 4 :]


def with_empty_batch() -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table().schema) as writer:
        writer.write_table(table())
        writer.write_batch(
            pa.RecordBatch.from_arrays([array[:0] for array in columns().values()], schema=table().schema)
        )
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (lambda: broken_offset(NUM_ROWS), "its Arrow content cannot be read: ArrowInvalid"),
        (lambda: broken_offset(2), "its Arrow content cannot be read: ArrowInvalid"),
        (lambda: shard_bytes(table()).replace(b"face5", b"fac\xff5"), "its Arrow content cannot be read: ArrowInvalid"),
        (with_empty_batch, "it holds a record batch without rows"),
        (lambda: b"", "it is no Arrow file"),
        (lambda: b"PK" * 500, "it is no Arrow file"),
        (lambda: shard_bytes(table())[:300], "its Arrow content cannot be read: "),
        (lambda: shard_bytes(table(), compression="zstd"), "its record batches are compressed"),
        (lambda: shard_bytes(table().slice(0, 0)), "0 rows instead of 6"),
    ],
    ids=["last offset", "an offset", "no UTF-8", "empty batch", "empty", "zip", "truncated", "compressed", "no rows"],
)
def test_read_batches_of_damaged_content_is_refused(content: Callable[[], bytes], problem: str) -> None:
    assert problem_of(content()).startswith(problem)


@pytest.mark.parametrize("header_type", [0, 2, 3, 21, 255])
def test_read_batches_of_another_first_message_is_refused(header_type: int) -> None:
    """Arrow takes any message for a schema, and crashes."""
    content = bytearray(shard_bytes(table()))
    vtable = bytes.fromhex("0a000c00060005000800")  # of the schema message: its field 1 is the type, in byte 5
    message = content.index(vtable) + len(vtable)
    assert content[message + 5] == 1
    content[message + 5] = header_type
    assert problem_of(bytes(content)).startswith("it holds a message of type")


def test_read_batches_does_not_read_the_footer() -> None:
    """A footer may name a batch as often as it likes, or another one than the messages before it."""
    content = shard_bytes(table())
    footer_bytes = int.from_bytes(content[-10:-6], "little")
    assert len(read(content[: -10 - footer_bytes] + b"\0" * footer_bytes + content[-10:])) == 1
