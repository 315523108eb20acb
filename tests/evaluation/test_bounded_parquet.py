"""Strangers' Parquet files: only what is needed is read, and only if the metadata says that it fits into memory."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation import bounded_parquet
from rcn_search.evaluation.bounded_parquet import read_columns, text_values


def encode(columns: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream, compression="zstd")
    return stream.getvalue()


def read(content: bytes) -> Any:
    return read_columns(content, ["name"], lambda column: column in ("name", "points"))


SMALL = {"name": pa.array(["a", "b"]), "points": pa.array([[1.0, 2.0], [3.0, 4.0]])}


def test_read_columns_reads_no_others() -> None:
    """This one would take 8 MB, and one of gigabytes as little of the file."""
    zeros = pa.array([np.zeros(1_000_000), []], pa.list_(pa.float64()))
    content = encode(SMALL | {"unused": zeros})
    assert len(content) < 20_000
    before = pa.total_allocated_bytes()
    table = read(content)
    assert pa.total_allocated_bytes() - before < 1_000_000
    assert table.column_names == ["name", "points"]
    assert text_values(table.column("name")).tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("bound", "unit"), [("MAX_ROWS", "2 rows"), ("MAX_VALUES", "6 values"), ("MAX_COLUMN_BYTES", "bytes")]
)
def test_read_columns_too_large_is_refused(monkeypatch: pytest.MonkeyPatch, bound: str, unit: str) -> None:
    content = encode(SMALL)
    read(content)
    monkeypatch.setattr(bounded_parquet, bound, 1)
    with pytest.raises(RcnSearchError, match=f"too large: the columns have .*{unit}; at most 1 are read"):
        read(content)


def test_read_columns_repeated_value_is_refused_before_it_is_expanded() -> None:
    zeros = pa.array([np.zeros(17_000_000, dtype=np.bool_), []], pa.list_(pa.bool_()))
    content = encode(SMALL | {"points": zeros})
    assert len(content) < 20_000
    before = pa.total_allocated_bytes()
    with pytest.raises(RcnSearchError, match=r"the columns have 17,000,003 values; at most 16,000,000 are read"):
        read(content)
    assert pa.total_allocated_bytes() == before


def test_text_values_too_wide_are_refused() -> None:
    """NumPy makes all texts as wide as the longest."""
    table = read(encode({"name": pa.array(["x" * 1_000_000] + ["y"] * 50), "points": pa.array([[1.0]] * 51)}))
    with pytest.raises(RcnSearchError, match="51 texts of up to 1,000,000 bytes are too large"):
        text_values(table.column("name"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"name": pa.array([1, 2])}, "column 'name' has int64 values; it needs texts"),
        ({"points": pa.array([["a"], ["b"]])}, "column 'points' has list<.*string> values; it needs numbers"),
        ({"points": pa.array([[[1.0]], [[2.0]]])}, "column 'points' has list<.*list.* values; it needs numbers"),
        ({"points": pa.array([{"x": 1.0}, {"x": 2.0}])}, "column 'points' has struct<"),
    ],
)
def test_read_columns_other_types_are_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(RcnSearchError, match=message):
        read(encode(SMALL | columns))


def test_read_columns_damaged_or_double_is_refused() -> None:
    with pytest.raises(RcnSearchError, match="not a readable Parquet file"):
        read(encode(SMALL)[:-10])
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["name", "name"]), stream)
    with pytest.raises(RcnSearchError, match="a column occurs twice: name, name"):
        read(stream.getvalue())
