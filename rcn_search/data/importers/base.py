"""What every importer shares: a published data set's rows, turned into shards on all cores, each row accounted for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from rcn_search.data.shards import (
    ROWS_PER_SHARD,
    DatasetError,
    Manifest,
    Refusal,
    Sample,
    ShardInfo,
    claim_destination,
    write_manifest,
    write_shard,
)


class Row(NamedTuple):
    """A line of an annotation file."""

    file: str
    line: int
    text: str

    @property
    def label(self) -> str:
        """What a person looks for: file, line and the start of its text."""
        return f"{self.file}:{self.line} {self.text.split(' ')[0][:80]}".rstrip()


class RowError(ValueError):
    """A row that cannot be imported, and why."""


class Importer(Protocol):
    """One published format: a module of this package with these names."""

    NAME: str
    KEYPOINTS: str
    ATTRIBUTES: list[str]
    TEST_SPLITS: dict[str, str]
    SOURCE: str
    LICENCE: str
    CITATION: str

    def read_rows(self, source: Path) -> dict[str, list[Row]]:
        """Rows of each split, in the order they are stored."""

    def read_sample(self, source: Path, row: Row) -> Sample:
        """One face, or `RowError`."""

    def source_fingerprint(self, rows: dict[str, list[Row]]) -> str:
        """Hash of the annotations and of the rules of the importer."""


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
    source: Path,
    destination: str,
    *,
    strict: bool = False,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> ImportSummary:
    """Import ``source`` into shards at the URI ``destination``.

    Threads, not processes: Pillow decodes and resizes outside the interpreter lock.

    Args:
        importer: The format.
        source: The published folder.
        destination: Where the data set goes; must be empty, or hold an interrupted import.
        strict: Stop at the first row that has to be refused.
        on_rows: Called with (rows done, rows in all).

    Raises:
        DatasetError: The source or the destination is not usable; or, if ``strict``, a row is not.
    """
    started = time.monotonic()
    rows = importer.read_rows(source)
    num_rows = sum(map(len, rows.values()))
    fingerprint = importer.source_fingerprint(rows)
    there = claim_destination(destination, name=importer.NAME, source_fingerprint=fingerprint)
    if there is not None:
        return ImportSummary(manifest=there, num_rows=num_rows, elapsed_s=None)

    splits: dict[str, list[ShardInfo]] = {}
    refused: list[Refusal] = []
    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for split, members in rows.items():
            splits[split] = []
            for part in _parts(members):
                samples: list[Sample] = []
                for row, outcome in zip(part, pool.map(partial(_attempt, importer, source), part), strict=True):
                    if isinstance(outcome, Sample):
                        samples.append(outcome)
                    elif strict:
                        pool.shutdown(cancel_futures=True)
                        raise DatasetError(f"{row.label}: {outcome} (--strict)")
                    else:
                        refused.append(Refusal(row=row.label, reason=str(outcome)))
                    done += 1
                    on_rows(done, num_rows)
                if samples:
                    index = len(splits[split])
                    splits[split].append(write_shard(destination, split, index, samples, importer.ATTRIBUTES))
    empty = [split for split, shards in splits.items() if not shards]
    if empty:
        reason = f"; the first: {refused[0].row}: {refused[0].reason}" if refused else ""
        raise DatasetError(f"{source}: no usable row for the split {empty[0]!r}{reason}")
    manifest = Manifest(
        name=importer.NAME,
        keypoints=importer.KEYPOINTS,
        attributes=importer.ATTRIBUTES,
        splits=splits,
        test_splits=importer.TEST_SPLITS,
        source=importer.SOURCE,
        source_fingerprint=fingerprint,
        licence=importer.LICENCE,
        citation=importer.CITATION,
        refused=refused,
    )
    write_manifest(destination, manifest)
    return ImportSummary(manifest=manifest, num_rows=num_rows, elapsed_s=time.monotonic() - started)


def _parts(rows: Sequence[Row]) -> list[Sequence[Row]]:
    return [rows[start : start + ROWS_PER_SHARD] for start in range(0, len(rows), ROWS_PER_SHARD)]


def _attempt(importer: Importer, source: Path, row: Row) -> Sample | RowError:
    try:
        return importer.read_sample(source, row)
    except RowError as error:
        return error
