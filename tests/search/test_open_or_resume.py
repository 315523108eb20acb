"""Studies that are started, gone on with, extended and branched, as the command line asks for it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from optuna.trial import TrialState
from rich.console import Console

from rcn_search import storage
from rcn_search.config.loading import ConfigError
from rcn_search.search.open_or_resume import StudyRequest
from rcn_search.study.identity import settings
from rcn_search.study.lease import hold
from rcn_search.study.records import Epoch, StudyError
from rcn_search.study.study import Study


def no_board() -> str:
    """Of a study whose best trial is not scored, which never asks for it."""
    raise AssertionError


@pytest.fixture
def take_up(write_study, synthetic_uri, tmp_path):
    """What `run_search` does before Ray starts, with a claim that is given back at once."""

    def take(changes: dict | None = None, **options: object) -> Study:
        text = io.StringIO()
        line = StudyRequest(
            space_uri=write_study(**(changes or {})),
            study_uri=str(tmp_path / "parent"),
            data_uri=synthetic_uri,
            **options,
        )
        uri, space, _ = line.prepare(Console(file=text, width=400), no_board)
        with hold(uri, settings(space), on_takeover=str):
            study = Study(uri, space)
        study.said = text.getvalue()
        return study

    return take


def play(study: Study, num_trials: int) -> None:
    for _ in range(num_trials):
        number = study.ask().number
        epochs = [
            Epoch(epoch=each, loss=1.0, val_error_pct=9.0 - each, best_error_pct=9.0 - each, train_s=1.0, val_s=1.0)
            for each in range(1, 5)
        ]
        study.report(number, epochs)
        study.finish(number, "pruned" if number % 3 else "complete")


def test_a_finished_study_is_extended_and_stays_so(take_up):
    play(take_up(), 12)
    more = take_up(resume=True, trials="+50")
    assert (more.num_left, more.space.budget.trials) == (50, 62)
    play(more, 1)
    again = take_up(resume=True)
    assert (again.num_left, len(again.trials)) == (49, 13)
    assert Study.open(more.uri).num_left == 49
    assert take_up(resume=True, trials="20").num_left == 7
    assert take_up(resume=True, overrides=["budget.trials=13"]).num_left == 0


def test_more_than_an_unfinished_study_is_not_clear(take_up):
    play(take_up(), 10)
    with pytest.raises(StudyError, match="2 of the study's 12 trials are still to be run"):
        take_up(resume=True, trials="+50")


@pytest.mark.parametrize("trials", ["many", "0", "-3", "+", "+0", "1.5"])
def test_trials_is_a_number(take_up, trials):
    play(take_up(), 12)
    with pytest.raises(ConfigError, match="--trials"):
        take_up(resume=True, trials=trials)


def test_the_budget_of_a_new_study(take_up):
    with pytest.raises(ConfigError, match="add --resume"):
        take_up(trials="+5")
    assert take_up(trials="5").num_left == 5


def test_a_changed_space_is_shown_and_points_to_a_branch(take_up):
    take_up()
    with pytest.raises(StudyError, match=r"model\.branches: \{int: \[2, 6\]\} → \{int: \[2, 5\]\}(?s:.*)--branch"):
        take_up({"search": {"model.branches": {"int": [2, 5]}}}, resume=True)


def test_a_branch_takes_over_what_fits_and_counts_none_of_it(take_up):
    parent = take_up()
    play(parent, 11)
    parent.ask()  # running: it stays the parent's
    before = {path: path.read_bytes() for path in Path(parent.uri).rglob("*") if path.is_file()}
    narrower = {"search": {"model.branches": {"int": [2, 5]}}, "budget": {"trials": 3}}
    child = take_up(narrower, branch="narrow")
    fits = [trial.number for trial in parent.trials[:11] if int(trial.suggestion.params["model.branches"]) <= 5]
    assert 0 < len(fits) < 11
    assert [trial.number for trial in child.inherited] == fits
    assert f"{len(fits)} trials of {parent.uri} taken over, {11 - len(fits)} left" in child.said
    assert child.uri == str(Path(parent.uri).parent / "narrow")
    assert (child.num_left, child.trials, child.best) == (3, [], None)
    assert before == {path: path.read_bytes() for path in Path(parent.uri).rglob("*") if path.is_file()}
    assert Path(child.inherited[0].folder) == Path(parent.trials[fits[0]].folder)

    known = child._optuna.trials[: len(fits)]
    assert [trial.state for trial in known] == [
        TrialState.PRUNED if number % 3 else TrialState.COMPLETE for number in fits
    ]
    play(child, 3)
    resumed = take_up(narrower, branch="narrow", resume=True)
    assert (len(resumed.trials), resumed.num_left) == (3, 0)
    assert [trial.suggestion.number for trial in resumed.trials] == [0, 1, 2]
    assert [trial.params for trial in resumed._optuna.trials] == [trial.params for trial in child._optuna.trials]
    with pytest.raises(StudyError, match="another branch"):
        take_up(narrower, branch="narrow")


def test_a_key_that_is_fixed_or_freed_fits_where_it_says_the_same(take_up):
    parent = take_up()
    play(parent, 11)
    freed = take_up({"search": {"seed": {"choice": [0, 1]}}, "initial_trials": []}, branch="freed")
    assert len(freed.inherited) == 11
    assert {trial.suggestion.params["seed"] for trial in freed.inherited} == {0}
    grandchild = take_up({"search": {"seed": {"choice": [0, 1, 2]}}, "initial_trials": []}, branch="again")
    assert len(grandchild.inherited) == 11


@pytest.mark.parametrize("changes", [{"budget": {"epochs": 5}}, {"base": {"optimizer": {"weight_decay": 0.5}}}])
def test_other_trainings_do_not_fit(take_up, changes):
    play(take_up(), 11)
    assert take_up(changes, branch="other").inherited == []


def test_trials_on_other_data_do_not_fit(take_up):
    parent = take_up()
    play(parent, 2)
    place = storage.join(parent.uri, "space.json")
    storage.write_json(place, {**storage.read_json(place), "data_fingerprint": "another"})
    assert take_up(branch="other").inherited == []


@pytest.mark.parametrize("name", ["../x", "a/b", "."])
def test_a_branch_is_named(take_up, name):
    take_up()
    with pytest.raises(ConfigError, match="--branch"):
        take_up(branch=name)


def test_a_place_that_cannot_be_used_is_refused_before_anything_is_written(write_study, synthetic_uri):
    line = StudyRequest(space_uri=write_study(), study_uri="/proc/nowhere", data_uri=synthetic_uri)
    with pytest.raises(storage.StorageError, match=r"^/proc/nowhere cannot be used"):
        line.prepare(Console(file=io.StringIO()), no_board)
