from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, tzinfo

import pytest

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.leaderboard import test_evaluations
from rcn_search.leaderboard.test_evaluations import load_test_evaluations, record_test_evaluation


def test_record_test_evaluation_counts_per_subset(store: str) -> None:
    def record(subset: str, who: str | None = None) -> int:
        return record_test_evaluation(store, dataset="aflw", subset=subset, method="RCN", run_id="ab12", who=who)

    before = datetime.now(UTC)
    assert [record("test"), record("test"), record("other"), record("test", who="me")] == [1, 2, 1, 3]
    num, (newest, _, oldest), _ = load_test_evaluations(store, "aflw", "test")
    assert (num, newest.who, oldest.method) == (3, "me", "RCN")
    assert "@" in oldest.who
    assert before <= oldest.when <= datetime.now(UTC)


@pytest.mark.every_store
def test_record_test_evaluation_same_clock_tick_counts_all(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class StoppedClock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime(2026, 11, 22, tzinfo=tz)

    def record(_: int) -> int:
        return record_test_evaluation(store, dataset="a", subset="b", method="m", run_id="r")

    monkeypatch.setattr(test_evaluations, "datetime", StoppedClock)
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(record, range(16)))
    folder = storage.join(store, test_evaluations.TEST_EVALUATIONS, "a-b")
    assert max(counts) == len(storage.list_names(folder)) == 16


def test_record_test_evaluation_path_in_name_is_refused(store: str) -> None:
    with pytest.raises(RcnSearchError):
        record_test_evaluation(store, dataset="../x", subset="b", method="m", run_id="r")


@pytest.mark.every_store
def test_load_test_evaluations_counts_and_names_damaged_ones(store: str) -> None:
    record_test_evaluation(store, dataset="a", subset="b", method="m", run_id="r")
    for name, content in (("9", b"{"), ("8", b"[" * 100_000), ("7", b'{"dataset": "a"}'), ("6", b"0" * 2_000_000)):
        storage.write_bytes(storage.join(store, test_evaluations.TEST_EVALUATIONS, "a-b", f"{name}.json"), content)
    num, newest, damaged = load_test_evaluations(store, "a", "b")
    assert (num, [evaluation.method for evaluation in newest]) == (5, ["m"])
    for line, name, reason in zip(
        damaged, "9876", ("valid JSON", "deeply", "Field required", "too large"), strict=True
    ):
        assert f"a-b/{name}.json " in line
        assert reason in line
