"""The journal of a `predict`: a line of JSON for each photograph, appended as it is done, from which a run is resumed.

The first line says which model and options made the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rcn_search.errors import RcnSearchError
from rcn_search.inference.photographs.record import PhotoRecord, parse_photo_record, photo_record_json

JOURNAL = "photographs.jsonl"


class Journal:
    """The journal in a folder; not more than one line is in memory at a time.

    Attributes:
        header: Model and options of the run.
        done: Names of the photographs that are recorded.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any], *, resume: bool) -> None:
        """Begin a journal, or continue the one that is there.

        Raises:
            RcnSearchError: The folder is a file; or holds a journal and ``resume`` is false; or that journal is of
                another model or other options.
        """
        if folder.exists() and not folder.is_dir():
            raise RcnSearchError(f"{folder} is a file; --out needs a folder")
        self.path = folder / JOURNAL
        self.header: dict[str, Any] = json.loads(json.dumps(header))
        self.done: set[str] = set()
        if self.path.exists():
            if not resume:
                raise RcnSearchError(f"{folder} holds predictions: continue with --resume, or name another folder")
            self._reopen()
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.header) + "\n", encoding="utf-8")

    def append(self, record: PhotoRecord) -> None:
        """Add a photograph; the line is on the disk's way before the next one is begun."""
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(photo_record_json(record) + "\n")
        self.done.add(record.image)

    def records(self) -> Iterator[PhotoRecord]:
        """Read the photographs that are recorded, in order."""
        with self.path.open(encoding="utf-8") as file:
            next(file)
            for line in file:
                yield parse_photo_record(line)

    def _reopen(self) -> None:
        """Check the header, cut off a line that was not finished, and collect the names."""
        size = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    if number == 1:
                        self._check_header(json.loads(line))
                    else:
                        self.done.add(parse_photo_record(line.decode()).image)
                except ValueError as error:
                    if isinstance(error, RcnSearchError):
                        raise
                    raise RcnSearchError(f"{self.path}, line {number} is damaged; remove it and resume again") from None
                size += len(line)
        if not size:
            self.path.write_text(json.dumps(self.header) + "\n", encoding="utf-8")
        else:
            with self.path.open("r+b") as file:
                file.truncate(size)

    def _check_header(self, header: Any) -> None:
        before = header if isinstance(header, dict) else {}
        if changed := sorted(
            key for key in self.header.keys() | before.keys() if self.header.get(key) != before.get(key)
        ):
            key = changed[0]
            raise RcnSearchError(
                f"{self.path} was made with {key} {before.get(key)!r}, not {self.header.get(key)!r}: give the same "
                "model and options, or name another folder"
            )
