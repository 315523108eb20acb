"""Write and read a data set: Arrow IPC shards of fixed-size crops, and a manifest that is written last.

    URI/import_claim.json         which import owns the folder, written first (`rcn_search.data.importing`)
    URI/shards/train-00000.arrow  uncompressed, so a local shard is memory-mapped and read without a copy
    URI/manifest.json             put-if-absent after all shards: a reader sees a complete data set or none

Shape letters: n rows of a shard, k points.
"""

from __future__ import annotations

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rcn_search import storage
from rcn_search.config.schema import IMAGE_SIZE_PX, canonical_hash
from rcn_search.data.cache import fetch_to_cache, file_damage
from rcn_search.data.sample import Sample
from rcn_search.data.shard_content import ShardContentError, arrow_schema, read_batches
from rcn_search.errors import RcnSearchError
from rcn_search.keypoints import SCHEMAS, KeypointSchema, resolve_schema

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
CLAIM_NAME = "import_claim.json"
SHARD_FOLDER = "shards"
ROWS_PER_SHARD = 2_048
MIN_CROP_PX, MAX_CROP_PX = 40, 512
_NUM_OPENED_AT_ONCE = 4
_MAX_PROBLEMS = 10  # of a damaged manifest that a message lists


class DatasetError(RcnSearchError):
    """A data set is missing, damaged or unsuitable; the message names it and the remedy."""


class ShardInfo(BaseModel):
    """Manifest entry of one shard."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str = Field(pattern=r"^shards/[A-Za-z0-9_-]+\.arrow$")
    rows: int = Field(ge=1)
    bytes: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class RefusedRow(BaseModel):
    """A row of the source that is not in the data set, and the reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    row: str
    reason: str


class Manifest(BaseModel):
    """Contents, source and license of a data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: int = SCHEMA_VERSION
    name: str
    keypoints: str = Field(description="Name of the keypoint schema.")
    schema_document: dict[str, Any] | None = Field(
        None, description="The keypoint schema, whole, as in schema.yaml; old manifests only name a built-in one."
    )
    crop_px: int = Field(IMAGE_SIZE_PX, ge=MIN_CROP_PX, le=MAX_CROP_PX, description="Side of the stored crops.")
    attributes: list[str]
    splits: dict[str, list[ShardInfo]]
    test_splits: dict[str, str] = Field({}, description="Test splits, whose every use is counted, with DATASET/SUBSET.")
    source: str
    source_fingerprint: str = Field(description="Hash of the source; the same import has the same hash.")
    license: str
    citation: str
    refused: list[RefusedRow] = []
    channels: Literal[1, 3] = Field(1, description="1 gray; 3 red, green, blue.")
    bordered: bool = Field(False, description="Whether crops may be padded: shards have the columns edge and photo.")
    unions: dict[str, list[str]] = Field({}, description="Names of unions of splits, and their members.")
    notes: list[str] = Field([], description="Warnings for users: missing folders, incomplete subsets.")
    fingerprint: str = Field("", description="Hash of the rest of the manifest, hence of every byte of every shard.")

    @model_validator(mode="after")
    def _splits_have_rows(self) -> Self:
        files = [shard.file for shards in self.splits.values() for shard in shards]
        if not self.splits or not all(self.splits.values()):
            raise ValueError("it has no splits, or a split without a shard")
        if len(set(files)) < len(files) or len(set(self.attributes)) < len(self.attributes):
            raise ValueError("it lists a shard or an attribute twice")
        for shard in (shard for shards in self.splits.values() for shard in shards):
            if shard.rows * self.channels * self.crop_px**2 > shard.bytes:
                raise ValueError(f"{shard.file} cannot hold {shard.rows:,} images in {shard.bytes:,} bytes")
        if unknown := sorted(self.test_splits.keys() - {*self.splits, *self.unions}):
            raise ValueError(f"the test split {unknown[0]!r} is no split")
        return self

    @model_validator(mode="after")
    def _unions_have_members(self) -> Self:
        for union, members in self.unions.items():
            is_set = members and len(set(members)) == len(members)
            if union in self.splits or not is_set or not set(members) <= set(self.splits):
                raise ValueError(f"the split {union!r} cannot be the union of {members}")
            if union not in self.test_splits and not self.test_splits.keys().isdisjoint(members):
                raise ValueError(f"the union {union!r} holds a test split but is not a test split itself")
        return self

    @property
    def keypoint_schema(self) -> KeypointSchema:
        """Keypoint schema."""
        return resolve_schema(self.keypoints, self.schema_document)

    @property
    def split_names(self) -> list[str]:
        """Names of the splits, then of the unions of splits."""
        return [*self.splits, *self.unions]

    def members_of(self, split: str) -> list[str]:
        """Names of the stored splits that make up a split or union.

        Raises:
            DatasetError: The data set has no such split.
        """
        if split in self.splits:
            return [split]
        if split not in self.unions:
            known = ", ".join(self.split_names)
            raise DatasetError(f"the data set {self.name!r} has no split {split!r}; it has: {known}")
        return self.unions[split]

    def num_rows(self, split: str) -> int:
        """Number of rows of a split or union."""
        return sum(shard.rows for member in self.members_of(split) for shard in self.splits[member])

    def dataset_and_subset(self, split: str) -> tuple[str, str]:
        """Names of the data set and subset that protocols and the leaderboard use for a split."""
        dataset, _, subset = self.test_splits.get(split, f"{self.name}/{split}").partition("/")
        return dataset, subset


def read_manifest(uri: str) -> Manifest:
    """Read the manifest of the data set at ``uri``.

    Raises:
        DatasetError: There is no complete data set at ``uri``, it is damaged, or this version cannot read it.
    """
    try:
        document = storage.read_json(storage.join(uri, MANIFEST_NAME))
    except NotADirectoryError:
        raise DatasetError(
            f"{uri} is a file, where the folder of an imported data set is wanted; for the points of a single "
            "photograph see 'rcn-search predict'"
        ) from None
    except FileNotFoundError:
        raise DatasetError(
            f"no data set at {uri}: {MANIFEST_NAME} is missing. Create one with 'rcn-search data import', or with "
            "'rcn-search data generate'"
        ) from None
    except ValueError as error:
        raise DatasetError(str(error)) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise DatasetError(f"{uri}: manifest of schema version {version!r}; this rcn-search reads {SCHEMA_VERSION}")
    if "licence" in document and "license" not in document:  # how the key was spelled at first
        document["license"] = document.pop("licence")
    try:
        manifest = Manifest.model_validate(document)
        _ = manifest.keypoint_schema  # exists
        fingerprint = _fingerprint(document)
    except ValidationError as error:
        raise DatasetError(f"{uri}: damaged manifest: {_first_problems(error)}") from error
    except ValueError as error:
        raise DatasetError(f"{uri}: damaged manifest: {str(error)[:500]}") from error
    if manifest.fingerprint != fingerprint:
        raise DatasetError(f"{uri}: the manifest does not match its own fingerprint; it was edited or damaged")
    return manifest


def _first_problems(error: ValidationError) -> str:
    """Describe the first problems of a document, which may have thousands, one a line, and count the others."""
    lines = [
        f"{'.'.join(map(str, problem['loc']))[:80]}: {problem['msg'].removeprefix('Value error, ')[:200]}"
        for problem in error.errors(include_url=False, include_input=False)[:_MAX_PROBLEMS]
    ]
    if (more := error.error_count() - len(lines)) > 0:
        lines.append(f"… and {more:,} more")
    return "\n".join(lines)


# Fields that are newer than the first fingerprints, with their defaults; a default here must never change.
ADDED_LATER: dict[str, Any] = {
    "schema_document": None,
    "crop_px": 160,
    "channels": 1,
    "bordered": False,
    "unions": {},
    "notes": [],
}


def write_manifest(uri: str, manifest: Manifest) -> Manifest:
    """Publish the manifest, which makes the data set readable; return it with its fingerprint."""
    document = manifest.model_dump(mode="json")
    for name, default in ADDED_LATER.items():
        if document[name] == default:
            del document[name]
    document["fingerprint"] = _fingerprint(document)
    storage.write_json(storage.join(uri, MANIFEST_NAME), document, if_absent=True)
    return Manifest.model_validate(document)


def _fingerprint(document: dict[str, Any]) -> str:
    """Hash a manifest as it is stored, so that a new field does not change the fingerprints of old data sets.

    The license counts under the key of the first manifests, and a built-in keypoint schema by its name alone: a data
    set that is imported again keeps its fingerprint.
    """
    content = {key: value for key, value in document.items() if key not in ("fingerprint", "license")}
    if content.get("keypoints") in SCHEMAS:
        content.pop("schema_document", None)
    if "license" in document:
        content["licence"] = document["license"]
    return canonical_hash(content)[:16]


def write_shard(
    uri: str, split: str, index: int, samples: list[Sample], attributes: list[str], bordered: bool = False
) -> ShardInfo:
    """Write one shard; the same samples give the same bytes."""
    num_points, image_shape = len(samples[0].points), samples[0].image.shape
    schema = arrow_schema(num_points, attributes, image_shape=image_shape, bordered=bordered)

    def listed(name: str, kind: type[np.generic], size: int) -> pa.FixedSizeListArray:
        values = np.stack([getattr(sample, name) for sample in samples]).astype(kind)
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), size)

    columns = [
        pa.ExtensionArray.from_storage(schema.field("image").type, listed("image", np.uint8, math.prod(image_shape))),
        listed("points", np.float32, 2 * num_points),
        listed("visible", np.uint8, num_points),
        listed("box", np.float32, 4),
        listed("face_box", np.float32, 4),
        pa.array([sample.image_id for sample in samples]),
        pa.array([sample.group for sample in samples]),
        *(pa.array([sample.attributes[name] for sample in samples], pa.int8()) for name in attributes),
        *([listed("edge", np.uint8, num_points), listed("photo", np.float32, 4)] if bordered else []),
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    content = memoryview(sink.getvalue())
    file = f"{SHARD_FOLDER}/{split}-{index:05d}.arrow"
    storage.write_bytes(storage.join(uri, file), content)
    return ShardInfo(file=file, rows=len(samples), bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def shard_schema(manifest: Manifest) -> pa.Schema:
    """Build the Arrow schema that every shard of a data set has."""
    image_shape = (manifest.crop_px, manifest.crop_px, *([3] if manifest.channels == 3 else []))
    num_points = manifest.keypoint_schema.num_points
    return arrow_schema(num_points, manifest.attributes, image_shape=image_shape, bordered=manifest.bordered)


def open_shard(uri: str, shard: ShardInfo, schema: pa.Schema) -> list[pa.RecordBatch]:
    """Verify a shard and map its record batches into memory; a remote one is first fetched into the node's cache.

    Raises:
        DatasetError: The shard is missing, damaged, or not one of this data set; a remote one is fetched twice.
    """
    name = storage.join(uri, shard.file)
    try:
        if storage.is_local(uri):
            path = storage.local_path(name)
            damage = file_damage(path, num_bytes=shard.bytes, sha256=shard.sha256)
        else:
            path, damage = fetch_to_cache(name, num_bytes=shard.bytes, sha256=shard.sha256)
    except FileNotFoundError:
        damage = "missing"
    if damage is None:
        try:
            with pa.memory_map(str(path)) as source:
                return read_batches(source, schema, num_rows=shard.rows)
        except ShardContentError as error:
            damage = str(error)
    raise DatasetError(f"damaged shard {name}: {damage}. Import the data set again, or restore this file")


def open_shards(uri: str, manifest: Manifest, split: str) -> list[pa.RecordBatch]:
    """Open the shards of a split in parallel (`open_shard`); reading and hashing release the interpreter lock."""
    schema = shard_schema(manifest)
    with ThreadPoolExecutor(_NUM_OPENED_AT_ONCE) as pool:
        parts = pool.map(lambda shard: open_shard(uri, shard, schema), manifest.splits[split])
        return [batch for batches in parts for batch in batches]
