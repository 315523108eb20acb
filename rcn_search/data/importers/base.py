"""What every importer shares: a published data set's rows, turned into shards on all cores, each row accounted for."""

from __future__ import annotations

import multiprocessing
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from rcn_search.data.import_claim import claim_destination
from rcn_search.data.sample import Sample
from rcn_search.data.shards import (
    ROWS_PER_SHARD,
    DatasetError,
    Manifest,
    Refusal,
    ShardInfo,
    write_manifest,
    write_shard,
)


class Row(NamedTuple):
    """A line of an annotation file, or (line 0) a whole one."""

    file: str
    line: int
    text: str

    @property
    def label(self) -> str:
        """What a person looks for: file, line and the start of its text."""
        if not self.line:
            return self.file
        return f"{self.file}:{self.line} {self.text.split(' ')[0][:80]}".rstrip()


class RowError(ValueError):
    """A row that cannot be imported, and why."""


class Arrangement(NamedTuple):
    """What the rows that could be imported amount to.

    Attributes:
        names: Name in the data set of each split of `Importer.read_rows`.
        test_splits: Splits and unions that are tests, by that name, with their DATASET/SUBSET.
        unions: Splits that are others put together, by those names.
        notes: What a user must know about completeness.
    """

    names: dict[str, str]
    test_splits: dict[str, str]
    unions: dict[str, list[str]]
    notes: list[str]


class Importer(ABC):
    """One source of faces, bound to where it is."""

    name: str
    keypoints: str
    attributes: tuple[str, ...]
    test_splits: Mapping[str, str] = MappingProxyType({})
    """Splits that are tests, with their DATASET/SUBSET."""
    source: str
    licence: str
    citation: str
    colour: bool = False
    """Whether its crops have red, green and blue."""
    bordered: bool = False
    """Whether its crops may be padded, so that each says where its photograph ends."""
    in_processes: bool = False
    """Whether its work holds the interpreter lock, so that threads would take turns."""

    @abstractmethod
    def read_rows(self) -> dict[str, list[Row]]:
        """Rows of each split, in the order they are stored."""

    @abstractmethod
    def read_sample(self, row: Row) -> Sample:
        """One face, or `RowError`."""

    @abstractmethod
    def fingerprint(self, rows: dict[str, list[Row]]) -> str:
        """Hash of the annotations and of the rules of the importer."""

    def arrange(self, rows: dict[str, list[Row]], imported: dict[str, list[Row]]) -> Arrangement:
        """Names of the splits, given the rows of each, all and those that could be imported."""
        return Arrangement({split: split for split in rows}, dict(self.test_splits), {}, [])


@dataclass(frozen=True, kw_only=True)
class ImportSummary:
    """What an import did.

    Attributes:
        manifest: Of the data set, as published.
        num_rows: Rows of the source: those imported and those refused.
        elapsed_s: Wall time; None where the data set was already there.
    """

    manifest: Manifest
    num_rows: int
    elapsed_s: float | None


def import_dataset(
    importer: Importer,
    destination: str,
    *,
    strict: bool = False,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> ImportSummary:
    """Turn a source into shards at the URI ``destination``, on all cores.

    Args:
        importer: The source.
        destination: Where the data set goes; must be empty, or hold this import, interrupted.
        strict: Stop at the first row that has to be refused.
        on_rows: Called with (rows done, rows in all).

    Raises:
        DatasetError: The source or the destination is not usable; or, if ``strict``, a row is not.
    """
    started = time.monotonic()
    rows = importer.read_rows()
    num_rows = sum(map(len, rows.values()))
    fingerprint = importer.fingerprint(rows)
    there = claim_destination(destination, name=importer.name, source_fingerprint=fingerprint)
    if there is not None:
        return ImportSummary(manifest=there, num_rows=num_rows, elapsed_s=None)

    shards: dict[str, list[Future[ShardInfo]]] = {split: [] for split in rows}
    imported: dict[str, list[Row]] = {split: [] for split in rows}
    refused: list[Refusal] = []
    first_with: dict[str, Row] = {}
    done = 0
    # A shard is written while the rows of the next are read; no more than two are ever in memory.
    with _pool(importer) as pool, ThreadPoolExecutor(1) as writer:
        for split, members in rows.items():
            for part in _parts(members):
                samples: list[Sample] = []
                outcomes = pool.map(partial(_attempt, importer), part, chunksize=16)
                for row, outcome in zip(part, outcomes, strict=True):
                    if isinstance(outcome, Sample):
                        first = first_with.setdefault(outcome.image_id, row)
                        if first is not row:  # predictions are told apart by this name
                            outcome = RowError(f"the face {outcome.image_id!r} is there already, from {first.label}")
                    if isinstance(outcome, Sample):
                        samples.append(outcome)
                        imported[split].append(row)
                    elif strict:
                        pool.shutdown(cancel_futures=True)
                        raise DatasetError(f"{row.label}: {outcome} (--strict)")
                    else:
                        refused.append(Refusal(row=row.label, reason=str(outcome)))
                    done += 1
                    on_rows(done, num_rows)
                for future in (future for futures in shards.values() for future in futures):
                    future.result()
                if samples:
                    place = destination, split, len(shards[split])
                    content = samples, list(importer.attributes), importer.bordered
                    shards[split].append(writer.submit(write_shard, *place, *content))
        splits = {split: [future.result() for future in futures] for split, futures in shards.items()}
    empty = [split for split, infos in splits.items() if not infos]
    if empty:
        reason = f"; the first: {refused[0].row}: {refused[0].reason}" if refused else ""
        raise DatasetError(f"{importer.source}: no usable row for the split {empty[0]!r}{reason}")
    arrangement = importer.arrange(rows, imported)
    manifest = Manifest(
        name=importer.name,
        keypoints=importer.keypoints,
        attributes=list(importer.attributes),
        splits={arrangement.names[split]: infos for split, infos in splits.items()},
        test_splits=arrangement.test_splits,
        source=importer.source,
        source_fingerprint=fingerprint,
        licence=importer.licence,
        citation=importer.citation,
        refused=refused,
        channels=3 if importer.colour else 1,
        bordered=importer.bordered,
        unions=arrangement.unions,
        notes=arrangement.notes,
    )
    manifest = write_manifest(destination, manifest)
    return ImportSummary(manifest=manifest, num_rows=num_rows, elapsed_s=time.monotonic() - started)


def _pool(importer: Importer) -> Executor:
    num_workers = len(os.sched_getaffinity(0))
    if importer.in_processes:
        return ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("spawn"))
    return ThreadPoolExecutor(num_workers)


def _parts(rows: Sequence[Row]) -> list[Sequence[Row]]:
    return [rows[start : start + ROWS_PER_SHARD] for start in range(0, len(rows), ROWS_PER_SHARD)]


def _attempt(importer: Importer, row: Row) -> Sample | RowError:
    try:
        return importer.read_sample(row)
    except RowError as error:
        return error
