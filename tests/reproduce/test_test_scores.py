"""A test evaluation is recorded before it is made, and is never made twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import import_dataset
from rcn_search.leaderboard import submit
from rcn_search.leaderboard.test_evaluations import TEST_EVALUATIONS
from rcn_search.reproduce.paper_tables import Subset
from rcn_search.reproduce.test_scores import Candidate, TestScores, find_targets
from rcn_search.study.records import StudyError
from rcn_search.training.trainer import Trainer


@pytest.fixture(scope="module")
def checkpoint(synthetic_uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights of one epoch on a few faces."""
    from rcn_search.config.schema import TrainConfig

    config = TrainConfig.model_validate(
        {
            "data": {"uri": synthetic_uri, "num_train": 16, "num_val": 4},
            "model": {"branches": 2, "channels": 8},
            "schedule": {"epochs": 1},
            "compute": {"precision": "fp32", "channels_last": False, "threads": 1},
        }
    )
    out = str(tmp_path_factory.mktemp("run") / "run")
    Trainer(config, out).train()
    return f"{out}/best.safetensors"


@pytest.fixture
def leaderboard(tmp_path: Path) -> Path:
    return tmp_path / "leaderboard"


def num_evaluations(leaderboard: Path) -> int:
    return len(list((leaderboard / TEST_EVALUATIONS).rglob("*.json")))


def test_evaluate_once_reads_the_second_time(
    checkpoint: str, synthetic_uri: str, leaderboard: Path, tmp_path: Path
) -> None:
    (target,) = find_targets([synthetic_uri], [Subset("aflw", "test")], "val")
    assert (target.split, target.subset, target.is_test) == ("test", ("synthetic", "test"), True)
    scores, candidate = TestScores(str(tmp_path / "study")), Candidate("000000", "a row", checkpoint)
    assert scores.load(candidate, target) is None
    first = scores.evaluate_once(candidate, target, leaderboard=str(leaderboard), submit=True)
    assert len(first) == 24
    assert (num_evaluations(leaderboard), len(list((leaderboard / "entries").iterdir()))) == (1, 2)
    again = scores.evaluate_once(candidate, target, leaderboard=str(leaderboard), submit=True)
    assert (again.pred_cell_nk2 == first.pred_cell_nk2).all()
    assert (num_evaluations(leaderboard), len(list((leaderboard / "entries").iterdir()))) == (1, 2)

    other = target._replace(fingerprint="of other images")
    with pytest.raises(StudyError, match="is of other images"):
        scores.evaluate_once(candidate, other, leaderboard=str(leaderboard), submit=True)
    assert num_evaluations(leaderboard) == 1


def test_evaluate_once_without_submit_adds_no_entries(
    checkpoint: str, synthetic_uri: str, leaderboard: Path, tmp_path: Path
) -> None:
    (target,) = find_targets([synthetic_uri], [], "val")
    TestScores(str(tmp_path)).evaluate_once(
        Candidate("x", "x", checkpoint), target, leaderboard=str(leaderboard), submit=False
    )
    assert (num_evaluations(leaderboard), (leaderboard / "entries").exists()) == (1, False)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("no such weights")])
def test_evaluate_once_repeats_an_evaluation_without_predictions(
    checkpoint: str, synthetic_uri: str, leaderboard: Path, tmp_path: Path, error: Any
) -> None:
    (target,) = find_targets([synthetic_uri], [], "val")
    scores, candidate = TestScores(str(tmp_path / "study")), Candidate("000000", "a row", checkpoint)
    seen = []

    def stop(done: int, total: int) -> None:
        seen.append(is_started())
        raise error

    def is_started() -> bool:
        return (tmp_path / "study/scores/000000-synthetic-test/started.json").exists()

    with pytest.raises(error if isinstance(error, type) else type(error)):
        scores.evaluate_once(candidate, target, leaderboard=str(leaderboard), submit=True, on_images=stop)
    assert seen == [True]
    assert not is_started()
    assert len(scores.evaluate_once(candidate, target, leaderboard=str(leaderboard), submit=True)) == 24


def test_evaluate_once_does_not_repeat_one_that_may_have_been_seen(
    checkpoint: str, synthetic_uri: str, leaderboard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (target,) = find_targets([synthetic_uri], [], "val")
    scores, candidate = TestScores(str(tmp_path / "study")), Candidate("000000", "a row", checkpoint)

    def full_disk(*arguments: object, **options: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(submit, "add_entry", full_disk)
        with pytest.raises(OSError, match="no space"):
            scores.evaluate_once(candidate, target, leaderboard=str(leaderboard), submit=True)
    with pytest.raises(StudyError, match="000000-synthetic-test: an evaluation was started and has not ended"):
        scores.evaluate_once(candidate, target, leaderboard=str(leaderboard), submit=True)
    assert num_evaluations(leaderboard) == 1


class Afw(SyntheticImporter):
    """Other drawn faces, by the name of AFW."""

    name = "afw"
    test_splits = {"test": "afw/test"}  # noqa: RUF012
    in_processes = False


class Plain(SyntheticImporter):
    """Drawn faces without a test."""

    name = "plain"
    test_splits = {}  # noqa: RUF012
    in_processes = False


def test_find_targets_prefers_wanted_test_subsets(mtfl_uri: str, synthetic_uri: str, tmp_path: Path) -> None:
    afw, plain = str(tmp_path / "afw"), str(tmp_path / "plain")
    import_dataset(Afw(num_train=1, num_val=1, num_test=3), afw)
    import_dataset(Plain(num_train=2, num_val=2, num_test=2), plain)
    wanted = [Subset("aflw", "test"), Subset("afw", "test")]

    def subsets(*uris: str) -> list[tuple[Subset, bool]]:
        return [(target.subset, target.is_test) for target in find_targets(uris, wanted, "val")]

    assert subsets(mtfl_uri) == [(("aflw", "test"), True)]
    assert subsets(mtfl_uri, afw) == [(("aflw", "test"), True), (("afw", "test"), True)]
    assert subsets(mtfl_uri, synthetic_uri) == [(("aflw", "test"), True), (("synthetic", "test"), True)]
    assert subsets(plain) == [(("plain", "val"), False)]
    assert subsets(plain, afw) == [(("afw", "test"), True)]
    with pytest.raises(ValueError, match="both have aflw/test"):
        subsets(mtfl_uri, mtfl_uri)
