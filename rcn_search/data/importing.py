"""Import a source of faces into Arrow shards on all cores, and account for each of its rows.

    URI/import_claim.json         put-if-absent: name and source_fingerprint of the import that owns URI

The claim is written before the first shard and permanent. Several processes of the same import may write at once,
because they write the same bytes. The destination of another import is never taken over: it may still be running.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np

from rcn_search import storage
from rcn_search.config.schema import IMAGE_SIZE_PX
from rcn_search.data.importers.base import Importer, NamedSplits, Row, RowError
from rcn_search.data.sample import Sample
from rcn_search.data.shard_content import find_faults
from rcn_search.data.shards import (
    CLAIM_NAME,
    MANIFEST_NAME,
    ROWS_PER_SHARD,
    SHARD_FOLDER,
    DatasetError,
    Manifest,
    RefusedRow,
    ShardInfo,
    read_manifest,
    write_manifest,
    write_shard,
)
from rcn_search.keypoint_schemas.document import schema_document
from rcn_search.keypoints import keypoint_schema
from rcn_search.machine import num_cpus

_MAX_REASON_CHARS = 300  # of a refusal; a damaged annotation may be a line of megabytes


@dataclass(frozen=True, kw_only=True)
class ImportSummary:
    """Result of an import."""

    manifest: Manifest
    num_rows: int  # number of rows of the source, imported and refused
    elapsed_s: float | None  # wall time; None if the data set existed already


def import_dataset(
    importer: Importer,
    uri: str,
    *,
    strict: bool = False,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> ImportSummary:
    """Import a source into Arrow shards at ``uri``, on all cores.

    If ``uri`` already holds this data set, nothing is done; if it holds a part of it, the import starts anew.

    Args:
        importer: Source of the faces.
        uri: Destination: an empty folder or URI, or that of an earlier call with the same source.
        strict: Stop at the first row that cannot be imported; by default such rows are listed in the manifest.
        on_rows: Called with (number of rows done, number of rows).

    Raises:
        DatasetError: The source or the destination is not usable; or, if ``strict``, a row is not.

    Example:
        >>> from tempfile import mkdtemp
        >>> from rcn_search.data.importers.synthetic import SyntheticImporter
        >>> summary = import_dataset(SyntheticImporter(num_train=3, num_val=1, num_test=1), mkdtemp())
        >>> summary.num_rows, summary.manifest.keypoints
        (5, 'five')
    """
    started = time.monotonic()
    rows = importer.read_rows()
    num_rows = sum(map(len, rows.values()))
    fingerprint = importer.fingerprint(rows)
    if existing := claim_destination(uri, name=importer.name, source_fingerprint=fingerprint):
        return ImportSummary(manifest=existing, num_rows=num_rows, elapsed_s=None)

    imported: dict[str, list[Row]] = {split: [] for split in rows}
    refused: list[RefusedRow] = []
    first_rows: dict[str, Row] = {}
    num_done = 0
    with _worker_pool(importer) as pool, _ShardWriter(importer, uri, rows) as writer:
        for split, part in _shard_parts(rows, importer.crop_px):
            samples: list[Sample] = []
            outcomes = pool.map(partial(_read_or_refuse, importer), part, chunksize=16)
            for row, outcome in zip(part, outcomes, strict=True):
                outcome = _refuse_duplicate(outcome, row, first_rows)
                if isinstance(outcome, Sample):
                    samples.append(outcome)
                    imported[split].append(row)
                elif strict:
                    pool.shutdown(cancel_futures=True)
                    raise DatasetError(f"{row.label}: {outcome} (--strict)")
                else:
                    refused.append(RefusedRow(row=row.label, reason=str(outcome)))
                num_done += 1
                on_rows(num_done, num_rows)
            writer.write(split, samples)
    _check_not_empty(importer, writer.shards, refused)
    splits = importer.name_splits(rows, imported)
    manifest, is_first = _publish(uri, _manifest(importer, fingerprint, splits, writer.shards, refused))
    elapsed_s = time.monotonic() - started if is_first else None
    return ImportSummary(manifest=manifest, num_rows=num_rows, elapsed_s=elapsed_s)


def _publish(uri: str, manifest: Manifest) -> tuple[Manifest, bool]:
    """Write the manifest; return it, and whether this import was the first of several equal ones to do so.

    Raises:
        DatasetError: The other import read other photographs, and one of both has overwritten shards of the other.
    """
    try:
        return write_manifest(uri, manifest), True
    except storage.ObjectExistsError:
        existing = read_manifest(uri)
    if existing.splits != manifest.splits:
        raise DatasetError(
            f"{uri}: another import of this source finished first, and its photographs were others; check both "
            f"sources, then remove {uri} and import again"
        )
    return existing, False


def claim_destination(uri: str, *, name: str, source_fingerprint: str) -> Manifest | None:
    """Claim a destination before writing to it; return the manifest if it holds this data set already, else None.

    The shards of an interrupted import are to be written again.

    Raises:
        DatasetError: The destination holds another data set, another import or other files, or it is a file.
    """
    if storage.is_local(uri) and storage.local_path(uri).is_file():
        raise DatasetError(f"{uri} is a file; choose an empty folder")
    if storage.exists(storage.join(uri, MANIFEST_NAME)):
        existing = read_manifest(uri)
        if (existing.name, existing.source_fingerprint) == (name, source_fingerprint):
            return existing
        raise DatasetError(
            f"{uri} already holds the data set {existing.name!r} (fingerprint {existing.fingerprint}); "
            "choose another destination or remove it first"
        )
    names = [name for name in storage.list_names(uri) if not name.startswith(".")]  # such as .DS_Store of macOS
    if others := sorted(set(names) - ({CLAIM_NAME, SHARD_FOLDER} if CLAIM_NAME in names else set())):
        raise DatasetError(f"{uri} is not empty (it holds {others[0]!r}); choose an empty destination")
    claim_uri, claim = storage.join(uri, CLAIM_NAME), {"name": name, "source_fingerprint": source_fingerprint}
    with suppress(storage.ObjectExistsError):
        storage.write_json(claim_uri, claim, if_absent=True)
    if storage.read_json(claim_uri) != claim:
        raise DatasetError(
            f"{uri} belongs to another import, of other faces or with other options, which has not finished; choose "
            "another destination, or remove this one if that import is not running"
        )
    return None


def _check_not_empty(importer: Importer, shards: dict[str, list[ShardInfo]], refused: list[RefusedRow]) -> None:
    for split, infos in shards.items():
        if not infos:
            reason = f"; the first: {refused[0].row}: {refused[0].reason}" if refused else ""
            raise DatasetError(f"{importer.source}: no usable row for the split {split!r}{reason}")


class _ShardWriter:
    """Writes a shard in a thread while the rows of the next one are read, so that at most two are in memory."""

    def __init__(self, importer: Importer, uri: str, splits: Iterable[str]) -> None:
        self.shards: dict[str, list[ShardInfo]] = {split: [] for split in splits}
        self._importer, self._uri, self._thread = importer, uri, ThreadPoolExecutor(1)
        self._pending: tuple[str, Future[ShardInfo]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        with self._thread:
            if error_type is None:
                self._finish_pending()

    def write(self, split: str, samples: list[Sample]) -> None:
        """Start to write the next shard of a split, after the shard before is written; nothing without samples."""
        self._finish_pending()
        if samples:
            attributes, bordered = list(self._importer.attributes), self._importer.bordered
            shard = self._uri, split, len(self.shards[split])
            self._pending = split, self._thread.submit(write_shard, *shard, samples, attributes, bordered)

    def _finish_pending(self) -> None:
        if self._pending:
            split, future = self._pending
            self._pending = None
            self.shards[split].append(future.result())


def _worker_pool(importer: Importer) -> Executor:
    if importer.in_processes:
        return ProcessPoolExecutor(num_cpus(), mp_context=multiprocessing.get_context("spawn"))
    return ThreadPoolExecutor(num_cpus())


def _shard_parts(rows: dict[str, list[Row]], crop_px: int) -> Iterator[tuple[str, list[Row]]]:
    """Divide the rows of each split into the parts that make up one shard; those of larger crops have fewer rows."""
    num_rows = min(ROWS_PER_SHARD, ROWS_PER_SHARD * IMAGE_SIZE_PX**2 // crop_px**2)
    for split, members in rows.items():
        for start in range(0, len(members), num_rows):
            yield split, members[start : start + num_rows]


def _read_or_refuse(importer: Importer, row: Row) -> Sample | RowError:
    try:
        sample = importer.read_sample(row)
        require_usable(sample)
        return sample
    except RowError as error:
        return RowError(str(error)[:_MAX_REASON_CHARS])


def require_usable(sample: Sample) -> None:
    """Check a face as shards are checked when they are opened.

    Raises:
        RowError: A point or box is not finite, a box has no size, or a name is empty or too long.
    """
    columns = {
        "points": sample.points.astype(np.float32).reshape(1, -1),
        "visible": sample.visible[None],
        "box": sample.box[None],
        "face_box": sample.face_box[None],
        "photo": sample.photo[None],
        "edge": sample.edge[None],
        "image_id": np.array([sample.image_id], object),
        "group": np.array([sample.group], object),
        **{f"attr_{name}": np.array([value]) for name, value in sample.attributes.items()},
    }
    for fault, is_bad_n in find_faults(columns):
        if is_bad_n.any():
            raise RowError(f"the face has {fault}")


def _refuse_duplicate(outcome: Sample | RowError, row: Row, first_rows: dict[str, Row]) -> Sample | RowError:
    """Refuse a second face with the same ``image_id``, by which predictions are identified."""
    if isinstance(outcome, Sample) and (first := first_rows.setdefault(outcome.image_id, row)) is not row:
        return RowError(f"the face {outcome.image_id!r} was imported already, from {first.label}")
    return outcome


def _manifest(
    importer: Importer,
    source_fingerprint: str,
    splits: NamedSplits,
    shards: dict[str, list[ShardInfo]],
    refused: list[RefusedRow],
) -> Manifest:
    return Manifest(
        name=importer.name,
        keypoints=importer.keypoints,
        schema_document=schema_document(importer.keypoint_schema or keypoint_schema(importer.keypoints)),
        crop_px=importer.crop_px,
        attributes=list(importer.attributes),
        splits={splits.names[split]: infos for split, infos in shards.items()},
        test_splits=splits.test_splits,
        source=importer.source,
        source_fingerprint=source_fingerprint,
        license=importer.license,
        citation=importer.citation,
        refused=refused,
        channels=3 if importer.color else 1,
        bordered=importer.bordered,
        unions=splits.unions,
        notes=splits.notes,
    )
