"""A look is marked before it is taken, and is never taken twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from rcn_search.data.importing import import_dataset
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.leaderboard import submit
from rcn_search.reproduce.test_scores import Candidate, Scores, find_targets
from rcn_search.study.records import StudyError
from rcn_search.training.trainer import Trainer, train


@pytest.fixture(scope="module")
def checkpoint(synthetic_uri, tmp_path_factory):
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
    train(Trainer(config, out))
    return f"{out}/best.safetensors"


@pytest.fixture
def board(tmp_path):
    return tmp_path / "board"


def looks(board: Path) -> int:
    return len(list((board / "test_looks").rglob("*.json")))


def test_a_look_is_taken_once(checkpoint, synthetic_uri, board, tmp_path):
    (target,) = find_targets([synthetic_uri], [("aflw", "test")], "val")
    assert (target.split, target.place, target.is_test) == ("test", ("synthetic", "test"), True)
    scores, candidate = Scores(str(tmp_path / "study")), Candidate("000000", "a row", checkpoint)
    assert scores.find(candidate, target) is None
    first = scores.take(candidate, target, board=lambda: str(board), enter=True)
    assert len(first) == 24
    assert (looks(board), len(list((board / "entries").iterdir()))) == (1, 2)
    again = scores.take(candidate, target, board=lambda: str(board), enter=True)
    assert (again.pred_cell_nk2 == first.pred_cell_nk2).all()
    assert (looks(board), len(list((board / "entries").iterdir()))) == (1, 2)

    other = target._replace(fingerprint="of other images")
    with pytest.raises(StudyError, match="is of other images"):
        scores.take(candidate, other, board=lambda: str(board), enter=True)
    assert looks(board) == 1


def test_a_curve_is_looked_at_without_entries(checkpoint, synthetic_uri, board, tmp_path):
    (target,) = find_targets([synthetic_uri], [], "val")
    Scores(str(tmp_path)).take(Candidate("x", "x", checkpoint), target, board=lambda: str(board), enter=False)
    assert (looks(board), (board / "entries").exists()) == (1, False)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("no such weights")])
def test_a_look_that_showed_nothing_can_be_taken_again(checkpoint, synthetic_uri, board, tmp_path, monkeypatch, error):
    (target,) = find_targets([synthetic_uri], [], "val")
    scores, candidate = Scores(str(tmp_path / "study")), Candidate("000000", "a row", checkpoint)
    seen = []

    def stop(done: int, total: int) -> None:
        seen.append(scores_marked())
        raise error

    def scores_marked() -> bool:
        return (tmp_path / "study/scores/000000-synthetic-test/started.json").exists()

    with pytest.raises(error if isinstance(error, type) else type(error)):
        scores.take(candidate, target, board=lambda: str(board), enter=True, on_images=stop)
    assert seen == [True]
    assert not scores_marked()
    assert len(scores.take(candidate, target, board=lambda: str(board), enter=True)) == 24


def test_a_look_that_may_have_been_seen_is_not_taken_again(checkpoint, synthetic_uri, board, tmp_path, monkeypatch):
    (target,) = find_targets([synthetic_uri], [], "val")
    scores, candidate = Scores(str(tmp_path / "study")), Candidate("000000", "a row", checkpoint)

    def full_disk(*args, **options) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(submit, "add_entry", full_disk)
        with pytest.raises(OSError, match="no space"):
            scores.take(candidate, target, board=lambda: str(board), enter=True)
    with pytest.raises(StudyError, match="000000-synthetic-test: a look was begun and has not ended"):
        scores.take(candidate, target, board=lambda: str(board), enter=True)
    assert looks(board) == 1


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


def test_targets(mtfl_uri, synthetic_uri, tmp_path):
    afw, plain = str(tmp_path / "afw"), str(tmp_path / "plain")
    import_dataset(Afw(num_train=1, num_val=1, num_test=3), afw)
    import_dataset(Plain(num_train=2, num_val=2, num_test=2), plain)
    wanted = [("aflw", "test"), ("afw", "test")]

    def places(*uris: str) -> list[tuple]:
        return [(each.place, each.is_test) for each in find_targets(uris, wanted, "val")]

    assert places(mtfl_uri) == [(("aflw", "test"), True)]
    assert places(mtfl_uri, afw) == [(("aflw", "test"), True), (("afw", "test"), True)]
    assert places(mtfl_uri, synthetic_uri) == [(("aflw", "test"), True), (("synthetic", "test"), True)]
    assert places(plain) == [(("plain", "val"), False)]
    assert places(plain, afw) == [(("afw", "test"), True)]
    with pytest.raises(ValueError, match="both have aflw/test"):
        places(mtfl_uri, mtfl_uri)
