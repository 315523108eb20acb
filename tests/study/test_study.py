"""Studies: started, interrupted, resumed, and read while they run."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from rcn_search import storage
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import StudyError
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.store import StudyStore
from rcn_search.study.study import Study
from tests.support.studies import epoch_result, play_trials, resume_study


@pytest.fixture
def uri(store: str) -> str:
    return storage.join(store, "study")


@pytest.fixture
def config(write_study: Callable[..., str]) -> StudyConfig:
    return load_study_config(write_study())


def optuna_trials(study: Study) -> list[tuple[Any, ...]]:
    """What the sampler knows."""
    return [
        (t.number, t.state, t.params, t.distributions, t.value, t.intermediate_values) for t in study._optuna.trials
    ]


@pytest.mark.every_store
def test_start_of_an_existing_study_is_refused_and_changes_nothing(uri: str, config: StudyConfig) -> None:
    play_trials(Study.start(uri, config, "f"), 2)
    before = storage.read_bytes(storage.join(uri, "study.json"))
    with pytest.raises(StudyError, match="resume it with --resume"):
        Study.start(uri, config, "f")
    assert storage.read_bytes(storage.join(uri, "study.json")) == before
    assert storage.list_names(storage.join(uri, "trials")) == ["000000", "000001"]


def test_start_of_a_study_without_trials_is_repeatable(uri: str, config: StudyConfig) -> None:
    Study.start(uri, config, "f")
    assert Study.start(uri, config, "f").ask().number == 0
    with pytest.raises(StudyError, match="resume it with --resume"):
        Study.start(uri, config, "f")


def test_start_of_a_study_without_trials_with_other_data_is_refused(uri: str, config: StudyConfig) -> None:
    Study.start(uri, config, "f")
    with pytest.raises(StudyError, match="data_fingerprint: f → g"):
        Study.start(uri, config, "g")


def test_check_of_a_missing_study_says_how_to_start_one(uri: str, config: StudyConfig) -> None:
    with pytest.raises(StudyError, match="tune without --resume starts one"):
        resume_study(uri, config, "f")


def test_ask_publishes_the_initial_trial_first(uri: str, config: StudyConfig) -> None:
    trial = Study.start(uri, config, "f").ask()
    assert trial.config == config.train_config(config.initial_trials[0])
    published = storage.read_json(storage.join(uri, "trials/000000/trial.json"))
    assert published["config"] == trial.config.model_dump(mode="json")
    assert published["run_id"] == trial.config.run_id


def test_finish_reports_state_and_value_to_the_sampler(uri: str, config: StudyConfig) -> None:
    study = Study.start(uri, config, "f")
    play_trials(study, 3)
    complete, pruned, failed = study._optuna.trials
    assert (complete.state, complete.value) == (TrialState.COMPLETE, 16.0)
    assert (pruned.state, pruned.value, pruned.last_step) == (TrialState.PRUNED, 18.1, 2)
    assert (failed.state, failed.value) == (TrialState.FAIL, None)
    assert storage.read_json(storage.join(uri, "trials/000002/result.json"))["reason"] == "the loss became nan"


def test_value_of_a_trial_is_its_lowest_error(uri: str, config: StudyConfig) -> None:
    study = Study.start(uri, config, "f")
    number = study.ask().number
    study.report(number, [epoch_result(1, 9.0), epoch_result(2, 7.0), epoch_result(3, 8.0)])
    study.finish(number, "complete")
    assert study.best_trial.error_pct == study._optuna.best_value == 7.0


def test_resumed_study_has_the_same_optuna_trials(uri: str, config: StudyConfig) -> None:
    study = Study.start(uri, config, "f")
    play_trials(study, 12)
    assert study.num_remaining == 0
    assert study.ask() is None
    resumed = resume_study(uri, config, "f")
    assert optuna_trials(resumed) == optuna_trials(study)
    assert (resumed.num_remaining, resumed.best_trial.number) == (0, 0)


def test_interruptions_do_not_change_the_proposals(uri: str, config: StudyConfig, tmp_path: Path) -> None:
    straight = Study.start(str(tmp_path / "straight"), config, "f")
    play_trials(straight, 12)
    for stop in (1, 5, 12):
        study = (Study.start if stop == 1 else resume_study)(uri, config, "f")
        play_trials(study, stop - sum(trial.result is not None for trial in study.trials))
        if stop < 12:
            study.ask()  # proposed, then the search process dies
    assert optuna_trials(study) == optuna_trials(straight)
    assert len({json.dumps(trial.params, sort_keys=True) for trial in study.trials}) == 12


def test_ask_gives_out_open_trials_unchanged_and_counts_them_once(uri: str, config: StudyConfig) -> None:
    study = Study.start(uri, config, "f")
    play_trials(study, 4)
    opened = [study.ask(), study.ask()]
    study.report(opened[0].number, [epoch_result(1, 9.0)])
    resumed = resume_study(uri, config, "f")
    assert [trial.state for trial in resumed.trials[4:]] == ["open", "open"]
    assert resumed.num_remaining == 12 - 4
    for before in opened:
        again = resumed.ask()
        assert again.record == before.record
        resumed.report(again.number, [epoch_result(1, 9.0), epoch_result(2, 8.0)])
        resumed.report(again.number, [epoch_result(2, 99.0)])  # known already
        resumed.finish(again.number, "complete")
        assert [each.val_error_pct for each in again.result.epochs] == [9.0, 8.0]
    states = [trial.state for trial in resumed._optuna.trials]
    assert len(states) == 6
    assert TrialState.RUNNING not in states


def test_trial_whose_publication_was_interrupted_is_ignored(config: StudyConfig, tmp_path: Path) -> None:
    uri = str(tmp_path / "study")
    play_trials(Study.start(uri, config, "f"), 2)
    (tmp_path / "study/trials/000002").mkdir()
    (tmp_path / "study/trials/000002/.trial.json.1234.tmp").write_text("{")
    resumed = resume_study(uri, config, "f")
    assert resumed.ask().number == 2


@pytest.mark.every_store
def test_finish_by_a_second_process_is_refused(uri: str, config: StudyConfig) -> None:
    one = Study.start(uri, config, "f")
    number = one.ask().number
    other = resume_study(uri, config, "f")
    assert other.ask().number == number
    one.finish(number, "pruned")
    with pytest.raises(StudyError, match="another search process"):
        other.finish(number, "failed", reason="late")
    assert storage.read_json(storage.join(uri, "trials/000000/result.json"))["state"] == "pruned"


def test_check_of_another_configuration_lists_what_differs(
    uri: str, config: StudyConfig, write_study: Callable[..., str]
) -> None:
    Study.start(uri, config, "f")
    changes = {"search": {"optimizer.lr": {"float": [1e-3, 5e-3], "log": True}}, "sampler": {"name": "random"}}
    other = load_study_config(write_study(**changes), overrides=["base.seed=3", "budget.epochs=5"])
    with pytest.raises(StudyError) as raised:
        resume_study(uri, other, "g")
    _, *lines, _ = str(raised.value).splitlines()
    different = dict(line.strip().split(": ", 1) for line in lines)
    assert different["base.seed"] == "0 → 3"
    assert different["base.schedule.epochs"] == "4 → 5"
    assert different["search.optimizer.lr"] == "{float: [0.001, 0.01], log: true} → {float: [0.001, 0.005], log: true}"
    assert {"data_fingerprint", "sampler.name"} <= different.keys()
    assert not any("model" in key for key in different)


def test_check_allows_another_budget_location_and_machine(
    uri: str, config: StudyConfig, write_study: Callable[..., str], tmp_path: Path
) -> None:
    play_trials(Study.start(uri, config, "f"), 12)
    overrides = ["budget.trials=14", "budget.max_concurrent=1", "budget.cpus_per_trial=2"]
    more = load_study_config(write_study(), overrides=overrides, data_uri=str(tmp_path / "moved"))
    study = resume_study(uri, more, "f")
    assert study.num_remaining == 2
    play_trials(study, 2)
    assert len(study.trials) == 14


@pytest.mark.parametrize("content", ["{", "{}", '{"state": "complete"}'])
def test_damaged_result_is_named(config: StudyConfig, tmp_path: Path, content: str) -> None:
    uri = str(tmp_path / "study")
    play_trials(Study.start(uri, config, "f"), 1)
    Path(uri, "trials/000000/result.json").write_text(content)
    with pytest.raises(StudyError, match=r"000000/result\.json"):
        resume_study(uri, config, "f")


def test_missing_trial_is_named(config: StudyConfig, tmp_path: Path) -> None:
    uri = str(tmp_path / "study")
    play_trials(Study.start(uri, config, "f"), 2)
    Path(uri, "trials/000000").rename(tmp_path / "gone")
    with pytest.raises(StudyError, match="trial 0 is damaged"):
        resume_study(uri, config, "f")


def test_all_files_of_a_study_are_json(config: StudyConfig, tmp_path: Path) -> None:
    play_trials(Study.start(str(tmp_path / "study"), config, "f"), 3)
    files = [path for path in (tmp_path / "study").rglob("*") if path.is_file()]
    assert len(files) == 1 + 3 + 3
    assert all(json.loads(path.read_text()) for path in files)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_proposals_depend_on_the_seed(write_study: Callable[..., str], tmp_path: Path, sampler: str) -> None:
    def params(seed: int) -> list:
        config = load_study_config(write_study(sampler={"name": sampler}), overrides=[f"study.seed={seed}"])
        study = Study.start(str(tmp_path / uuid.uuid4().hex), config, "f")
        play_trials(study, 12)
        assert isinstance(study._optuna.sampler, optuna.samplers.BaseSampler)
        return [trial.params for trial in study.trials]

    assert params(1) == params(1)
    assert params(1)[1:] != params(2)[1:]


@pytest.mark.every_store
def test_open_reads_a_running_study_and_writes_nothing(uri: str, config: StudyConfig) -> None:
    running_study = Study.start(uri, config, "f")
    play_trials(running_study, 2)
    running = running_study.ask()
    before = listing(uri)
    opened = Study.open(uri)
    assert opened.config.model_dump() == config.model_dump()
    assert [trial.state for trial in opened.trials] == ["complete", "pruned", "open"]
    assert opened.pareto_front == [opened.best_trial] == [opened.trials[0]]
    assert listing(uri) == before
    running_study.report(running.number, [epoch_result(1, 9.0)])
    running_study.finish(running.number, "complete")
    assert Study.open(uri).best_trial.number == running.number


def listing(uri: str) -> list[list[str]]:
    trials = storage.join(uri, "trials")
    return [storage.list_names(each) for each in (uri, *(storage.join(trials, n) for n in storage.list_names(trials)))]


def test_open_reads_a_fixed_run_study(uri: str, tmp_path: Path) -> None:
    study = Study.start(uri, runs := fixed_runs(tmp_path), "f")
    play_trials(study, 3)
    opened = Study.open(uri)
    assert (opened.config.model_dump(), opened.num_remaining, opened.pareto_front) == (runs.model_dump(), 1, [])


def fixed_runs(tmp_path: Path) -> StudyConfig:
    """Two runs, one of them with three seeds."""
    document = {
        "study": {"name": "runs"},
        "base": {"data": {"uri": str(tmp_path / "data")}, "model": {"name": "rcn"}},
        "runs": {"five": {"model.branches": 5}, "six": {"model.branches": 6}},
        "seeds_per_run": {"six": 3},
        "budget": {"epochs": 4},
    }
    return StudyConfig.model_validate(document)


def test_open_of_a_missing_damaged_or_old_study_says_so(uri: str, config: StudyConfig) -> None:
    with pytest.raises(StudyError, match="no study at"):
        Study.open(uri)
    study_uri = storage.join(uri, "study.json")
    for document in ([], {"schema_version": 1}, {"schema_version": 3}):
        storage.write_json(study_uri, document)
        with pytest.raises(StudyError, match=r"study\.json is damaged, or was written by another version"):
            Study.open(uri)
    storage.write_json(study_uri, {"schema_version": 2})
    with pytest.raises(StudyError, match=r"study\.json, or settings of its newest lease, is damaged"):
        Study.open(uri)


def test_study_of_schema_version_1_is_refused_and_left_alone(uri: str, config: StudyConfig) -> None:
    storage.write_json(storage.join(uri, "space.json"), {"schema_version": 1})
    for open_or_start in (lambda: Study.open(uri), lambda: Study.start(uri, config, "f")):
        with pytest.raises(StudyError, match="written by an older version of rcn-search; start a new study"):
            open_or_start()
    assert storage.list_names(uri) == ["space.json"]


def test_best_trial_and_front_skip_a_trial_beyond_a_limit_and_keep_one_at_it(
    write_study: Callable[..., str], tmp_path: Path
) -> None:
    options = {"constraints": {"latency_ms": 20}, "sampler": {"name": "random"}, "objectives": ["error", "latency"]}
    config = load_study_config(write_study(**options))
    study = Study.start(str(tmp_path / "limited"), config, "f")
    for error_pct, latency_ms in [(3.0, 30.0), (5.0, 20.0), (6.0, 10.0), (7.0, 20.5)]:
        trial = study.ask()
        assert trial is not None
        study.report(trial.number, [epoch_result(1, error_pct)], metrics={"latency_ms": latency_ms})
        study.finish(trial.number, "complete")
    for opened in (study, Study(study.uri, config), Study.open(study.uri)):
        assert [trial.is_feasible for trial in opened.trials] == [False, True, True, False]
        assert opened.best_trial is not None
        assert opened.best_trial.number == 1
        assert [trial.number for trial in opened.pareto_front] == [1, 2]


def test_study_whose_lease_is_lost_writes_nothing(write_study: Callable[..., str], tmp_path: Path) -> None:
    config, uri = load_study_config(write_study(sampler={"name": "random"})), str(tmp_path / "study")
    Study.start(uri, config, "f")
    is_lost = False

    def check_lease() -> None:
        if is_lost:
            raise StudyError("another search process took over")

    study = Study(uri, config, StudyStore(uri, check_lease))
    trial = study.ask()
    assert trial is not None
    study.report(trial.number, [epoch_result(1, 5.0)])
    is_lost = True
    with pytest.raises(StudyError, match="took over"):
        study.finish(trial.number, "complete")
    with pytest.raises(StudyError, match="took over"):
        study.ask()
    assert [each.name for each in sorted((tmp_path / "study/trials").iterdir())] == ["000000"]
    assert [each.name for each in (tmp_path / "study/trials/000000").iterdir()] == ["trial.json"]
