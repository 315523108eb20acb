"""The best trials are trained again with other seeds, and by these the winner is named, entered, or said to be tied."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console

from rcn_search.config.loading import ConfigError
from rcn_search.leaderboard.table import build_leaderboard
from rcn_search.search import replication as module
from rcn_search.search import run_search as driver
from rcn_search.search.replication import choose_candidates, run_replication, validation_errors
from rcn_search.search.run_search import SearchResult, run_search
from rcn_search.study.loading import load_space
from rcn_search.study.records import Epoch, StudyError
from rcn_search.study.space.study_config import Replicate
from rcn_search.study.study import Study
from rcn_search.study.winner import read_winner

NUM_SEEDS = 2


def study_file(folder: Path, data_uri: str, **changes) -> str:
    """Three trials: two good ones, and between them one that learns nothing."""
    document = {
        "study": {"name": "tiny"},
        "base": {
            "data": {"uri": data_uri},
            "model": {"name": "rcn", "branches": 2, "channels": 8},
            "augment": {"translate": 0.0, "scale": 0.0, "rotate_deg": 0.0, "occluder": {"min_px": 0, "max_px": 0}},
            "schedule": {"batch_size": 16},
            "compute": {"precision": "fp32", "channels_last": False},
            "seed": 7,
        },
        "search": {"optimizer.lr": {"float": [1e-7, 1e-1], "log": True}},
        "initial_trials": [{"optimizer.lr": lr} for lr in (1e-2, 1e-7, 2e-2)],
        "budget": {"trials": 3, "epochs": 2, "max_concurrent": 1},
        "scheduler": {"name": "none"},
        "sampler": {"name": "random"},
        "replication": {"top": 2, "seeds": NUM_SEEDS},
        "test": {"split": "test", "method": "the winner of three"},
        **changes,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


@pytest.fixture
def finished(synthetic_uri, tmp_path):
    """Make a study whose trials have ended with these errors, None where one failed; nothing of it was trained."""

    def make(errors_pct: list[float | None], **changes) -> Study:
        space = load_space(study_file(tmp_path, synthetic_uri, **changes))
        study = Study.create(str(tmp_path / "study"), space, data_fingerprint="drawn")
        run_all(study, errors_pct)
        return study

    return make


def run_all(study: Study, errors_pct: list[float | None]) -> None:
    for error_pct in errors_pct:
        number = study.ask().number
        if error_pct is None:
            study.finish(number, "failed", reason="the loss became nan")
            continue
        epoch = Epoch(
            epoch=1, loss=1.0, val_error_pct=error_pct, best_error_pct=error_pct, train_s=1.0, val_s=1.0, other_s=0.0
        )
        study.report(number, [epoch])
        study.finish(number, "complete")


def points(*rates: float) -> dict:
    return {"initial_trials": [{"optimizer.lr": lr} for lr in rates], "budget": {"trials": len(rates), "epochs": 1}}


class Killed(BaseException):
    """As if the process had ended there."""


class Board:
    """Gives a board's URI; or is the death of the driver, once the first seed is entered."""

    def __init__(self, folder: Path, *, dies: bool = False) -> None:
        self.uri, self.dies, self.score = str(folder / "board"), dies, folder / "study" / "test/seed-8/score.json"

    def __call__(self) -> str:
        if self.dies and self.score.exists():
            raise Killed
        return self.uri

    @property
    def entries(self) -> list[str]:
        return sorted(path.name for path in Path(self.uri, "entries").glob("*.json"))

    @property
    def num_looks(self) -> int:
        return len(list(Path(self.uri, "test_looks").rglob("*.json")))


def search(path: str, folder: Path, board: Board, *, resume: bool = False) -> tuple[SearchResult, str]:
    text = io.StringIO()
    result = run_search(
        path,
        study_uri=str(folder / "study"),
        resume=resume,
        board=board,
        console=Console(file=text, width=160),
    )
    return result, text.getvalue()


def test_a_search_whose_winner_is_named_by_other_seeds_through_every_kill(
    ray_cluster, synthetic_uri, tmp_path, monkeypatch
):
    path, board = study_file(tmp_path, synthetic_uri), Board(tmp_path)
    study_uri, replication_uri = str(tmp_path / "study"), str(tmp_path / "study" / "replication")

    # Killed when the search is over and no replicate has begun.
    def killed(*args, **options):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(driver, "replicate", killed)
        with pytest.raises(Killed):
            search(path, tmp_path, board)
    assert not Path(replication_uri).exists()
    searched = Study.open(study_uri)
    assert [trial.state for trial in searched.trials] == ["complete"] * 3
    first, second = choose_candidates(searched, 2)
    assert {first.number, second.number} == {0, 2}

    # Killed at the second of the two looks.
    with pytest.raises(Killed):
        search(path, tmp_path, Board(tmp_path, dies=True), resume=True)
    replication = Study.open(replication_uri)
    trained = [(trial.suggestion.params["run"], trial.suggestion.config.seed) for trial in replication.trials]
    assert trained == [
        (f"trial-{trial.number:06d}", seed) for trial in (first, second) for seed in range(8, 8 + NUM_SEEDS)
    ]
    for trial in replication.trials:
        chosen = searched.trials[int(trial.suggestion.params["run"].removeprefix("trial-"))].suggestion.config
        assert trial.suggestion.config == chosen.model_copy(update={"seed": trial.suggestion.config.seed})
        assert trial.state == "complete"
        errors_n = validation_errors(replication.space, trial)
        assert errors_n.mean() == pytest.approx(trial.error_pct, rel=1e-5)

    winner = read_winner(study_uri)
    assert winner is not None
    by_trial = {
        number: [each.error_pct for each in replication.trials if int(each.suggestion.params["run"][-6:]) == number]
        for number in (first.number, second.number)
    }
    means = {number: sum(errors) / NUM_SEEDS for number, errors in by_trial.items()}
    assert winner.trial == min(means, key=means.__getitem__)
    best, other = winner.candidates
    assert [each.error_pct for each in best.runs] == by_trial[winner.trial]
    assert other.minus_winner_pct == pytest.approx(means[other.trial] - means[winner.trial], rel=1e-4)
    assert winner.num_images == 24
    before = Path(study_uri, "winner.json").read_bytes()

    entered = board.entries
    assert len(entered) == 2, "one seed under two protocols"
    assert board.num_looks == 1
    result, text = search(path, tmp_path, board, resume=True)
    assert result.winner == winner
    assert Path(study_uri, "winner.json").read_bytes() == before
    assert f"trial {winner.trial} wins" in text
    assert board.num_looks == NUM_SEEDS
    assert set(entered) < set(board.entries)
    rows = [row for each in build_leaderboard(board.uri).tables for row in each.rows if row.method == "the winner of three"]
    errors = sorted(round(row.error_pct, 6) for row in rows)
    assert errors == sorted(
        round(error, 6) for each in result.test_result.seeds.values() for error in each.errors_pct.values()
    )
    assert list(result.test_result.seeds) == [8, 9]
    assert result.test_result.trial == winner.trial
    assert result.test_result.errors_pct["rcn2016"] == pytest.approx(
        sum(each.errors_pct["rcn2016"] for each in result.test_result.seeds.values()) / NUM_SEEDS
    )

    # At its end nothing happens again.
    again, _ = search(path, tmp_path, board, resume=True)
    assert again.test_result == result.test_result
    assert board.num_looks == NUM_SEEDS
    assert len(board.entries) == 2 * NUM_SEEDS


def test_the_best_complete_and_different_trials_are_replicated(finished):
    study = finished([5.0, None, 4.0, 4.5, 4.0], **points(1e-2, 2e-2, 3e-2, 4e-2, 3e-2))
    assert [trial.number for trial in choose_candidates(study, 3)] == [2, 3, 0], "the fifth is the third again"
    assert [trial.number for trial in choose_candidates(study, 2)] == [2, 3]


def named(study: Study, replicates_pct: list[float | None], monkeypatch) -> tuple[str, Study]:
    """Name the winner where the replicates end so, and all images of one are alike but for noise; what is printed."""
    groups_n = np.array([f"face{index}" for index in range(200)])
    noise_n = np.random.default_rng(0).normal(0, 1, (10, 200))
    noise_n -= noise_n.mean(axis=1, keepdims=True)
    monkeypatch.setattr(module, "validation_errors", lambda space, trial: trial.error_pct + noise_n[trial.number])
    monkeypatch.setattr(module, "_validation_groups", lambda space: groups_n)
    ran: list[Study] = []

    def run(replication: Study) -> None:
        run_all(replication, replicates_pct)
        ran.append(replication)

    text = io.StringIO()
    run_replication(study, check=lambda: None, run=run, console=Console(file=text, width=160))
    return text.getvalue(), ran[0]


def test_the_winner_is_the_best_by_fresh_seeds_not_by_the_one_it_was_chosen_by(finished, monkeypatch):
    study = finished([4.0, 4.2, 9.0], **points(1e-2, 2e-2, 3e-2))
    text, _ = named(study, [6.0, 6.1, 5.0, 5.1], monkeypatch)
    winner = read_winner(study.uri)
    assert winner is not None
    assert (winner.trial, winner.is_tied) == (1, False)
    assert [each.trial for each in winner.candidates] == [1, 0]
    assert winner.candidates[1].minus_winner_pct == pytest.approx(1.0)
    assert [each.seed for each in winner.runs] == [8, 9]
    assert text.startswith("trial 1 wins: 5.05 % over 2 other seeds\n")
    assert "tied" not in text


def test_a_tie_is_called_one(finished, monkeypatch, cli):
    study = finished([4.0, 4.2, 9.0], **points(1e-2, 2e-2, 3e-2))
    text, _ = named(study, [5.01, 5.11, 5.0, 5.1], monkeypatch)
    winner = read_winner(study.uri)
    assert winner is not None
    assert (winner.trial, winner.is_tied) == (1, True)
    low, high = winner.candidates[1].interval_pct
    assert low < 0 < high
    assert "trial 1 wins: 5.05 % over 2 other seeds, tied with trial 0" in text
    for command in ("show", "best"):
        assert "tied with trial 0" in cli.run("study", command, study.uri)
    assert "trial 1, complete" in cli.run("study", "best", study.uri)


def test_a_trial_of_which_a_seed_failed_does_not_win(finished, monkeypatch):
    study = finished([4.0, 4.2, 9.0], **points(1e-2, 2e-2, 3e-2))
    text, _ = named(study, [1.0, None, 5.0, 5.1], monkeypatch)
    winner = read_winner(study.uri)
    assert winner is not None
    assert (winner.trial, winner.is_tied) == (1, False)
    assert winner.candidates[1].error_pct is None
    assert "a seed failed" in text


def test_where_every_trial_failed_with_some_seed_there_is_no_winner(finished, monkeypatch):
    study = finished([4.0, 4.2, 9.0], **points(1e-2, 2e-2, 3e-2))
    with pytest.raises(StudyError, match=r"got through all its seeds, .*: the loss became nan\. See"):
        named(study, [None, 5.0, 5.0, None], monkeypatch)
    assert read_winner(study.uri) is None


def test_the_rows_are_chosen_once_and_more_seeds_can_be_asked_for_until_the_winner_is_named(finished, monkeypatch):
    study = finished([4.0, 4.2, 9.0], **points(1e-2, 2e-2, 3e-2))

    def killed(replication: Study) -> None:
        run_all(replication, [5.0])
        raise Killed

    with pytest.raises(Killed):
        run_replication(study, check=lambda: None, run=killed, console=Console(file=io.StringIO()))
    more = study.space.model_copy(update={"replication": Replicate(top=1, seeds=3)})
    _, replication = named(Study(study.uri, more), [5.1, 5.2, 5.0, 5.1, 5.4], monkeypatch)
    assert len(replication.trials) == 6
    winner = read_winner(study.uri)
    assert winner is not None
    assert [len(each.runs) for each in winner.candidates] == [3, 3]


def test_show_says_how_far_the_replicates_are(finished, cli):
    study = finished([4.0, 4.2, 9.0], **points(1e-2, 2e-2, 3e-2))
    assert "replication" not in cli.run("study", "show", study.uri)

    def killed(replication: Study) -> None:
        run_all(replication, [5.0])
        raise Killed

    with pytest.raises(Killed):
        run_replication(study, check=lambda: None, run=killed, console=Console(file=io.StringIO()))
    assert "replication 1 of 4 trials ended" in cli.run("study", "show", study.uri)


def test_a_study_may_ask_for_replication_when_it_is_gone_on_with(synthetic_uri, tmp_path):
    without = load_space(study_file(tmp_path, synthetic_uri), overrides=["replication=null"])
    Study.create(str(tmp_path / "study"), without, data_fingerprint="drawn")
    assert "replicate" not in json.dumps(json.loads((tmp_path / "study" / "study.json").read_text()))
    Study.check(str(tmp_path / "study"), load_space(study_file(tmp_path, synthetic_uri)), "drawn")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replication": {"seeds": 1}}, "seeds"),
        ({"scheduler": {"name": "pbt", "perturbation_interval_epochs": 1}}, "a trial of scheduler pbt is a chapter"),
        ({"test": {"split": "test", "method": "x", "retrain": {"schedule.epochs": 3}}}, "it is the replicates that"),
    ],
)
def test_what_cannot_be_replicated_is_said_before_anything_starts(synthetic_uri, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_space(study_file(tmp_path, synthetic_uri, **changes))


def test_rows_are_not_replicated(synthetic_uri, tmp_path):
    document = yaml.safe_load(Path(study_file(tmp_path, synthetic_uri)).read_text())
    for section in ("search", "initial_trials", "sampler", "test"):
        del document[section]
    path = tmp_path / "rows.yaml"
    path.write_text(yaml.safe_dump({**document, "runs": {"one": {}}, "budget": {"epochs": 1}}))
    with pytest.raises(ConfigError, match="replication belongs to a search"):
        load_space(str(path))
