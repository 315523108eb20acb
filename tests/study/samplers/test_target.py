"""Samplers by import path: what is no sampler, and which ones cannot keep a study repeatable."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rcn_search.config.errors import ConfigError
from rcn_search.config.network_target import ALLOW_VARIABLE, TargetError
from rcn_search.errors import RcnSearchError
from rcn_search.search.open_or_resume import _check_sampler_target
from rcn_search.study.loading import load_study_config
from rcn_search.study.samplers import build_sampler
from rcn_search.study.samplers.target import check_target
from rcn_search.study.space.study_config import StudyConfig

OWN = """
import random
from optuna.samplers import BaseSampler, RandomSampler

class Own(BaseSampler):
    def infer_relative_search_space(self, study, trial):
        return {}
    def sample_relative(self, study, trial, search_space):
        return {}
    def sample_independent(self, study, trial, name, distribution):
        return distribution.to_external_repr(distribution._get_single_value() if distribution.single() else 0)

class Unseeded(RandomSampler):
    def __init__(self):
        super().__init__()
"""


@pytest.fixture
def load(write_study: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Load a study with a sampler by import path; ``own_samplers_20`` is a module on the path."""
    monkeypatch.setenv(ALLOW_VARIABLE, "")
    (tmp_path / "own_samplers_20.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))

    def load_target(target: str, options: dict[str, Any] | None = None, **changes: Any) -> StudyConfig:
        sampler = {"name": "optuna", "target": target, "options": options or {}}
        return load_study_config(write_study(sampler=sampler, **changes))

    return load_target


def test_reading_a_study_imports_no_code_of_its_sampler(load: Callable[..., StudyConfig]) -> None:
    config = load("own_samplers_20:Own")
    with pytest.raises(TargetError, match=r"sampler.target names the code own_samplers_20:Own, which is not imported"):
        build_sampler(config, 0)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("nowhere_20:Sampler", {}, "sampler.target = nowhere_20:Sampler: there is no module"),
        ("optuna.samplers:Magic", {}, "has no 'Magic'"),
        ("optuna:create_study", {}, "it is no subclass of optuna.samplers.BaseSampler"),
        ("optuna.trial:Trial", {}, "it is no subclass of optuna.samplers.BaseSampler"),
        ("optuna.samplers:BaseSampler", {}, "optuna.samplers:BaseSampler with no options: TypeError"),
        ("optuna.samplers:TPESampler", {"startup": 3}, "optuna.samplers:TPESampler with startup: TypeError"),
        ("own_samplers_20:Own", {}, "fails on this search space"),
    ],
)
def test_check_target_that_is_no_usable_sampler_is_refused(
    load: Callable[..., StudyConfig], target: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RcnSearchError) as raised:
        check_target(load(target, options))
    assert message in str(raised.value)


@pytest.mark.parametrize(("target", "options"), [("nets", {}), ("a:b:c", {}), ("optuna.samplers:X", {"seed": 3})])
def test_load_of_a_malformed_target_is_refused(load: Callable[..., StudyConfig], target: str, options: Any) -> None:
    with pytest.raises(ConfigError, match="sampler"):
        load(target, options)


def test_check_target_of_a_sampler_by_history_has_no_problem(load: Callable[..., StudyConfig]) -> None:
    assert check_target(load("optuna.samplers:TPESampler", study={"trial_batch_size": 4})) is None
    assert check_target(load("optuna.samplers:RandomSampler")) is None


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("own_samplers_20:Unseeded", "it draws other settings each time: it has no seed"),
        ("optuna.samplers:QMCSampler", "it keeps a state in Optuna's storage (qmc:"),
        ("optuna.samplers:NSGAIISampler", "it keeps a state in Optuna's storage (NSGAIISampler:generation)"),
    ],
)
def test_check_target_of_a_sampler_with_a_state_says_so_and_refuses_repeatable_studies(
    load: Callable[..., StudyConfig], target: str, problem: str
) -> None:
    console = Console(file=io.StringIO(), width=300)
    _check_sampler_target(load(target), console)
    assert problem in console.file.getvalue()  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="so the study cannot be repeatable"):
        _check_sampler_target(load(target, study={"trial_batch_size": 4}), console)
