"""Verify a whole data set: every shard against its hash, every column and face, and that no face is there twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pyarrow as pa

from rcn_search import storage
from rcn_search.data.cache import content_damage, file_damage
from rcn_search.data.shard_content import ShardContentError, describe_repeated, read_batches
from rcn_search.data.shards import Manifest, ShardInfo, shard_schema


def dataset_problems(
    uri: str, manifest: Manifest, *, on_shard: Callable[[int, int], None] = lambda done, total: None
) -> list[str]:
    """Describe what is wrong with the shards of a data set, in their order; an empty list if it is intact.

    Args:
        uri: Location of the data set.
        manifest: What it should hold.
        on_shard: Called with (number of shards done, number of shards).
    """
    shards = [shard for members in manifest.splits.values() for shard in members]
    problems: list[str] = []
    image_ids: list[str] = []
    for done, shard in enumerate(shards, start=1):
        name = storage.join(uri, shard.file)
        try:
            image_ids += _verified_image_ids(name, shard, shard_schema(manifest))
        except FileNotFoundError:
            problems.append(f"{name}: missing")
        except ShardContentError as error:
            problems.append(f"{name}: {error}")
        on_shard(done, len(shards))
    if repeated := describe_repeated(image_ids):
        problems.append(f"{uri}: {repeated}")
    return problems


def _verified_image_ids(name: str, shard: ShardInfo, schema: pa.Schema) -> list[str]:
    """Return the image ids of a shard, after comparing its content, never a cached one, with the manifest."""
    if storage.is_local(name):
        damage = file_damage(path := storage.local_path(name), num_bytes=shard.bytes, sha256=shard.sha256)
        source = None if damage else pa.memory_map(str(path))
    else:
        content = storage.read_bytes(name)
        digest = hashlib.sha256(content).hexdigest()
        damage = content_damage(len(content), digest, num_bytes=shard.bytes, sha256=shard.sha256)
        source = pa.BufferReader(content)
    if damage or source is None:
        raise ShardContentError(damage)
    with source:
        batches = read_batches(source, schema, num_rows=shard.rows)
    return [image_id for batch in batches for image_id in batch.column("image_id").to_pylist()]
