"""Data sets: manifests and Arrow shards, with their hashes made to fit, as a stranger's would."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from rcn_search.data.dataset import Dataset, Split
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import import_dataset
from rcn_search.data.shards import _fingerprint
from tests.fuzz.mutations import ARROW, JSON
from tests.fuzz.oracle import Target, Wrong
from tests.fuzz.targets.command_line import run_command


def make_dataset(folder: Path) -> Path:
    """Three training, two validation and four test faces."""
    uri = folder / "data"
    if not uri.exists():
        importer = SyntheticImporter(num_train=3, num_val=2, num_test=4)
        importer.in_processes = False  # nine faces are drawn sooner than a process starts
        import_dataset(importer, str(uri))
    return uri


def _read_splits(uri: Path) -> None:
    dataset = Dataset(str(uri))
    for name in dataset.manifest.split_names:
        _check_split(dataset.split(name), dataset.manifest.num_rows(name), dataset)


def _check_split(split: Split, num_rows: int, dataset: Dataset) -> None:
    num_images = sum(map(len, split.images))
    lengths = {split.num_rows, num_images, len(split.image_id_n), len(split.group_n), len(split.box_n4)}
    if lengths != {num_rows}:
        raise Wrong(f"{sorted(lengths)} rows, {num_rows} by the manifest")
    px = split.images[0].shape[1]
    channels = 3 if split.images[0].ndim == 4 else 1
    if any(image.shape[1:3] != (px, px) or image.dtype != torch.uint8 for image in split.images):
        raise Wrong(f"images of {[tuple(image.shape) for image in split.images]}")
    if channels != dataset.manifest.channels:
        raise Wrong(f"{channels} channels, {dataset.manifest.channels} by the manifest")
    for values in (split.points_nk2, split.face_box_n4, torch.from_numpy(np.array(split.box_n4))):
        if not torch.isfinite(values.float()).all():
            raise Wrong("points or boxes that are not finite")
    if len(set(split.image_id_n.tolist())) != num_rows:
        raise Wrong("two rows have one image_id")
    split.images_at(torch.arange(num_rows))


def _fit(document: Any) -> Any:
    """Give a manifest the fingerprint of its content, where it has a content."""
    if isinstance(document, dict):
        with contextlib.suppress(ValueError, RecursionError, OverflowError):
            document["fingerprint"] = _fingerprint(document)
    return document


def _edit_manifest(content: bytes, random: Random) -> bytes:
    content = JSON(content, random)
    if random.randrange(4) == 0:
        return content
    try:
        return json.dumps(_fit(json.loads(content))).encode()
    except (ValueError, RecursionError):
        return content


def _prepare_manifest(folder: Path) -> list[bytes]:
    return [(make_dataset(folder) / "manifest.json").read_bytes()]


def _read_manifest(folder: Path, content: bytes) -> None:
    (folder / "data/manifest.json").write_bytes(content)
    _read_splits(folder / "data")
    run_command("data", "info", folder / "data")


def _prepare_shard(folder: Path) -> list[bytes]:
    uri = make_dataset(folder)
    shutil.copy(uri / "manifest.json", folder / "manifest.json")
    return [(uri / "shards/test-00000.arrow").read_bytes()]


def _read_shard(folder: Path, content: bytes) -> None:
    uri = folder / "data"
    manifest = json.loads((folder / "manifest.json").read_text())
    shard = manifest["splits"]["test"][0]
    shard |= {"bytes": max(1, len(content)), "sha256": hashlib.sha256(content).hexdigest()}
    (uri / shard["file"]).write_bytes(content)
    (uri / "manifest.json").write_text(json.dumps(_fit(manifest)))
    _read_splits(uri)
    run_command("data", "verify", uri)


TARGETS = (
    Target(
        name="manifest.json",
        prepare=_prepare_manifest,
        mutate=_edit_manifest,
        read=_read_manifest,
        names=("/data",),
        hostile=lambda: [b"[" * 100_000, b"[]", b"{}", b'{"schema_version": 1}', b"\xff\xfe"],
    ),
    Target(name="shard", prepare=_prepare_shard, mutate=ARROW, read=_read_shard, names=("test-00000.arrow",)),
)
