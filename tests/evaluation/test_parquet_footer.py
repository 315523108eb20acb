"""Sizes in the footer of a Parquet file, against what pyarrow says of a sound one."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation import parquet_footer
from rcn_search.evaluation.parquet_footer import read_sizes


@pytest.fixture(scope="module")
def content() -> bytes:
    table = pa.table({f"c{n}": [f"{n}", "b", "c"] for n in range(20)} | {"points": [[1.5, 2.0]] * 3})
    stream = io.BytesIO()
    pq.write_table(table, stream, row_group_size=2)
    return stream.getvalue()


def test_read_sizes_agrees_with_pyarrow(content: bytes) -> None:
    metadata = pq.read_metadata(io.BytesIO(content))
    expected = [
        (column.path_in_schema.split(".")[0], column.num_values, column.total_uncompressed_size)
        for group in map(metadata.row_group, range(metadata.num_row_groups))
        for column in map(group.column, range(group.num_columns))
    ]
    num_rows, sizes = read_sizes(content)
    assert (num_rows, [tuple(size) for size in sizes]) == (3, expected)
    assert len(sizes) == 42


def test_read_sizes_damaged_footer_is_refused_or_read(content: bytes) -> None:
    """Each byte of the footer, changed: no other exception."""
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    num_refused = 0
    for position in range(start, len(content), 3):
        damaged = bytearray(content)
        damaged[position] ^= 0x55
        try:
            read_sizes(bytes(damaged))
        except RcnSearchError:
            num_refused += 1
    assert num_refused > 100


def test_read_sizes_too_large_or_no_footer_is_refused(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in (b"", b"PAR1", b"PAR1" * 3, content[:-1], content[1:]):
        with pytest.raises(RcnSearchError, match="not a readable Parquet file"):
            read_sizes(other)
    monkeypatch.setattr(parquet_footer, "MAX_FOOTER_BYTES", 100)
    with pytest.raises(RcnSearchError, match=r"a footer of [\d,]+ bytes; at most 100 are read"):
        read_sizes(content)
