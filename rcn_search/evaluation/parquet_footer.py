"""Read what the footer of a Parquet file says of the sizes of its columns.

pyarrow 26 tells it, too, but the process ends with SIGABRT where a damaged footer contradicts itself, because the
exception is not caught. So this walks through the footer, a structure of Thrift's compact protocol, and keeps all
fields by their numbers.

Source: parquet.thrift of apache/parquet-format, thrift-compact-protocol.md of apache/thrift.

Bounds: 1 MB for the footer, and 16 levels of structures.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rcn_search.errors import RcnSearchError

MAX_FOOTER_BYTES = 1_000_000
MAX_DEPTH = 16

_MAGIC = b"PAR1"
# Types of the protocol, and numbers of the fields of FileMetaData, RowGroup, ColumnChunk and ColumnMetaData.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_NUM_ROWS, _ROW_GROUPS, _COLUMNS, _META_DATA, _PATH, _NUM_VALUES, _NUM_BYTES = 3, 4, 1, 3, 3, 5, 6


class ColumnSize(NamedTuple):
    """Size of a column in one row group: ``name`` is that of the outermost field, ``num_bytes`` is uncompressed."""

    name: str
    num_values: int
    num_bytes: int


def read_sizes(content: bytes) -> tuple[int, list[ColumnSize]]:
    """Return the number of rows of a Parquet file, and the size of each column in each row group.

    Raises:
        RcnSearchError: It is not a Parquet file, or its footer is damaged or too large.
    """
    num_bytes = int.from_bytes(content[-8:-4], "little")
    if not content.startswith(_MAGIC) or not content.endswith(_MAGIC) or not 0 < num_bytes <= len(content) - 12:
        raise RcnSearchError("not a readable Parquet file")
    if num_bytes > MAX_FOOTER_BYTES:
        raise RcnSearchError(f"a footer of {num_bytes:,} bytes; at most {MAX_FOOTER_BYTES:,} are read")
    try:
        footer = _Walk(content[-8 - num_bytes : -8]).structure(0)
        sizes = [
            ColumnSize(column[_PATH][0].decode(), int(column[_NUM_VALUES]), int(column[_NUM_BYTES]))
            for group in footer[_ROW_GROUPS]
            for column in (chunk[_META_DATA] for chunk in group[_COLUMNS])
        ]
        num_rows = int(footer[_NUM_ROWS])
    except (LookupError, TypeError, ValueError, AttributeError):
        raise RcnSearchError("not a readable Parquet file: its footer is damaged") from None
    if min(num_rows, *(min(size.num_values, size.num_bytes) for size in sizes), 0) < 0:
        raise RcnSearchError("not a readable Parquet file: a size in its footer is negative")
    return num_rows, sizes


class _Walk:
    """A position in a structure; LookupError where it ends too early, ValueError where it cannot be right."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    def structure(self, depth: int) -> dict[int, Any]:
        """Read the fields of a structure, by number."""
        if depth > MAX_DEPTH:
            raise ValueError("too deep")
        fields: dict[int, Any] = {}
        number = 0
        while header := self._byte():
            number = number + (header >> 4) if header >> 4 else self._integer()
            fields[number] = self._value(header & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind in (_I16, _I32, _I64):
            return self._integer()
        if kind == _DOUBLE:
            return self._bytes(8)
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in (_LIST, _SET):
            return self._list(depth)
        if kind == _STRUCT:
            return self.structure(depth + 1)
        raise ValueError("a map, which no footer has, or no type at all")

    def _list(self, depth: int) -> list[Any]:
        header = self._byte()
        length = header >> 4 if header >> 4 < 15 else self._varint()
        if depth > MAX_DEPTH or length > len(self._content):
            raise ValueError("too deep or too long")
        if header & 15 in (_TRUE, _FALSE):
            return list(self._bytes(length))
        return [self._value(header & 15, depth + 1) for _ in range(length)]

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number of more than 64 bits")

    def _byte(self) -> int:
        self._position += 1
        return self._content[self._position - 1]

    def _bytes(self, length: int) -> bytes:
        self._position += length
        if self._position > len(self._content):
            raise IndexError
        return self._content[self._position - length : self._position]
