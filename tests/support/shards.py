"""Data sets with a shard of other content, whose hash and manifest are right: as a stranger would hand them over."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from rcn_search.data.shards import read_manifest, write_manifest


def shard_bytes(table: pa.Table, *, rows_per_batch: int | None = None, compression: str | None = None) -> bytes:
    """Write a table as an Arrow file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, rows_per_batch)
    return bytes(sink.getvalue())


def read_shard(path: Path) -> pa.Table:
    """Read a shard as a table, without any check."""
    return pa.ipc.open_file(pa.BufferReader(path.read_bytes())).read_all()


def replace_shard(folder: Path, split: str, change: Callable[[pa.Table], bytes | pa.Table]) -> Path:
    """Change the first shard of a split, and publish the manifest again with its new hash; return the shard's path."""
    manifest = read_manifest(str(folder))
    path = folder / manifest.splits[split][0].file
    changed = change(read_shard(path))
    content = changed if isinstance(changed, bytes) else shard_bytes(changed)
    path.write_bytes(content)
    update = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    shards = [manifest.splits[split][0].model_copy(update=update), *manifest.splits[split][1:]]
    (folder / "manifest.json").unlink()
    write_manifest(str(folder), manifest.model_copy(update={"splits": manifest.splits | {split: shards}}))
    return path
