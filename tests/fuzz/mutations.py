"""Changes of valid files that a stranger, a broken disk or another program might make.

Each takes the bytes of a file and a source of random numbers: `random.Random` in the long run, and one of hypothesis in
the suite, which then finds the smallest change.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Mutate = Callable[[bytes, Random], bytes]

DEEP_JSON = "[" * 100_000 + "]" * 100_000
HOSTILE_TEXTS = (
    "",
    " ",
    "\x00",
    "\x1b[31mred\x1b[0m\x07",
    "\x9b31m",
    "\r\nX: 1",
    "[/x]",
    "[bold]",
    "=1+1",
    "@SUM(A1)",
    "<script>alert(1)</script>",
    "'\"><b>",
    "../../../etc/passwd",
    "/dev/zero",
    "/etc/passwd",
    "C:\\con",
    "http://user:pass@127.0.0.1:9/x",
    "foo://x",
    "s3:/bucket/x",
    "memory://x",
    "~nobody/x",
    "NaN",
    "1e400",
    "1_0",
    "010",
    "1:30",
    "on",
    "0x10",
    "2001-02-30",
    "%00",
    "{{ 1 }}",
    "%s%n",
    "\ud7ff\u202e\ufeff",
    "é" * 300,
    "a" * 5_000,
    "9" * 5_000,
    ".",
    "..",
    "a/b",
    "__class__",
    "!!python/object:os.system",
)
HOSTILE_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    7,
    255,
    2**31,
    2**63,
    2**64,
    10**30,
    10**400,
    0.5,
    -0.0,
    1e-320,
    1e300,
    -1e300,
    float("nan"),
    float("inf"),
    float("-inf"),
    [],
    {},
    [[]],
    {"": None},
    [None],
    ["a", 1],
    [0] * 1_000,
    {"a": {"b": {"c": 1}}},
    *HOSTILE_TEXTS,
)
MAX_DEPTH = 12
TOKENS = re.compile(rb"[-+\w.]+")


def one_of(*mutations: Mutate) -> Mutate:
    """A mutation that is one of these, the first ones more often."""

    def mutate(content: bytes, random: Random) -> bytes:
        index = min(random.randrange(len(mutations)), random.randrange(len(mutations)))
        return mutations[index](content, random)

    return mutate


def repeated(mutation: Mutate, most: int = 3) -> Mutate:
    """A mutation applied once or a few times."""

    def mutate(content: bytes, random: Random) -> bytes:
        for _ in range(random.choice([1, 1, 1, 2, most])):
            content = mutation(content, random)
        return content

    return mutate


def edit_bytes(content: bytes, random: Random) -> bytes:
    """Flip, delete, insert, repeat, zero or truncate bytes."""
    if not content:
        return random.choice([b"", b"\x00", b"\xff\xfe", b"{"])
    kind = random.randrange(8)
    start = random.randrange(len(content))
    length = min(random.choice([1, 1, 2, 4, 8, 64, 512]), len(content) - start)
    part = content[start : start + length]
    if kind == 0:
        return content[:start] + bytes([content[start] ^ (1 << random.randrange(8))]) + content[start + 1 :]
    if kind == 1:
        return content[:start] + content[start + length :]
    if kind == 2:
        return content[:start] + random.choice([b"\x00", b"\xff", b"\x7f", b"\n", b"'", b'"']) + content[start:]
    if kind == 3:
        return content[:start] + part * random.choice([2, 3, 50]) + content[start + length :]
    if kind == 4:
        return content[:start] + random.choice([b"\x00", b"\xff"]) * length + content[start + length :]
    if kind == 5:
        return content[:start]
    magic = random.choice(
        [b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\xff" * 8, b"\x00" * 8, b"\x00\x00\x00\x01", b"\x01\x00\x00\x00"]
    )
    if kind == 6:
        return content[:start] + magic + content[start + len(magic) :]
    other = random.randrange(len(content))
    return content[:start] + content[other : other + length] + content[start + length :]


def recode(content: bytes, random: Random) -> bytes:
    """Write text in another encoding or with other ends of lines."""
    text = content.decode("utf-8", "replace")
    kind = random.randrange(6)
    if kind < 4:
        return text.encode(["utf-16", "utf-8-sig", "utf-16-le", "utf-32"][kind])
    return text.replace("\n", "\r\n" if kind == 4 else "\r").encode()


def edit_lines(content: bytes, random: Random) -> bytes:
    """Delete, repeat, exchange, join or indent lines."""
    lines = content.split(b"\n")
    index, other = random.randrange(len(lines)), random.randrange(len(lines))
    kind = random.randrange(6)
    if kind == 0:
        del lines[index]
    elif kind == 1:
        lines.insert(other, lines[index])
    elif kind == 2:
        lines[index], lines[other] = lines[other], lines[index]
    elif kind == 3:
        lines[index] = b"  " + lines[index]
    elif kind == 4:
        lines[index] = lines[index] + lines[other]
    else:
        lines.insert(index, random.choice(HOSTILE_TEXTS).encode("utf-8", "replace"))
    return b"\n".join(lines)


def edit_tokens(content: bytes, random: Random) -> bytes:
    """Replace, repeat or delete one word or number."""
    found = list(TOKENS.finditer(content))
    if not found:
        return edit_bytes(content, random)
    match = found[random.randrange(len(found))]
    kind = random.randrange(5)
    text = match[0]
    if kind < 3:
        text = str(random.choice(HOSTILE_VALUES)).encode("utf-8", "replace")
    elif kind == 3:
        text = match[0] + random.choice([b" ", b",", b";", b"\t", b":", b"e5", b"-"]) + match[0]
    else:
        text = b""
    return content[: match.start()] + text + content[match.end() :]


TEXT = repeated(one_of(edit_tokens, edit_lines, edit_bytes, recode))


def _paths(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items: Sequence[tuple[Any, Any]] = ()
    if len(path) == MAX_DEPTH:
        return [path]
    if isinstance(document, dict):
        items = list(document.items())
    elif isinstance(document, list):
        items = list(enumerate(document[:20]))
    return [path, *(below for key, value in items for below in _paths(value, (*path, key)))]


def edit_document(document: Any, random: Random) -> Any:
    """Change one value, key or element of plain data; the top itself seldom."""
    paths = _paths(document)
    path = paths[random.randrange(len(paths))]
    if not path:
        return random.choice(HOSTILE_VALUES) if random.randrange(4) == 0 else document
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    key, value = path[-1], parent[path[-1]]
    kind = random.randrange(9)
    if kind < 3:
        parent[key] = random.choice(HOSTILE_VALUES)
    elif kind == 3:
        del parent[key]
    elif kind == 4 and isinstance(parent, dict):
        parent[random.choice([*HOSTILE_TEXTS, *map(str, parent)])] = parent.pop(key)
    elif kind == 4:
        parent.insert(random.randrange(len(parent)), value)
    elif kind == 5:
        other: Any = document
        for step in paths[random.randrange(len(paths))]:
            other = other[step]
        parent[key] = json.loads(json.dumps(other))
    elif kind == 6:
        parent[key] = random.choice([[value], {"x": value}, [[[value]]], [value, value]])
    elif kind == 7 and isinstance(value, int | float):
        parent[key] = random.choice([value + 1, value - 1, -value, value + 0.5, str(value), bool(value)])
    elif kind == 7 and isinstance(value, str):
        parent[key] = random.choice([value[:-1], value + random.choice(HOSTILE_TEXTS), value.upper(), value * 2])
    else:
        parent[key] = None
    return document


def edit_json(content: bytes, random: Random) -> bytes:
    """Change one value, key or element of a JSON document."""
    try:
        return json.dumps(edit_document(json.loads(content), random), indent=1).encode()
    except (ValueError, RecursionError):
        return edit_bytes(content, random)


def nest_json(content: bytes, random: Random) -> bytes:
    """Put something very deep, or a number of very many digits, in the place of a value."""
    colons = [match.end() for match in re.finditer(rb":\s*", content)]
    start = colons[random.randrange(len(colons))] if colons else 0
    end = next((match.start() for match in re.finditer(rb"[,}\]\n]", content) if match.start() >= start), len(content))
    deep = random.choice([DEEP_JSON, "[" * 950 + "]" * 950, '{"a":' * 950 + "1" + "}" * 950, "9" * 5_000])
    return content[:start] + deep.encode() + content[end:]


JSON = repeated(one_of(edit_json, edit_json, edit_json, edit_tokens, edit_bytes, recode, nest_json))


def edit_table(table: pa.Table, random: Random) -> pa.Table:
    """Change columns, rows or types of an Arrow table."""
    names = table.column_names
    if not names:
        return table
    index = random.randrange(len(names))
    column, kind = table.column(index), random.randrange(10)
    if kind == 0:
        return table.remove_column(index)
    if kind == 1:
        return table.append_column(names[index], column)
    if kind == 2:
        return table.rename_columns([*names[:index], random.choice([*HOSTILE_TEXTS, *names]), *names[index + 1 :]])
    if kind == 3:
        return table.slice(random.randrange(len(table) + 1))
    if kind == 4 and len(table):
        return pa.concat_tables([table, table.slice(random.randrange(len(table)))])
    if kind == 5 and len(table) > 1:
        return pa.Table.from_batches(table.to_batches(max_chunksize=random.randrange(1, len(table))))
    if kind == 6:
        kinds = [pa.float64(), pa.string(), pa.int64(), pa.bool_(), pa.binary(), pa.list_(pa.float32()), pa.float16()]
        return table.set_column(index, names[index], _cast(column, random.choice(kinds)))
    if kind == 7:
        return table.set_column(index, names[index], pa.nulls(len(table), column.type))
    if kind == 8:
        return table.set_column(index, names[index], _with_value(column, random))
    metadata = dict(table.schema.metadata or {})
    for key in metadata:
        metadata[key] = JSON(metadata[key], random)
    return table.replace_schema_metadata(metadata)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(kind)
    except (pa.ArrowException, NotImplementedError):
        return pa.chunked_array([pa.nulls(len(column), kind)])


def _with_value(column: pa.ChunkedArray, random: Random) -> pa.ChunkedArray:
    """Change one value, or one number of a list."""
    if not len(column):
        return column
    values = column.to_pylist()
    row = random.randrange(len(values))
    if isinstance(values[row], list) and values[row]:
        values[row][random.randrange(len(values[row]))] = random.choice([float("nan"), 1e30, -1, 0, 200, None])
    else:
        values[row] = random.choice([None, "", 0, 1, -1, 127, values[0], "a" * 5_000, float("inf")])
    try:
        storage = column.type.storage_type if isinstance(column.type, pa.BaseExtensionType) else column.type
        array = pa.array(values, storage)
        return pa.chunked_array(
            [pa.ExtensionArray.from_storage(column.type, array) if storage is not column.type else array]
        )
    except (pa.ArrowException, TypeError, OverflowError, NotImplementedError, ValueError):
        return column


def edit_arrow(content: bytes, random: Random) -> bytes:
    """Change an Arrow IPC file as a table."""
    try:
        table = edit_table(pa.ipc.open_file(content).read_all(), random)
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression=random.choice([None, None, None, "zstd"]))
        with pa.ipc.new_file(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        return sink.getvalue().to_pybytes()
    except (pa.ArrowException, OSError, NotImplementedError, ValueError):
        return edit_bytes(content, random)


def edit_parquet(content: bytes, random: Random) -> bytes:
    """Change a Parquet file as a table."""
    try:
        table = edit_table(pq.read_table(io.BytesIO(content)), random)
        stream = io.BytesIO()
        pq.write_table(table, stream)
        return stream.getvalue()
    except (pa.ArrowException, OSError, NotImplementedError, ValueError):
        return edit_bytes(content, random)


def edit_ends(content: bytes, random: Random) -> bytes:
    """Edit bytes of the first or last 600, where formats keep what describes the rest."""
    cut = max(0, len(content) - 600)
    if random.randrange(2):
        return content[:cut] + edit_bytes(content[cut:], random)
    return edit_bytes(content[:600], random) + content[600:]


ARROW = repeated(one_of(edit_arrow, edit_arrow, edit_ends, edit_bytes))
PARQUET = repeated(one_of(edit_parquet, edit_parquet, edit_ends, edit_bytes))


def edit_safetensors(content: bytes, random: Random) -> bytes:
    """Change the header of a safetensors file as JSON, the metadata in it as JSON, or the tensors."""
    size = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + size])
        json.dumps(header)
    except (ValueError, RecursionError):
        return edit_bytes(content, random)
    body = content[8 + size :]
    kind = random.randrange(5)
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if kind < 3 and isinstance(metadata, dict) and metadata:
        key = next(iter(metadata))
        metadata[key] = JSON(str(metadata[key]).encode(), random).decode("utf-8", "replace")
    elif kind == 3:
        header = edit_document(header, random)
    else:
        values = np.frombuffer(body[: len(body) // 4 * 4], "<f4").copy()
        if len(values):
            values[random.randrange(len(values))] = random.choice([np.nan, np.inf, 1e30, 0])
        body = values.tobytes() + body[len(values) * 4 :]
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


SAFETENSORS = repeated(one_of(edit_safetensors, edit_safetensors, edit_safetensors, edit_ends, edit_bytes))


def edit_npy(content: bytes, random: Random) -> bytes:
    """Change the header of an array: its type, shape and order."""
    header_end = content.find(b"\n") + 1
    header = content[10:header_end]
    kind = random.randrange(4)
    if kind == 0:
        kinds = [b"'|O'", b"'<f4'", b"'>f8'", b"'<i8'", b"'<U9'", b"[('a','<f8')]", b"'<f16'", b"'<M8[s]'", b"'<c16'"]
        header = re.sub(rb"'descr': '[^']*'", b"'descr': " + random.choice(kinds), header)
    elif kind == 1:
        shapes = [b"()", b"(1,)", b"(0,)", b"(-1,)", b"(4, 1)", b"(99999999999,)", b"(2, 2)", b"(1e3,)", b"'a'"]
        header = re.sub(rb"'shape': \([^)]*\)", b"'shape': " + random.choice(shapes), header)
    elif kind == 2:
        header = header.replace(b"False", random.choice([b"True", b"None", b"[" * 500, b"lambda: 0", b"\xff"]))
    else:
        header = edit_bytes(header, random)
    if random.randrange(3):
        return content[:8] + len(header).to_bytes(2, "little") + header + content[header_end:]
    return content[:8] + content[8:10] + header + content[header_end:]


NPY = repeated(one_of(edit_npy, edit_npy, edit_bytes))
BINARY = repeated(one_of(edit_ends, edit_bytes, edit_bytes))
