"""Replication: the best trials are trained again with other seeds, which decide the winner."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

from rcn_search.config.errors import ConfigError
from rcn_search.leaderboard import submit
from rcn_search.leaderboard.table import build_leaderboard
from rcn_search.leaderboard.test_evaluations import TEST_EVALUATIONS
from rcn_search.search import replication as module
from rcn_search.search import run_search
from rcn_search.search.replication import choose_candidates, run_replication, validation_errors
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import EpochResult, StudyError
from rcn_search.study.space.sections import ReplicationConfig
from rcn_search.study.study import Study
from rcn_search.study.winner import read_winner
from tests.conftest import CommandLine
from tests.support.searches import search, tiny_base, write_tiny_study

NUM_SEEDS = 2


def write_replicated_study(folder: Path, data_uri: str, **changes: Any) -> str:
    """Write a study of three trials: two good ones, and between them one that learns nothing."""
    return write_tiny_study(
        folder,
        data_uri,
        **{
            "base": {**tiny_base(data_uri), "seed": 7},
            "search": {"optimizer.lr": {"float": [1e-7, 1e-1], "log": True}},
            "initial_trials": [{"optimizer.lr": lr} for lr in (1e-2, 1e-7, 2e-2)],
            "budget": {"trials": 3, "epochs": 2, "max_concurrent": 1},
            "scheduler": {"name": "none"},
            "replication": {"top": 2, "seeds": NUM_SEEDS},
            "test": {"split": "test", "method": "the winner of three"},
            **changes,
        },
    )


@pytest.fixture
def finished(synthetic_uri, tmp_path):
    """Make a study whose trials have ended with these errors, None where one failed; nothing of it was trained."""

    def make(errors_pct: list[float | None], **changes) -> Study:
        space = load_study_config(write_replicated_study(tmp_path, synthetic_uri, **changes))
        study = Study.start(str(tmp_path / "study"), space, "drawn")
        run_all(study, errors_pct)
        return study

    return make


def run_all(study: Study, errors_pct: list[float | None]) -> None:
    for error_pct in errors_pct:
        number = study.ask().number
        if error_pct is None:
            study.finish(number, "failed", reason="the loss became nan")
            continue
        epoch = EpochResult(
            epoch=1, loss=1.0, val_error_pct=error_pct, best_error_pct=error_pct, train_s=1.0, val_s=1.0, other_s=0.0
        )
        study.report(number, [epoch])
        study.finish(number, "complete")


def initial_trials(*rates: float) -> dict:
    return {"initial_trials": [{"optimizer.lr": lr} for lr in rates], "budget": {"trials": len(rates), "epochs": 1}}


class Killed(BaseException):
    """As if the process had ended there."""


def leaderboard_entries(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "board/entries").glob("*.json"))


def num_test_evaluations(folder: Path) -> int:
    return len(list((folder / "board" / TEST_EVALUATIONS).rglob("*.json")))


def die_after_first_seed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the process die when it is about to evaluate the second seed on the test split."""
    evaluate_and_record = submit.evaluate_and_record

    def evaluate_or_die(*arguments: Any, **options: Any) -> submit.Submission:
        if (folder / "study/test/seed-8/score.json").exists():
            raise Killed
        return evaluate_and_record(*arguments, **options)

    monkeypatch.setattr(submit, "evaluate_and_record", evaluate_or_die)


def test_run_search_with_replication_resumes_after_every_kill(
    ray_cluster: None, synthetic_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_replicated_study(tmp_path, synthetic_uri)
    study_uri, replication_uri = str(tmp_path / "study"), str(tmp_path / "study" / "replication")

    # Killed when the search is over and no replicate has begun.
    def killed(*args, **options):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(run_search, "run_replication", killed)
        with pytest.raises(Killed):
            search(path, tmp_path)
    assert not Path(replication_uri).exists()
    searched = Study.open(study_uri)
    assert [trial.state for trial in searched.trials] == ["complete"] * 3
    first, second = choose_candidates(searched, 2)
    assert {first.number, second.number} == {0, 2}

    # Killed before the second of the two test evaluations.
    with monkeypatch.context() as patch:
        die_after_first_seed(patch, tmp_path)
        with pytest.raises(Killed):
            search(path, tmp_path, resume=True)
    replication = Study.open(replication_uri)
    trained = [(trial.params["run"], trial.config.seed) for trial in replication.trials]
    assert trained == [
        (f"trial-{trial.number:06d}", seed) for trial in (first, second) for seed in range(8, 8 + NUM_SEEDS)
    ]
    for trial in replication.trials:
        chosen = searched.trials[int(trial.params["run"].removeprefix("trial-"))].config
        assert trial.config == chosen.model_copy(update={"seed": trial.config.seed})
        assert trial.state == "complete"
        errors_n = validation_errors(replication.config, trial)
        assert errors_n.mean() == pytest.approx(trial.error_pct, rel=1e-5)

    winner = read_winner(study_uri, 4)
    assert winner is not None
    by_trial = {
        number: [each.error_pct for each in replication.trials if int(each.params["run"][-6:]) == number]
        for number in (first.number, second.number)
    }
    means = {number: sum(errors) / NUM_SEEDS for number, errors in by_trial.items()}
    assert winner.trial == min(means, key=means.__getitem__)
    best, other = winner.candidates
    assert [each.error_pct for each in best.runs] == by_trial[winner.trial]
    assert other.minus_winner_pct == pytest.approx(means[other.trial] - means[winner.trial], rel=1e-4)
    assert winner.num_images == 24
    before = Path(study_uri, "winner.json").read_bytes()

    entered = leaderboard_entries(tmp_path)
    assert len(entered) == 2, "one seed under two protocols"
    assert num_test_evaluations(tmp_path) == 1
    result, text = search(path, tmp_path, resume=True)
    assert result.winner == winner
    assert Path(study_uri, "winner.json").read_bytes() == before
    assert f"trial {winner.trial} wins" in text
    assert num_test_evaluations(tmp_path) == NUM_SEEDS
    assert set(entered) < set(leaderboard_entries(tmp_path))
    rows = [
        row
        for each in build_leaderboard(str(tmp_path / "board")).tables
        for row in each.rows
        if row.method == "the winner of three"
    ]
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
    again, _ = search(path, tmp_path, resume=True)
    assert again.test_result == result.test_result
    assert num_test_evaluations(tmp_path) == NUM_SEEDS
    assert len(leaderboard_entries(tmp_path)) == 2 * NUM_SEEDS


def test_choose_candidates_takes_the_best_complete_distinct_trials(finished: Callable[..., Study]) -> None:
    study = finished([5.0, None, 4.0, 4.5, 4.0], **initial_trials(1e-2, 2e-2, 3e-2, 4e-2, 3e-2))
    assert [trial.number for trial in choose_candidates(study, 3)] == [2, 3, 0], "the fifth is the third again"
    assert [trial.number for trial in choose_candidates(study, 2)] == [2, 3]


def test_choose_candidates_with_baseline_adds_the_first_initial_trial_even_if_pruned(
    finished: Callable[..., Study],
) -> None:
    study = finished([5.0, 6.0, 4.0], **initial_trials(1e-2, 2e-2, 3e-2))
    assert [trial.number for trial in choose_candidates(study, 1, with_baseline=True)] == [2, 0]
    assert [trial.number for trial in choose_candidates(study, 2, with_baseline=True)] == [2, 0], "it is the second"
    first = study.trials[0]
    assert first.result is not None
    first.result = first.result.model_copy(update={"state": "pruned"})
    assert [trial.number for trial in choose_candidates(study, 2, with_baseline=True)] == [2, 1, 0]


def choose_winner(study: Study, replicates_pct: list[float | None], monkeypatch) -> tuple[str, Study]:
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


def test_run_replication_chooses_the_winner_by_new_seeds_only(
    finished: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = finished([4.0, 4.2, 9.0], **initial_trials(1e-2, 2e-2, 3e-2))
    text, _ = choose_winner(study, [6.0, 6.1, 5.0, 5.1], monkeypatch)
    winner = read_winner(study.uri, study.num_trials)
    assert winner is not None
    assert (winner.trial, winner.is_tied) == (1, False)
    assert [each.trial for each in winner.candidates] == [1, 0]
    assert winner.candidates[1].minus_winner_pct == pytest.approx(1.0)
    assert [each.seed for each in winner.runs] == [8, 9]
    assert text.startswith("trial 1 wins: 5.05 % over 2 new seeds\n")
    assert "tied" not in text


def test_run_replication_without_a_significant_difference_reports_a_tie(
    finished: Callable[..., Study], monkeypatch: pytest.MonkeyPatch, cli: CommandLine
) -> None:
    study = finished([4.0, 4.2, 9.0], **initial_trials(1e-2, 2e-2, 3e-2))
    text, _ = choose_winner(study, [5.01, 5.11, 5.0, 5.1], monkeypatch)
    winner = read_winner(study.uri, study.num_trials)
    assert winner is not None
    assert (winner.trial, winner.is_tied) == (1, True)
    low, high = winner.candidates[1].interval_pct
    assert low < 0 < high
    assert "trial 1 wins: 5.05 % over 2 new seeds, tied with trial 0" in text
    for command in ("status", "best"):
        assert "tied with trial 0" in cli.run("study", command, study.uri)
    assert "trial 1, complete" in cli.run("study", "best", study.uri)


def test_run_replication_candidate_with_a_failed_seed_does_not_win(
    finished: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = finished([4.0, 4.2, 9.0], **initial_trials(1e-2, 2e-2, 3e-2))
    text, _ = choose_winner(study, [1.0, None, 5.0, 5.1], monkeypatch)
    winner = read_winner(study.uri, study.num_trials)
    assert winner is not None
    assert (winner.trial, winner.is_tied) == (1, False)
    assert winner.candidates[1].error_pct is None
    assert "1 of 2" in text
    assert "failed" in text


def test_run_replication_without_a_candidate_that_completes_all_seeds_raises(
    finished: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = finished([4.0, 4.2, 9.0], **initial_trials(1e-2, 2e-2, 3e-2))
    with pytest.raises(StudyError, match=r"completed all its seeds, .*: the loss became nan\. See"):
        choose_winner(study, [None, 5.0, 5.0, None], monkeypatch)
    assert read_winner(study.uri, study.num_trials) is None


def test_run_replication_resumed_keeps_its_candidates_and_accepts_more_seeds(
    finished: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = finished([4.0, 4.2, 9.0], **initial_trials(1e-2, 2e-2, 3e-2))

    def killed(replication: Study) -> None:
        run_all(replication, [5.0])
        raise Killed

    with pytest.raises(Killed):
        run_replication(study, check=lambda: None, run=killed, console=Console(file=io.StringIO()))
    more = study.config.model_copy(update={"replication": ReplicationConfig(top=1, seeds=3)})
    _, replication = choose_winner(Study(study.uri, more), [5.1, 5.2, 5.0, 5.1, 5.4], monkeypatch)
    assert len(replication.trials) == 6
    winner = read_winner(study.uri, study.num_trials)
    assert winner is not None
    assert [len(each.runs) for each in winner.candidates] == [3, 3]


def test_study_status_shows_the_progress_of_replication(finished: Callable[..., Study], cli: CommandLine) -> None:
    study = finished([4.0, 4.2, 9.0], **initial_trials(1e-2, 2e-2, 3e-2))
    assert "replication" not in cli.run("study", "status", study.uri)

    def killed(replication: Study) -> None:
        run_all(replication, [5.0])
        raise Killed

    with pytest.raises(Killed):
        run_replication(study, check=lambda: None, run=killed, console=Console(file=io.StringIO()))
    assert "replication 1 of 4 trials ended" in cli.run("study", "status", study.uri)


def test_study_check_accepts_replication_added_to_an_existing_study(synthetic_uri: str, tmp_path: Path) -> None:
    without = load_study_config(write_replicated_study(tmp_path, synthetic_uri), overrides=["replication=null"])
    Study.start(str(tmp_path / "study"), without, "drawn")
    assert "replicate" not in json.dumps(json.loads((tmp_path / "study" / "study.json").read_text()))
    Study.check(str(tmp_path / "study"), load_study_config(write_replicated_study(tmp_path, synthetic_uri)), "drawn")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replication": {"seeds": 1}}, "seeds"),
        ({"replication": {"baseline": True}, "initial_trials": []}, "the baseline is the first of initial_trials"),
        (
            {"scheduler": {"name": "pbt", "perturbation_interval_epochs": 1}},
            "trials of scheduler pbt cannot be replicated",
        ),
        (
            {"test": {"split": "test", "method": "x", "retrain": {"schedule.epochs": 3}}},
            "the replication runs are scored",
        ),
    ],
)
def test_load_study_with_impossible_replication_is_refused(
    synthetic_uri: str, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_study_config(write_replicated_study(tmp_path, synthetic_uri, **changes))


def test_load_study_refuses_replication_of_fixed_runs(synthetic_uri: str, tmp_path: Path) -> None:
    document = yaml.safe_load(Path(write_replicated_study(tmp_path, synthetic_uri)).read_text())
    for section in ("search", "initial_trials", "sampler", "test"):
        del document[section]
    path = tmp_path / "rows.yaml"
    path.write_text(yaml.safe_dump({**document, "runs": {"one": {}}, "budget": {"epochs": 1}}))
    with pytest.raises(ConfigError, match="replication belongs to a search"):
        load_study_config(str(path))
