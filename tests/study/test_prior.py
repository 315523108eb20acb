"""Prior knowledge: first trials and a narrower first phase from other studies, mapped by name; unfit priors."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcn_search import storage
from rcn_search.config.errors import ConfigError
from rcn_search.study.loading import load_study_config
from rcn_search.study.prior import MIN_COMPLETE, NUM_SETTINGS, make_prior, map_setting
from rcn_search.study.records import StudyError
from rcn_search.study.samplers.prior import NUM_TRIALS
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.study import Study
from rcn_search.study_report.status import prior_lines
from tests.support.studies import epoch_result, resume_study

BEST_LR = 3e-3
Load = Callable[..., StudyConfig]


@pytest.fixture
def load(write_study: Callable[..., str]) -> Load:
    """Load a random study with 40 trials, without initial ones."""

    def load_changed(**changes: Any) -> StudyConfig:
        return load_study_config(
            write_study(
                **{
                    "budget": {"trials": 40},
                    "sampler": {"name": "random"},
                    "initial_trials": [],
                    "scheduler": {"name": "none"},
                    **changes,
                }
            )
        )

    return load_changed


def error_pct(trial: Any, best_lr: float) -> float:
    return 5 + 10 * abs(math.log10(trial.config.optimizer.lr / best_lr)) + 0.01 * trial.config.model.branches


def run(study: Study, *, best_lr: float = BEST_LR, num_trials: int = 40, state: str = "complete") -> Study:
    for _ in range(num_trials):
        if (trial := study.ask()) is None:
            break
        study.report(trial.number, [epoch_result(epoch, error_pct(trial, best_lr)) for epoch in range(1, 5)])
        study.finish(trial.number, state, reason="nan" if state == "failed" else None)  # type: ignore[arg-type]
    return study


@pytest.fixture
def recorded(load: Load, tmp_path: Path) -> Study:
    """A study of another data set whose best learning rate is `BEST_LR`."""
    return run(Study.start(str(tmp_path / "recorded"), load(), "other data"))


def test_prior_gives_first_trials_and_a_narrower_first_phase(recorded: Study, load: Load, tmp_path: Path) -> None:
    config = load(study={"seed": 5})
    prior = make_prior([recorded.uri], config)
    assert 1 < len(prior.settings) <= NUM_SETTINGS
    assert prior.settings[0] == map_setting(recorded.best_trial, config)
    assert len({str(setting) for setting in prior.settings}) == len(prior.settings)
    low, high = prior.ranges["optimizer.lr"]
    assert 1e-3 < low < BEST_LR < high < 1e-2
    study = run(Study.start(str(tmp_path / "new"), config, "f", prior))
    rates = [trial.config.optimizer.lr for trial in study.trials]
    first = len(prior.settings)
    assert [trial.config.optimizer.lr for trial in study.trials[:first]] == [
        setting["optimizer.lr"] for setting in prior.settings
    ]
    phase = rates[first : first + NUM_TRIALS]
    narrow = [rate for place, rate in enumerate(phase) if place % 3 != 2]
    assert all(low <= rate <= high for rate in narrow)
    assert any(not low <= rate <= high for rate in rates[first:])
    assert next(iter(prior.importances[recorded.uri])) == "optimizer.lr"
    assert "important there: optimizer.lr" in prior_lines(study)[0]


def test_study_with_a_prior_resumes_without_it(recorded: Study, load: Load, tmp_path: Path) -> None:
    config = load()
    prior = make_prior([recorded.uri], config)
    straight = run(Study.start(str(tmp_path / "straight"), config, "f", prior), num_trials=20)
    again = run(Study.start(str(tmp_path / "again"), config, "f", prior), num_trials=2)
    for _ in range(6):
        again.ask()  # proposed, then the search process dies
        again = run(resume_study(again.uri, config), num_trials=3)
    assert [trial.params for trial in again.trials] == [trial.params for trial in straight.trials][: len(again.trials)]
    assert len(again.trials) == 20


def test_prior_of_another_space_is_mapped_by_name(recorded: Study, load: Load) -> None:
    config = load(
        search={
            "optimizer.lr": {"float": [3.5e-3, 9e-3], "log": True},
            "model.branches": {"choice": [4]},
            "optimizer.weight_decay": {"float": [1e-6, 1e-2], "log": True},
        }
    )
    prior = make_prior([recorded.uri], config)
    for setting in prior.settings:
        assert setting["optimizer.lr"] >= 3.5e-3
        assert setting["model.branches"] == 4
        assert config.initial_params(setting)
    assert "optimizer.weight_decay" not in prior.ranges


def test_settings_of_several_priors_are_taken_by_rank(recorded: Study, load: Load, tmp_path: Path) -> None:
    other = run(Study.start(str(tmp_path / "other"), load(study={"seed": 9}), "third data"), best_lr=9e-3)
    config = load()
    prior = make_prior([recorded.uri, other.uri], config)
    assert [map_setting(study.best_trial, config) for study in (recorded, other)] == list(prior.settings[:2])
    low, high = prior.ranges["optimizer.lr"]
    assert low < BEST_LR < 9e-3 <= high


def test_unfit_prior_costs_little(recorded: Study, load: Load, tmp_path: Path) -> None:
    """The best learning rates of the prior are the worst of the new study."""
    misled, plain = [], []
    for seed in range(6):
        config = load(study={"seed": seed}, sampler={"name": "tpe"})
        prior = make_prior([recorded.uri], config)
        for errors, known in ((misled, prior), (plain, None)):
            study = Study.start(str(tmp_path / f"{seed}-{known is None}"), config, "f", known)
            best = run(study, best_lr=1e-2).best_trial
            errors.append(best.error_pct)
    assert np.mean(misled) - np.mean(plain) < 0.25  # of a range of 10 points


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": ["error", "parameters"]}, "its objectives are error, those of the new study error, parameters"),
        ({"sampler": {"name": "grid"}}, "sampler grid runs every setting once"),
        ({"scheduler": {"name": "pbt"}}, "scheduler pbt changes settings in training"),
    ],
)
def test_make_prior_for_a_study_that_it_does_not_suit_is_refused(
    recorded: Study, load: Load, changes: dict[str, Any], message: str
) -> None:
    config = load()
    if "sampler" in changes:
        from rcn_search.study.space.options import Grid

        config = config.model_copy(update={"sampler": Grid()})
    else:
        config = load(**changes)
    with pytest.raises(ConfigError) as raised:
        make_prior([recorded.uri], config)
    assert message in str(raised.value)


def test_make_prior_that_shares_no_parameter_is_refused(recorded: Study, load: Load) -> None:
    config = load()
    config = config.model_copy(update={"search": {"optimizer.weight_decay": config.search["optimizer.lr"]}})
    with pytest.raises(ConfigError, match=r"it shares no parameter with the new study; it has searched model.name"):
        make_prior([recorded.uri], config)


def test_make_prior_of_no_study_or_too_few_trials_is_refused(load: Load, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no study at"):
        make_prior([str(tmp_path / "nowhere")], load())
    few = run(Study.start(str(tmp_path / "few"), load(), "f"), num_trials=MIN_COMPLETE - 1)
    run(few, state="failed", num_trials=9)
    with pytest.raises(StudyError, match=f"it has {MIN_COMPLETE - 1} complete trials; {MIN_COMPLETE} are needed"):
        make_prior([few.uri], load())


def test_damaged_prior_is_named(recorded: Study, load: Load, tmp_path: Path) -> None:
    config = load()
    study = Study.start(str(tmp_path / "new"), config, "f", make_prior([recorded.uri], config))
    uri = storage.join(study.uri, "study.json")
    storage.write_json(uri, {**storage.read_json(uri), "prior": {"uris": []}})
    assert "study.json, prior, is damaged" in Study.open(study.uri).problems[0]
    with pytest.raises(StudyError, match=r"study.json, prior, is damaged"):
        resume_study(study.uri, config)
