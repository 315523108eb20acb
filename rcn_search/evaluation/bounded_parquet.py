"""Read Parquet files of strangers: the columns that are needed, and nothing that would not fit into memory.

A file of 17 kB can hold a column of gigabytes. What a column takes is known from the metadata, before it is read.

Bounds: 64 MB for a file; 1 million rows, 16 million values and 192 MB for the columns that are read; and 64 MB for a
column of texts as NumPy holds them, all as wide as the longest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rcn_search.errors import RcnSearchError, list_first
from rcn_search.evaluation.parquet_footer import ColumnSize, read_sizes

if TYPE_CHECKING:
    import pyarrow as pa

# Functions import pyarrow, because its import takes a quarter of a second.

MAX_FILE_BYTES = 64_000_000
MAX_ROWS = 1_000_000
MAX_VALUES = 16_000_000
MAX_COLUMN_BYTES = 192_000_000
MAX_TEXT_BYTES = 64_000_000


def read_columns(content: bytes, texts: Sequence[str], is_needed: Callable[[str], bool]) -> pa.Table:
    """Read the columns for whose names ``is_needed`` is true; those called as one of ``texts`` hold text.

    Raises:
        RcnSearchError: It is not a Parquet file, exceeds a bound, or a column occurs twice or has another type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    num_rows, sizes = read_sizes(content)
    _check_size(num_rows, [size for size in sizes if is_needed(size.name)])
    try:
        stored = pq.read_metadata(pa.BufferReader(content)).schema
        paths = {stored.column(index).path for index in range(len(stored))}
        file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=[name for name in texts if name in paths])
        fields = [field for field in file.schema_arrow if is_needed(field.name)]
        if len({field.name for field in fields}) < len(fields):
            raise RcnSearchError(f"a column occurs twice: {list_first(sorted(field.name for field in fields))}")
        for field in fields:
            _check_type(field.name, field.type, is_text=field.name in texts)
        return file.read(columns=[field.name for field in fields])
    except (pa.ArrowException, OSError) as error:
        raise RcnSearchError(f"not a readable Parquet file: {error}") from error


def text_values(column: pa.ChunkedArray) -> NDArray[np.str_]:
    """Convert a column of texts to (n,) texts.

    Raises:
        RcnSearchError: One of them is so long that the array would exceed `MAX_TEXT_BYTES`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        lengths = [pc.max(pc.binary_length(chunk.dictionary)).as_py() for chunk in column.chunks]
    else:
        lengths = [pc.max(pc.binary_length(column)).as_py()]
    longest = max((length for length in lengths if length is not None), default=0)
    if 4 * longest * len(column) > MAX_TEXT_BYTES:
        raise RcnSearchError(f"{len(column):,} texts of up to {longest:,} bytes are too large")
    return np.array(column.cast(pa.string()).to_pylist(), dtype=np.str_)


def _check_type(name: str, column_type: Any, *, is_text: bool) -> None:
    import pyarrow.types as pt

    item = column_type.value_type if pt.is_list(column_type) or pt.is_fixed_size_list(column_type) else column_type
    if is_text:
        item = item.value_type if pt.is_dictionary(item) else item
        fits = pt.is_string(item) or pt.is_large_string(item)
    else:
        fits = pt.is_floating(item) or pt.is_integer(item) or pt.is_boolean(item)
    if not fits:
        raise RcnSearchError(f"column {name!r} has {column_type} values; it needs {'texts' if is_text else 'numbers'}")


def _check_size(num_rows: int, sizes: Sequence[ColumnSize]) -> None:
    """Refuse what exceeds a bound."""
    for number, unit, limit in (
        (num_rows, "rows", MAX_ROWS),
        (sum(size.num_values for size in sizes), "values", MAX_VALUES),
        (sum(size.num_bytes for size in sizes), "bytes", MAX_COLUMN_BYTES),
    ):
        if number > limit:
            raise RcnSearchError(f"too large: the columns have {number:,} {unit}; at most {limit:,} are read")
