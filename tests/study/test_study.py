from __future__ import annotations

import json
import uuid
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from rcn_search import storage
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import EpochResult, StudyError
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.study import Study
from tests.support.studies import resume_study

END = {0: "complete", 1: "pruned", 2: "failed"}


@pytest.fixture
def uri(store) -> str:
    return storage.join(store, "study")


@pytest.fixture
def space(write_study):
    return load_study_config(write_study())


def epoch(number: int, error_pct: float) -> EpochResult:
    return EpochResult(epoch=number, loss=1.0, val_error_pct=error_pct, best_error_pct=error_pct, train_s=2.0, val_s=1.0)


def play(study: Study, num_trials: int) -> None:
    """Run trials whose errors depend on their number; every third is pruned, every third fails."""
    for _ in range(num_trials):
        number = study.ask().number
        state = END[number % 3]
        for each in range(1, 5 if state == "complete" else 3):
            study.report(number, [epoch(each, 20.0 - each + number / 10)])
        study.finish(number, state, reason="the loss became nan" if state == "failed" else None)


def told(study: Study) -> list[tuple]:
    """What the sampler knows."""
    return [
        (t.number, t.state, t.params, t.distributions, t.value, t.intermediate_values) for t in study._optuna.trials
    ]


@pytest.mark.every_store
def test_a_study_that_exists_is_refused_and_left_alone(uri, space):
    play(Study.start(uri, space, data_fingerprint="f"), 2)
    before = storage.read_bytes(storage.join(uri, "study.json"))
    with pytest.raises(StudyError, match="add --resume"):
        Study.start(uri, space, data_fingerprint="f")
    assert storage.read_bytes(storage.join(uri, "study.json")) == before
    assert storage.list_names(storage.join(uri, "trials")) == ["000000", "000001"]


def test_a_study_without_a_trial_can_be_started_again(uri, space):
    Study.start(uri, space, data_fingerprint="f")
    assert Study.start(uri, space, data_fingerprint="f").ask().number == 0
    with pytest.raises(StudyError, match="add --resume"):
        Study.start(uri, space, data_fingerprint="f")


def test_a_study_without_a_trial_keeps_its_space(uri, space):
    Study.start(uri, space, data_fingerprint="f")
    with pytest.raises(StudyError, match="data_fingerprint: f → g"):
        Study.start(uri, space, data_fingerprint="g")


def test_there_is_nothing_to_resume(uri, space):
    with pytest.raises(StudyError, match="tune without --resume starts one"):
        resume_study(uri, space, data_fingerprint="f")


def test_points_come_first_and_the_suggestion_is_published_before_the_trial(uri, space):
    trial = Study.start(uri, space, data_fingerprint="f").ask()
    assert trial.record.config == space.config(space.points[0])
    published = storage.read_json(storage.join(uri, "trials/000000/trial.json"))
    assert published["config"] == trial.record.config.model_dump(mode="json")
    assert published["run_id"] == trial.record.config.run_id


def test_how_trials_ended_is_told_to_the_sampler(uri, space):
    study = Study.start(uri, space, data_fingerprint="f")
    play(study, 3)
    complete, pruned, failed = study._optuna.trials
    assert (complete.state, complete.value) == (TrialState.COMPLETE, 16.0)
    assert (pruned.state, pruned.value, pruned.last_step) == (TrialState.PRUNED, 18.1, 2)
    assert (failed.state, failed.value) == (TrialState.FAIL, None)
    assert storage.read_json(storage.join(uri, "trials/000002/result.json"))["reason"] == "the loss became nan"


def test_the_value_of_a_trial_is_that_of_its_best_epoch(uri, space):
    study = Study.start(uri, space, data_fingerprint="f")
    number = study.ask().number
    study.report(number, [epoch(1, 9.0), epoch(2, 7.0), epoch(3, 8.0)])
    study.finish(number, "complete")
    assert study.best_trial.error_pct == study._optuna.best_value == 7.0


def test_a_resumed_study_knows_what_the_first_one_knew(uri, space):
    study = Study.start(uri, space, data_fingerprint="f")
    play(study, 12)
    assert study.num_remaining == 0
    assert study.ask() is None
    resumed = resume_study(uri, space, data_fingerprint="f")
    assert told(resumed) == told(study)
    assert (resumed.num_remaining, resumed.best_trial.number) == (0, 0)


def test_where_a_study_was_interrupted_does_not_change_what_is_drawn(uri, space, tmp_path):
    straight = Study.start(str(tmp_path / "straight"), space, data_fingerprint="f")
    play(straight, 12)
    for stop in (1, 5, 12):
        study = (Study.start if stop == 1 else resume_study)(uri, space, data_fingerprint="f")
        play(study, stop - sum(trial.result is not None for trial in study.trials))
        if stop < 12:
            study.ask()  # suggested, then the driver dies
    assert told(study) == told(straight)
    assert len({json.dumps(trial.record.params, sort_keys=True) for trial in study.trials}) == 12


def test_an_open_trial_is_asked_again_as_it_was_and_counted_once(uri, space):
    study = Study.start(uri, space, data_fingerprint="f")
    play(study, 4)
    opened = [study.ask(), study.ask()]
    study.report(opened[0].number, [epoch(1, 9.0)])
    resumed = resume_study(uri, space, data_fingerprint="f")
    assert [trial.state for trial in resumed.trials[4:]] == ["open", "open"]
    assert resumed.num_remaining == 12 - 4
    for before in opened:
        again = resumed.ask()
        assert again.record == before.record
        resumed.report(again.number, [epoch(1, 9.0), epoch(2, 8.0)])
        resumed.report(again.number, [epoch(2, 99.0)])  # known already
        resumed.finish(again.number, "complete")
        assert [each.val_error_pct for each in again.result.epochs] == [9.0, 8.0]
    states = [trial.state for trial in resumed._optuna.trials]
    assert len(states) == 6
    assert TrialState.RUNNING not in states


def test_a_suggestion_whose_publication_was_interrupted_never_was(space, tmp_path):
    uri = str(tmp_path / "study")
    play(Study.start(uri, space, data_fingerprint="f"), 2)
    (tmp_path / "study/trials/000002").mkdir()
    (tmp_path / "study/trials/000002/.trial.json.1234.tmp").write_text("{")
    resumed = resume_study(uri, space, data_fingerprint="f")
    assert resumed.ask().number == 2


@pytest.mark.every_store
def test_a_trial_ends_once(uri, space):
    one = Study.start(uri, space, data_fingerprint="f")
    number = one.ask().number
    other = resume_study(uri, space, data_fingerprint="f")
    assert other.ask().number == number
    one.finish(number, "pruned")
    with pytest.raises(StudyError, match="another driver"):
        other.finish(number, "failed", reason="late")
    assert storage.read_json(storage.join(uri, "trials/000000/result.json"))["state"] == "pruned"


def test_another_space_is_refused_with_what_differs(uri, space, write_study):
    Study.start(uri, space, data_fingerprint="f")
    changes = {"search": {"optimizer.lr": {"float": [1e-3, 5e-3], "log": True}}, "sampler": {"name": "random"}}
    other = load_study_config(write_study(**changes), overrides=["base.seed=3", "budget.epochs=5"])
    with pytest.raises(StudyError) as raised:
        resume_study(uri, other, data_fingerprint="g")
    _, *lines, _ = str(raised.value).splitlines()
    different = dict(line.strip().split(": ", 1) for line in lines)
    assert different["base.seed"] == "0 → 3"
    assert different["base.schedule.epochs"] == "4 → 5"
    assert different["search.optimizer.lr"] == "{float: [0.001, 0.01], log: true} → {float: [0.001, 0.005], log: true}"
    assert {"data_fingerprint", "sampler.name"} <= different.keys()
    assert not any("model" in key for key in different)


def test_budget_place_and_machine_may_change(uri, space, write_study, tmp_path):
    play(Study.start(uri, space, data_fingerprint="f"), 12)
    overrides = ["budget.trials=14", "budget.max_concurrent=1", "budget.cpus_per_trial=2"]
    more = load_study_config(write_study(), overrides=overrides, data_uri=str(tmp_path / "moved"))
    study = resume_study(uri, more, data_fingerprint="f")
    assert study.num_remaining == 2
    play(study, 2)
    assert len(study.trials) == 14


@pytest.mark.parametrize("content", ["{", "{}", '{"state": "complete"}'])
def test_a_damaged_object_is_named(space, tmp_path, content):
    uri = str(tmp_path / "study")
    play(Study.start(uri, space, data_fingerprint="f"), 1)
    Path(uri, "trials/000000/result.json").write_text(content)
    with pytest.raises(StudyError, match=r"000000/finished\.json"):
        resume_study(uri, space, data_fingerprint="f")


def test_a_lost_trial_is_noticed(space, tmp_path):
    uri = str(tmp_path / "study")
    play(Study.start(uri, space, data_fingerprint="f"), 2)
    Path(uri, "trials/000000").rename(tmp_path / "gone")
    with pytest.raises(StudyError, match="trial 0 is missing"):
        resume_study(uri, space, data_fingerprint="f")


def test_nothing_is_pickled(space, tmp_path):
    play(Study.start(str(tmp_path / "study"), space, data_fingerprint="f"), 3)
    files = [path for path in (tmp_path / "study").rglob("*") if path.is_file()]
    assert len(files) == 1 + 3 + 3
    assert all(json.loads(path.read_text()) for path in files)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_samplers_give_other_draws_for_other_seeds(write_study, tmp_path, sampler):
    def params(seed: int) -> list:
        space = load_study_config(write_study(sampler={"name": sampler}), overrides=[f"study.seed={seed}"])
        study = Study.start(str(tmp_path / uuid.uuid4().hex), space, data_fingerprint="f")
        play(study, 12)
        assert isinstance(study._optuna.sampler, optuna.samplers.BaseSampler)
        return [trial.record.params for trial in study.trials]

    assert params(1) == params(1)
    assert params(1)[1:] != params(2)[1:]


@pytest.mark.every_store
def test_anyone_can_look_at_a_study_while_it_is_driven(uri, space):
    driven = Study.start(uri, space, data_fingerprint="f")
    play(driven, 2)
    running = driven.ask()
    before = listing(uri)
    seen = Study.open(uri)
    assert seen.config.model_dump() == space.model_dump()
    assert [trial.state for trial in seen.trials] == ["complete", "pruned", "open"]
    assert seen.pareto_front == [seen.best_trial] == [seen.trials[0]]
    assert listing(uri) == before
    driven.report(running.number, [epoch(1, 9.0)])
    driven.finish(running.number, "complete")
    assert Study.open(uri).best_trial.number == running.number


def listing(uri: str) -> list[list[str]]:
    trials = storage.join(uri, "trials")
    return [storage.list_names(each) for each in (uri, *(storage.join(trials, n) for n in storage.list_names(trials)))]


def test_a_study_of_rows_can_be_looked_at(uri, tmp_path):
    study = Study.start(uri, rows := rows_space(tmp_path), data_fingerprint="f")
    play(study, 3)
    seen = Study.open(uri)
    assert (seen.config.model_dump(), seen.num_remaining, seen.pareto_front) == (rows.model_dump(), 1, [])


def rows_space(tmp_path: Path) -> StudyConfig:
    """Two rows, one of them three times."""
    document = {
        "study": {"name": "rows"},
        "base": {"data": {"uri": str(tmp_path / "data")}, "model": {"name": "rcn"}},
        "runs": {"five": {"model.branches": 5}, "six": {"model.branches": 6}},
        "seeds_per_run": {"six": 3},
        "budget": {"epochs": 4},
    }
    return StudyConfig.model_validate(document)


def test_studies_from_before_settings_were_kept_open_and_resume(uri, space, tmp_path):
    for name, each in (("search", space), ("rows", rows_space(tmp_path))):
        place = storage.join(uri, name)
        play(Study.start(place, each, data_fingerprint="f"), 4)
        document = storage.read_json(storage.join(place, "study.json"))
        storage.write_json(
            storage.join(place, "study.json"), {key: document[key] for key in document.keys() - {"settings"}}
        )
        seen, resumed = Study.open(place), resume_study(place, each, data_fingerprint="f")
        assert table(seen) == table(resumed)
        assert (seen.config.runs, seen.config.seeds_per_run, seen.config.search) == (
            each.runs,
            each.seeds_per_run,
            each.search,
        )
        assert seen.config.base_config == each.base_config
        assert seen.num_remaining == 0


def table(study: Study) -> list[tuple]:
    return [(trial.record, trial.result) for trial in study.trials]


def test_what_is_no_study_is_said(uri, space):
    with pytest.raises(StudyError, match="no study at"):
        Study.open(uri)
    place = storage.join(uri, "study.json")
    for document in ([], {"schema_version": 1}, {"schema_version": 2}):
        storage.write_json(place, document)
        with pytest.raises(StudyError, match=r"space\.json is"):
            Study.open(uri)
