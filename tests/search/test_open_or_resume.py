"""Studies that are started, resumed, extended and warm-started, as the command line asks for it."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from rich.console import Console

from rcn_search import storage
from rcn_search.config.errors import ConfigError
from rcn_search.config.schema import TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.search.open_or_resume import OpenedStudy, StudyRequest, open_or_resume
from rcn_search.search.run_search import run_search
from rcn_search.study import lease
from rcn_search.study.identity import resume_settings
from rcn_search.study.records import EpochResult, StudyError
from rcn_search.study.study import Study
from rcn_search.training.checkpoint import CheckpointError
from tests.support.checkpoints import write_untrained
from tests.support.leases import make_owner, put_lease
from tests.support.searches import write_tiny_study

Opener = Callable[..., Study]


@pytest.fixture
def printed() -> io.StringIO:
    """What opening a study prints."""
    return io.StringIO()


@pytest.fixture
def open_study(write_study: Callable[..., str], synthetic_uri: str, tmp_path: Path, printed: io.StringIO) -> Opener:
    """What `run_search` does before Ray starts, with a lease that is released at once."""

    def open_study(changes: dict[str, Any] | None = None, **options: Any) -> Study:
        options = {"study_uri": str(tmp_path / "parent"), "data_uri": synthetic_uri, **options}
        request = StudyRequest(study_file=write_study(**(changes or {})), **options)
        opened = open_or_resume(request, leaderboard=None, console=Console(file=printed, width=400))
        with lease.acquire(opened.uri, resume_settings(opened.config), on_status=str):
            return Study(opened.uri, opened.config)

    return open_study


def run_trials(study: Study, num_trials: int) -> None:
    for _ in range(num_trials):
        number = study.ask().number
        epochs = [
            EpochResult(
                epoch=epoch, loss=1.0, val_error_pct=9.0 - epoch, best_error_pct=9.0 - epoch, train_s=1.0, val_s=1.0
            )
            for epoch in range(1, 5)
        ]
        study.report(number, epochs)
        study.finish(number, "pruned" if number % 3 else "complete")


def test_open_or_resume_add_trials_extends_a_finished_study_for_good(open_study: Opener) -> None:
    run_trials(open_study(), 12)
    extended = open_study(resume=True, add_trials=50)
    assert (extended.num_remaining, extended.config.budget.trials) == (50, 62)
    run_trials(extended, 1)
    again = open_study(resume=True)
    assert (again.num_remaining, len(again.trials)) == (49, 13)
    assert Study.open(extended.uri).num_remaining == 49
    assert open_study(resume=True, trials=20).num_remaining == 7
    assert open_study(resume=True, overrides=["budget.trials=13"]).num_remaining == 0


def test_open_or_resume_add_trials_to_an_unfinished_study_is_refused(open_study: Opener) -> None:
    run_trials(open_study(), 10)
    with pytest.raises(StudyError, match="2 of the study's 12 trials have not ended"):
        open_study(resume=True, add_trials=50)


def test_open_or_resume_trials_and_add_trials_together_are_refused(open_study: Opener) -> None:
    with pytest.raises(ConfigError, match="give one of them"):
        open_study(trials=20, add_trials=5)


def test_open_or_resume_trials_sets_the_budget_of_a_new_study(open_study: Opener) -> None:
    with pytest.raises(ConfigError, match="add --resume"):
        open_study(add_trials=5)
    assert open_study(trials=5).num_remaining == 5


def test_open_or_resume_more_trials_than_a_grid_has_are_refused(open_study: Opener) -> None:
    grid = {
        "search": {"optimizer.lr": {"choice": [1e-3, 1e-2]}},
        "sampler": {"name": "grid"},
        "initial_trials": [],
        "budget": {"trials": 2},
    }
    with pytest.raises(ConfigError, match=r"99999 trials: sampler grid: the grid has [\d,]+ settings"):
        open_study(grid, trials=99_999)


def test_open_or_resume_changed_space_shows_the_difference_and_the_remedy(open_study: Opener) -> None:
    open_study()
    with pytest.raises(StudyError, match=r"model\.branches: \{int: \[2, 6\]\} → \{int: \[2, 5\]\}(?s:.*)--warm-start"):
        open_study({"search": {"model.branches": {"int": [2, 5]}}}, resume=True)


def test_open_or_resume_warm_start_takes_over_fitting_trials_outside_the_budget(
    open_study: Opener, printed: io.StringIO, tmp_path: Path
) -> None:
    parent = open_study()
    run_trials(parent, 11)
    parent.ask()  # running: it stays the parent's
    before = {path: path.read_bytes() for path in Path(parent.uri).rglob("*") if path.is_file()}
    narrower = {"search": {"model.branches": {"int": [2, 5]}}, "budget": {"trials": 3}}
    options = {"warm_start_from": parent.uri, "study_uri": str(tmp_path / "narrow")}
    child = open_study(narrower, **options)
    fits = [trial.number for trial in parent.trials[:11] if int(trial.params["model.branches"]) <= 5]
    assert 0 < len(fits) < 11
    assert [trial.number for trial in child.warm_start_trials] == fits
    assert f"{len(fits)} trials of {parent.uri} taken over, {11 - len(fits)} do not fit" in printed.getvalue()
    assert child.uri == str(tmp_path / "narrow")
    assert (child.num_remaining, child.trials, child.best_trial) == (3, [], None)
    assert before == {path: path.read_bytes() for path in Path(parent.uri).rglob("*") if path.is_file()}
    assert Path(child.warm_start_trials[0].folder) == Path(parent.trials[fits[0]].folder)

    known = child._optuna.trials[: len(fits)]
    assert [trial.state for trial in known] == [
        TrialState.PRUNED if number % 3 else TrialState.COMPLETE for number in fits
    ]
    run_trials(child, 3)
    resumed = open_study(narrower, **options, resume=True)
    assert (len(resumed.trials), resumed.num_remaining) == (3, 0)
    assert [trial.number for trial in resumed.trials] == [0, 1, 2]
    assert [trial.params for trial in resumed._optuna.trials] == [trial.params for trial in child._optuna.trials]
    with pytest.raises(StudyError, match="there is a study at"):
        open_study(narrower, **options)


def test_open_or_resume_warm_start_accepts_a_key_that_is_fixed_or_freed_with_the_same_value(
    open_study: Opener, tmp_path: Path
) -> None:
    parent = open_study()
    run_trials(parent, 11)
    freed = {"search": {"seed": {"choice": [0, 1]}}, "initial_trials": []}
    child = open_study(freed, warm_start_from=parent.uri, study_uri=str(tmp_path / "freed"))
    assert len(child.warm_start_trials) == 11
    assert {trial.params["seed"] for trial in child.warm_start_trials} == {0}
    freed["search"] = {"seed": {"choice": [0, 1, 2]}}
    grandchild = open_study(freed, warm_start_from=child.uri, study_uri=str(tmp_path / "again"))
    assert len(grandchild.warm_start_trials) == 11


@pytest.mark.parametrize("changes", [{"budget": {"epochs": 5}}, {"base": {"optimizer": {"weight_decay": 0.5}}}])
def test_open_or_resume_warm_start_leaves_out_other_trainings(
    open_study: Opener, tmp_path: Path, changes: dict[str, Any]
) -> None:
    parent = open_study()
    run_trials(parent, 11)
    assert open_study(changes, warm_start_from=parent.uri, study_uri=str(tmp_path / "other")).warm_start_trials == []


def test_open_or_resume_warm_start_leaves_out_trials_on_other_data(open_study: Opener, tmp_path: Path) -> None:
    parent = open_study()
    run_trials(parent, 2)
    uri = storage.join(parent.uri, "study.json")
    storage.write_json(uri, {**storage.read_json(uri), "data_fingerprint": "another"})
    assert open_study(warm_start_from=parent.uri, study_uri=str(tmp_path / "other")).warm_start_trials == []


def test_open_or_resume_warm_start_at_the_same_location_is_refused(open_study: Opener) -> None:
    parent = open_study()
    with pytest.raises(ConfigError, match="needs another location; name it with --study NEW"):
        open_study(warm_start_from=f"{parent.uri}/")


def test_open_or_resume_with_an_unusable_location_writes_nothing(open_study: Opener) -> None:
    with pytest.raises(storage.StorageError, match=r"^/proc/nowhere cannot be used"):
        open_study(study_uri="/proc/nowhere")


def test_open_or_resume_test_evaluation_without_a_leaderboard_is_refused_before_the_study_starts(
    open_study: Opener, tmp_path: Path
) -> None:
    with pytest.raises(RcnSearchError, match="there is none: name a folder or URI with --leaderboard"):
        open_study({"test": {"split": "test", "method": "RCN"}})
    assert not (tmp_path / "parent").exists()


def open_automatically(synthetic_uri: str, folder: Path, **changes: Any) -> OpenedStudy:
    request = StudyRequest(
        study_file=write_tiny_study(folder, synthetic_uri), study_uri=str(folder / "study"), auto_resume=True, **changes
    )
    return open_or_resume(request, leaderboard=None, console=Console(quiet=True))


def test_open_or_resume_auto_resume_starts_then_resumes_and_refuses_another_study(
    synthetic_uri: str, tmp_path: Path
) -> None:
    opened = open_automatically(synthetic_uri, tmp_path)
    assert Study.open(opened.uri).num_remaining == 4
    assert open_automatically(synthetic_uri, tmp_path) == opened
    with pytest.raises(StudyError):
        open_automatically(synthetic_uri, tmp_path, overrides=("base.model.channels=16",))


def test_run_search_auto_resume_waits_for_a_process_that_may_be_dead_and_can_be_interrupted(
    synthetic_uri: str, tmp_path: Path
) -> None:
    path, study = write_tiny_study(tmp_path, synthetic_uri), str(tmp_path / "study")
    opened = open_or_resume(
        StudyRequest(study_file=path, study_uri=study), leaderboard=None, console=Console(quiet=True)
    )
    put_lease(study, 0, make_owner(), heartbeat_ago_s=5, settings=resume_settings(opened.config))
    with pytest.raises(StudyError, match="is running"):
        run_search(StudyRequest(study_file=path, study_uri=study, resume=True), console=Console(quiet=True))

    # In a process of its own, since a signal that came late would end the tests.
    line = [sys.executable, "-m", "rcn_search.tune", path, "--study", study, "--auto-resume"]
    search = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert search.stdout is not None
    status = search.stdout.readline()
    search.send_signal(signal.SIGTERM)
    text = status + search.communicate(timeout=60)[0]
    assert re.search(r"process 7 on elsewhere ran this study \d+ s ago: waiting up to \d\d s", text), text
    assert search.returncode == 130, text
    assert not storage.exists(storage.join(study, "leases/000001"))


@pytest.mark.parametrize(
    ("options", "changed", "command"),
    [
        ({}, {"resume": True}, "the same command with --resume"),
        ({"resume": True}, {"resume": True}, "the same command"),
        ({"auto_resume": True}, {"auto_resume": True}, "the same command"),
        ({"resume": True, "add_trials": 5}, {"resume": True}, "the same command without --add-trials"),
        ({"auto_resume": True, "add_trials": 5}, {"auto_resume": True}, "the same command without --add-trials"),
    ],
    ids=str,
)
def test_resuming_command_after_an_interruption_works(
    open_study: Opener, options: dict[str, Any], changed: dict[str, Any], command: str
) -> None:
    if "add_trials" in options:
        finished = open_study()
        run_trials(finished, finished.num_remaining)
    elif "resume" in options:
        open_study()
    interrupted = open_study(**options)
    assert StudyRequest(study_file="rcn", **options).resuming_command == command
    assert open_study(**changed).num_remaining == interrupted.num_remaining > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "two\nlines"}, r"method 'two\\nlines': "),
        ({"method": "x" * 201}, "at most 200 characters"),
        ({"split": "nowhere"}, "test.split: .* has no split 'nowhere'"),
    ],
    ids=["line", "long", "split"],
)
def test_open_or_resume_checks_the_test_evaluation_before_the_search(
    write_study: Callable[..., str], synthetic_uri: str, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    study_file = write_study(test={"split": "test", "method": "RCN"} | changes)
    request = StudyRequest(study_file=study_file, study_uri=str(tmp_path / "study"), data_uri=synthetic_uri)
    with pytest.raises(RcnSearchError, match=message):
        open_or_resume(request, leaderboard=str(tmp_path / "leaderboard"), console=Console(file=io.StringIO()))
    assert not (tmp_path / "study").exists()


def test_study_starts_from_the_weights_that_it_was_started_with(
    open_study: Opener, tiny_config: TrainConfig, tmp_path: Path, printed: io.StringIO
) -> None:
    (tmp_path / "run").mkdir()
    weights = write_untrained(tiny_config, tmp_path / "run", seed=3)
    model = {"name": "rcn", "branches": 3, "channels": 8}
    changes = {"base": {"model": model, "init": str(tmp_path / "run")}, "initial_trials": []}
    study = open_study(changes)
    assert study.config.base_config.init is not None
    assert len(study.config.base_config.init.sha256 or "") == 64
    assert study.ask().config.init == study.config.base_config.init
    open_study(changes, resume=True)
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved/best.safetensors").write_bytes(Path(weights).read_bytes())
    open_study({**changes, "base": {"model": model, "init": str(tmp_path / "moved")}}, resume=True)
    write_untrained(tiny_config, tmp_path / "run", seed=4)
    with pytest.raises(StudyError, match=r"init\.sha256: \w+ → \w+"):
        open_study(changes, resume=True)
    Path(weights).unlink()
    with pytest.raises(CheckpointError, match="no checkpoint at "):
        open_study(changes, resume=True)


def test_weights_to_start_from_are_not_searched(open_study: Opener) -> None:
    with pytest.raises(ConfigError, match=r"init\.weights cannot be searched: set base\.init, or compare weights in a"):
        open_study({"search": {"init.weights": {"choice": ["a", "b"]}}})
