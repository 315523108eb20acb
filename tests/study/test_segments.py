from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rcn_search import storage
from rcn_search.study import segments, store
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import EpochResult, StudyError
from rcn_search.study.study import Study

NUM_TRIALS = 7


@pytest.fixture(autouse=True)
def segments_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (segments, store):
        monkeypatch.setattr(module, "SEGMENT_TRIALS", 3)


@pytest.fixture
def study(tmp_path: Path, write_study: Callable[..., str]) -> Study:
    """Seven trials; they end in another order than they began, and the last one is open."""
    config = load_study_config(write_study(budget={"trials": 20}, sampler={"name": "random"}))
    study = Study.start(str(tmp_path / "study"), config, "f")
    for _ in range(NUM_TRIALS):
        study.ask()
    for number in (1, 0, 3, 2, 5, 4):
        finish(study, number)
    return study


def finish(study: Study, number: int) -> None:
    error = 4.0 + number
    epoch = EpochResult(epoch=1, loss=1, val_error_pct=error, best_error_pct=error, train_s=1, val_s=1)
    study.report(number, [epoch], metrics={"parameters": 9.0})
    study.finish(number, "complete")


def contents(study: Study) -> list[tuple[object, object]]:
    return [(trial.record, trial.result) for trial in study.trials]


def test_finish_of_the_last_trial_of_a_segment_writes_it(study: Study) -> None:
    assert storage.list_names(f"{study.uri}/segments") == ["000000.json", "000001.json"]
    document = storage.read_json(f"{study.uri}/segments/000001.json")
    assert [record["number"] for record, _ in document["trials"]] == [3, 4, 5]


def test_open_reads_segments_instead_of_trials(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    read_bytes = storage.read_bytes
    monkeypatch.setattr(storage, "read_bytes", lambda uri, **options: read.append(uri) or read_bytes(uri, **options))
    opened = Study.open(study.uri)
    assert contents(opened) == contents(study)
    assert [uri for uri in read if "/trials/" in uri] == [
        f"{study.uri}/trials/000006/{name}.json" for name in ("trial", "result")
    ]


def test_open_of_a_study_without_segments_is_the_same_and_the_next_end_writes_them(study: Study) -> None:
    for number in (0, 1):
        Path(segments.segment_uri(study.uri, number)).unlink()
    resumed = Study(study.uri, study.config)
    assert contents(resumed) == contents(study)
    finish(resumed, resumed.ask().number)
    assert storage.list_names(f"{study.uri}/segments") == ["000000.json", "000001.json"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'"sha', b"flip"])
def test_open_with_a_damaged_segment_reads_the_trials_themselves(study: Study, damage: bytes) -> None:
    path = Path(segments.segment_uri(study.uri, 0))
    sound = path.read_bytes()
    path.write_bytes(sound.replace(b"4.0", b"1.0") if damage == b"flip" else damage)
    assert contents(Study.open(study.uri)) == contents(study)
    # As are those of a whole one that belongs elsewhere.
    path.write_bytes(Path(segments.segment_uri(study.uri, 1)).read_bytes())
    assert contents(Study.open(study.uri)) == contents(study)


def test_open_with_a_missing_trial_of_a_segment_names_it(study: Study) -> None:
    for path in (Path(study.uri) / "trials" / "000001").iterdir():
        path.unlink()
    (Path(study.uri) / "trials" / "000001").rmdir()
    assert [trial.number for trial in Study.open(study.uri).trials] == [0, 2, 3, 4, 5, 6]
    with pytest.raises(StudyError, match=r"000001/trial\.json is missing"):
        Study(study.uri, study.config)


def test_segment_beyond_the_limit_is_not_written(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MAX_SEGMENT_BYTES", 10)
    for _ in range(2):
        study.ask()
    for number in (6, 7, 8):
        finish(study, number)
    assert storage.list_names(f"{study.uri}/segments") == ["000000.json", "000001.json"]
    assert len(json.dumps([str(each) for each in contents(Study.open(study.uri))])) > 10
