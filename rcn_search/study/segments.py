"""Segments: copies of the records of 512 ended trials in one object, so that a large study is read in few requests.

    STUDY/segments/000001.json   trials 512 to 1023

The search process writes a segment once all its trials have ended, put-if-absent. What it copies stays where it is: a
study without segments is read from there, and so are trials whose segment is damaged. That shows in the SHA-256 of the
trials with which a segment begins, so its records need not be checked as thoroughly as one that might have been edited.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict

from pydantic import TypeAdapter, ValidationError

from rcn_search import storage
from rcn_search.study.records import CHECKED, TrialRecord, TrialResult

SEGMENT_TRIALS = 512
MAX_SEGMENT_BYTES = 32 * 2**20
"""Trials of thousands of epochs are not copied."""
_SEGMENTS = "segments"
_TRIALS = TypeAdapter(tuple[tuple[TrialRecord, TrialResult], ...])
_HEAD, _TRIALS_KEY = b'{"sha256":"', b'","trials":'
_START = len(_HEAD) + 64 + len(_TRIALS_KEY)
Ended = tuple[TrialRecord, TrialResult]


def segment_uri(study_uri: str, number: int) -> str:
    """URI of a segment, counted from 0."""
    return storage.join(study_uri, _SEGMENTS, f"{number:06d}.json")


def list_segments(study_uri: str) -> set[int]:
    """List the numbers of the segments of a study."""
    names = storage.list_names(storage.join(study_uri, _SEGMENTS))
    stems = (name.removesuffix(".json") for name in names)
    return {int(stem) for stem in stems if stem.isdecimal() and len(stem) == 6}


def read_segment(study_uri: str, number: int) -> tuple[Ended, ...] | None:
    """Read the trials of a segment; None if it is gone or damaged."""
    try:
        content = storage.read_bytes(segment_uri(study_uri, number), max_bytes=MAX_SEGMENT_BYTES)
        if content[:_START] != _head(content[_START:-1]):
            return None
        trials = _TRIALS.validate_json(content[_START:-1], context=CHECKED)
    except (FileNotFoundError, ValidationError):
        return None
    except storage.StorageError as error:
        if isinstance(error, OSError):
            raise
        return None
    first = number * SEGMENT_TRIALS
    numbers = [record.number for record, _ in trials]
    return trials if numbers == list(range(first, first + SEGMENT_TRIALS)) else None


def _head(trials: bytes) -> bytes:
    return _HEAD + hashlib.sha256(trials).hexdigest().encode() + _TRIALS_KEY


class SegmentWriter:
    """Collects ended trials of one study, and gives out the segments that are complete and not written yet."""

    def __init__(self) -> None:
        self._ended: dict[int, dict[int, Ended]] = defaultdict(dict)
        self._complete: set[int] = set()

    def add(self, record: TrialRecord, result: TrialResult) -> None:
        """Add a trial that has ended."""
        number = record.number // SEGMENT_TRIALS
        self._ended[number][record.number] = record, result
        if len(self._ended[number]) == SEGMENT_TRIALS:
            self._complete.add(number)

    def write(self, study_uri: str) -> None:
        """Write the complete segments."""
        while self._complete:
            number = self._complete.pop()
            ended = self._ended.pop(number)
            trials = _TRIALS.dump_json(tuple(ended[each] for each in sorted(ended)))
            content = _head(trials) + trials + b"}"
            if len(content) <= MAX_SEGMENT_BYTES:
                try:
                    storage.write_bytes(segment_uri(study_uri, number), content, if_absent=True)
                except storage.ObjectExistsError:  # a damaged one, or that of a process which holds the lease no more
                    continue
