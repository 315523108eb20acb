from __future__ import annotations

from pathlib import Path

import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.inference.photographs.journal import Journal
from rcn_search.inference.photographs.record import FaceRecord, PhotoRecord

FACE = FaceRecord(box=(0, 0, 9, 9), score=None, points=[(0.1, 1.5)], confidence=[0.25], radius=None)
RECORDS = [
    PhotoRecord(image="a.jpg", width=9, height=8, faces=[FACE]),
    PhotoRecord(image="b.jpg", width=9, height=8),
    PhotoRecord(image="c.jpg", error="no photograph"),
]
HEADER = {"run_id": "r", "decoder": "argmax"}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A journal of three photographs."""
    journal = Journal(tmp_path / "out", HEADER, resume=False)
    for record in RECORDS:
        journal.append(record)
    return journal


def test_journal_gives_back_what_was_recorded(journal: Journal) -> None:
    assert list(journal.records()) == RECORDS
    assert journal.done == {"a.jpg", "b.jpg", "c.jpg"}


def test_journal_resumed_drops_a_line_that_was_not_finished(journal: Journal) -> None:
    content = journal.path.read_bytes()
    for cut in (1, 20):
        journal.path.write_bytes(content[:-cut])
        resumed = Journal(journal.path.parent, HEADER, resume=True)
        assert resumed.done == {"a.jpg", "b.jpg"}
        resumed.append(RECORDS[2])
        assert journal.path.read_bytes() == content


def test_journal_killed_before_its_header_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "photographs.jsonl").write_text('{"run')
    journal = Journal(tmp_path, HEADER, resume=True)
    journal.append(RECORDS[0])
    assert list(Journal(tmp_path, HEADER, resume=True).records()) == RECORDS[:1]


def test_journal_of_other_options_or_without_resume_is_refused(journal: Journal) -> None:
    folder = journal.path.parent
    with pytest.raises(RcnSearchError, match="was made with decoder 'argmax', not 'median': give the same model"):
        Journal(folder, HEADER | {"decoder": "median"}, resume=True)
    with pytest.raises(RcnSearchError, match="holds predictions: continue with --resume"):
        Journal(folder, HEADER, resume=False)
    journal.path.write_bytes(journal.path.read_bytes().replace(b'"b.jpg"', b"b.jpg"))
    with pytest.raises(RcnSearchError, match="line 3 is damaged"):
        Journal(folder, HEADER, resume=True)


def test_journal_in_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(RcnSearchError, match="out is a file; --out needs a folder"):
        Journal(tmp_path / "out", HEADER, resume=False)
